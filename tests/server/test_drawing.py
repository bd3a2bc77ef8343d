"""``POST /v1/models/{name}/samples``: what a generator draws, as it is drawn."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from engine import Engine
from engine.server import create_app
from tests.samples.test_generator_onnx import linear
from tests.server.conftest import LIMITS
from tests.server.test_search_requests import refusal

CODE = """
import numpy as np
def draw(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), np.uint8)
def failing(count, seed):
    if count < 16:
        raise RuntimeError("out of paint")
    return draw(count, seed)
"""


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch) -> Any:
    """A collection of a decoder, two pieces of Python code, and moments."""
    folder = tmp_path_factory.mktemp("drawing")
    (folder / "paints_here.py").write_text(CODE)
    monkeypatch_module.syspath_prepend(str(folder))
    decoder = linear(folder / "decoder.onnx")
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="compact") as engine:
        engine.ingest(decoder, name="decoder", samples=8)
        engine.ingest("python:paints_here:draw", name="code", samples=8, trust=True)
        engine.ingest("python:paints_here:failing", name="fails", samples=32, trust=True)
        engine.ingest_statistics(["numbers"], np.ones((1, 3)), encoder="external:mine", samples=5)
        yield engine


@pytest.fixture(scope="module")
def monkeypatch_module() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def lines(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def to_image(line: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(line["data"], validate=True)))


@pytest.mark.parametrize(("name", "trust"), [("decoder", False), ("code", True)])
def test_the_pictures_are_those_that_the_engine_draws(drawing: Engine, name: str, trust: bool) -> None:
    client = TestClient(create_app(drawing, limits=LIMITS, with_keys=False, trust=trust))
    found = lines(client.post(f"/v1/models/{name}/samples", json={"count": 5, "seed": 3}))
    expected = drawing.draw(name, 5, seed=3, trust=trust)
    assert [line["position"] for line in found] == list(range(5))
    assert {(line["seed"], line["media_type"]) for line in found} == {(3, "image/png")}
    for line, image in zip(found, expected, strict=True):
        assert np.array_equal(np.asarray(to_image(line)), np.asarray(image))


def test_code_is_not_run_unless_the_server_was_told_to_trust(drawing: Engine) -> None:
    client = TestClient(create_app(drawing, limits=LIMITS, with_keys=False))
    problem = refusal(client.post("/v1/models/code/samples", json={"count": 1}), 403)
    assert problem["title"] == "NotTrusted"


def test_what_fails_midway_ends_with_the_problem(drawing: Engine) -> None:
    client = TestClient(create_app(drawing, limits=LIMITS, with_keys=False, trust=True))
    found = lines(client.post("/v1/models/fails/samples", json={"count": 40}))
    assert len(found) == 33
    assert found[-1]["problem"]["title"] == "GeneratorError"
    assert "out of paint" in found[-1]["problem"]["detail"]


@pytest.mark.parametrize(
    ("name", "body", "status", "title"),
    [
        ("nobody", {}, 404, "ModelNotFound"),
        ("numbers", {}, 409, "MissingStatistics"),
        ("decoder", {"count": 65}, 422, "LimitExceeded"),
        ("decoder", {"count": 0}, 422, "InvalidRequest"),
        ("decoder", {"seed": -1}, 422, "InvalidRequest"),
        ("decoder", {"seed": 2**31}, 422, "InvalidRequest"),
        ("decoder", {"path": "/etc/passwd"}, 422, "InvalidRequest"),
        ("fails", {"count": 1}, 500, "GeneratorError"),
    ],
)
def test_refusals(drawing: Engine, name: str, body: dict[str, Any], status: int, title: str) -> None:
    app = create_app(drawing, limits=LIMITS, with_keys=False, trust=True)
    client = TestClient(app, raise_server_exceptions=False)
    assert refusal(client.post(f"/v1/models/{name}/samples", json=body), status)["title"] == title


def test_the_file_is_gone(drawing: Engine, tmp_path: Path) -> None:
    file = linear(tmp_path / "gone.onnx")
    drawing.ingest(file, name="gone", samples=4)
    file.unlink()
    client = TestClient(create_app(drawing, limits=LIMITS, with_keys=False))
    assert refusal(client.post("/v1/models/gone/samples", json={}), 404)["title"] == "SourceNotFound"
    drawing.remove("gone")
