"""Drawing over HTTP: so many pixels, so many seconds, and no longer than the client stays."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from engine import Engine
from engine.server import Limits, create_app
from tests.samples.test_generator_onnx import linear
from tests.samples.test_onnx_deadline import looping
from tests.server.test_search_requests import refusal
from tests.server.test_serving import serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of a decoder, and of one that has begun to loop for ever since."""
    folder = tmp_path_factory.mktemp("drawing")
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="compact") as engine:
        engine.ingest(linear(folder / "good.onnx"), name="good", samples=4)
        engine.ingest(looping(folder / "endless.onnx", 1), name="endless", samples=4)
    looping(folder / "endless.onnx")
    return folder


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}") as engine:
        yield engine


def test_seconds_and_pixels_are_limits(engine: Engine) -> None:
    limits = Limits(draw_seconds=1, drawn_pixels=10)
    with TestClient(create_app(engine, limits=limits, with_keys=False), raise_server_exceptions=False) as client:
        began = time.monotonic()
        said = refusal(client.post("/v1/models/endless/samples", json={"count": 3}), 422)
        assert (said["title"], said["detail"]) == ("LimitExceeded", "drawing took longer than 1 seconds")
        assert time.monotonic() - began < 20
        answer = client.post("/v1/models/good/samples", json={"count": 9})
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [line.get("position") for line in lines] == [0, 1, None]
        assert lines[-1]["problem"]["title"] == "LimitExceeded"
        assert "more than 10 pixels" in lines[-1]["problem"]["detail"]


def test_drawing_ends_with_its_client(folder: Path) -> None:
    """Were it not so, two clients that go at once would hold both places for a minute."""
    with serving(f"sqlite:///{folder / 'zoo.db'}", "--workers", "2") as (_, address):
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{address}/v1/models/endless/samples", json={"count": 3}, timeout=1)
        began = time.monotonic()
        answer = httpx.post(f"{address}/v1/models/good/samples", json={"count": 2}, timeout=30)
        assert len(answer.text.splitlines()) == 2
        assert time.monotonic() - began < 15
