"""A server says that it is ready once everything is prepared, and until then what it prepares."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from engine import Engine
from engine.server import create_app
from engine.server.warming import Warming

SOON = 60.0


@pytest.fixture
def eng(tmp_path: Path) -> Iterator[Engine]:
    with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", create=True, encoder="external:test") as eng:
        yield eng


def fill(eng: Engine) -> None:
    rng = np.random.default_rng(1)
    for name in ("ant", "bee"):
        eng.ingest(rng.normal(size=(12, 8)).astype(np.float32), name=name)


def test_it_is_ready_once_all_is_prepared(eng: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(eng)
    may_go_on, real = threading.Event(), eng.services.search.search_vectors

    def slowly(*given: object, **options: object) -> object:
        assert may_go_on.wait(SOON)
        return real(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(eng.services.search, "search_vectors", slowly)
    warming = Warming(eng)
    with TestClient(create_app(eng, with_keys=False, warming=warming)) as client:
        assert client.get("/readyz").status_code == 503
        warming.start()
        while "the index of 2 models" not in (answer := client.get("/readyz")).json()["detail"]:
            pass
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert client.get("/healthz").text == "ok\n"
        may_go_on.set()
        assert warming.wait(SOON)
        assert client.get("/readyz").text == "ready\n"
    held = eng.services.views.held(eng.services.session.encoder().id)
    assert held is not None


def test_an_empty_collection_is_ready(eng: Engine) -> None:
    warming = Warming(eng)
    warming.start()
    assert warming.wait(SOON)
    assert warming.progress is None


def test_what_cannot_be_prepared_keeps_nobody_waiting(eng: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(eng)

    def fails(*_: object, **__: object) -> object:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(eng.services.search, "search_vectors", fails)
    warming = Warming(eng)
    warming.start()
    assert warming.wait(SOON)
    assert warming.progress is None
