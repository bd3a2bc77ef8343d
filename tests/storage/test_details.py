"""How much may be said of a model: the same at every entrance; what is stored already stays readable."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from engine import Engine
from engine.errors import InvalidArchive, InvalidInput, ModelNotFound
from engine.server import create_app
from engine.storage.details import checked_details


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


CYCLE: list[Any] = []
CYCLE += [CYCLE, CYCLE]
TOO_MUCH: list[tuple[dict[str, Any], str]] = [
    ({"metadata": nested(33)}, "metadata may be nested 32 deep"),
    ({"metadata": nested(100_000)}, "metadata may be nested 32 deep"),
    ({"metadata": {"a": CYCLE}}, "metadata may be nested 32 deep"),
    ({"metadata": {"a": "x" * 65_536}}, "metadata may have up to 65,536 bytes"),
    ({"metadata": {f"k{i}": i for i in range(6000)}}, "metadata may have up to 65,536 bytes"),
    ({"metadata": {"a": "é" * 33_000}}, "metadata may have up to 65,536 bytes"),
    ({"metadata": {"a": 10**4400}}, "metadata must be JSON"),
    ({"tags": [f"t{i}" for i in range(257)]}, "up to 256 tags, got 257"),
    ({"tags": ["x" * 10_000_000]}, "is not a tag"),
    ({"links": {f"l{i}": "http://a" for i in range(65)}}, "up to 64 links, got 65"),
    ({"links": {"a": "http://a/" + "b" * 2048}}, "2048 are allowed"),
    ({"links": {"a" * 256: "http://a"}}, "255 and 2048 are allowed"),
]
JUST_ENOUGH: list[dict[str, Any]] = [
    {"metadata": nested(32)}, {"metadata": {"a": "x" * 65_000}}, {"tags": [f"t{i}" for i in range(256)]},
    {"links": {f"l{i}": "http://a/" + "b" * 2000 for i in range(64)}},
]  # fmt: skip


@pytest.fixture
def eng(tmp_path: Path) -> Any:
    with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", create=True, encoder="external:mine") as engine:
        engine.ingest_statistics(["fox"], np.eye(3)[:1], encoder="external:mine", samples=5)
        yield engine


@pytest.mark.parametrize(("details", "said"), TOO_MUCH)
def test_what_is_too_much_is_refused(details: dict[str, Any], said: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidInput) as caught:
        checked_details(details)
    assert said in caught.value.message
    assert len(caught.value.message) < 1000
    assert time.process_time() - started < 2


@pytest.mark.parametrize("details", JUST_ENOUGH)
def test_what_is_just_enough_is_stored_and_listed(eng: Engine, details: dict[str, Any]) -> None:
    eng.update("fox", **details)
    with TestClient(create_app(eng, with_keys=False)) as client:
        assert client.get("/v1/models").status_code == 200
        assert client.patch("/v1/models/fox", json=details).status_code == 200


def test_every_entrance_refuses_it(eng: Engine, tmp_path: Path) -> None:
    with TestClient(create_app(eng, with_keys=False), raise_server_exceptions=False) as client:
        for details in ({"metadata": nested(33)}, {"tags": [f"t{i}" for i in range(257)]}):
            with pytest.raises(InvalidInput):
                eng.update("fox", **details)
            assert client.patch("/v1/models/fox", json=details).status_code == 422
        for given in ({"name": "new", "metadata": nested(33)}, {"name": "bad\nname"}, {"name": ""}):
            answer = client.post("/v1/ingest", data={"details": json.dumps(given)}, files={"file": ("a.npy", b"x")})
            assert answer.status_code == 422, answer.text
        assert client.get("/v1/ingest").json() == {"jobs": []}
    tags = [str(i) for i in range(257)]
    with pytest.raises(InvalidInput, match="257"):
        eng.ingest_statistics(["owl"], np.eye(3)[:1], encoder="external:mine", samples=5, tags=tags)


def store_too_much(eng: Engine) -> None:
    """As an engine without these limits has stored it."""
    links = {f"l{i}": "http://a" for i in range(300)}
    with eng.services.database.write() as session:
        session.execute(
            text("UPDATE models SET metadata = :metadata, links = :links"),
            {"metadata": json.dumps(nested(200) | {"b": "x" * 100_000}), "links": json.dumps(links)},
        )


def test_what_is_stored_beyond_the_limits_is_listed_and_mended(eng: Engine) -> None:
    store_too_much(eng)
    assert len(eng.get("fox").links) == 300
    assert eng.update("fox", author="Ada").author == "Ada"
    with TestClient(create_app(eng, with_keys=False), raise_server_exceptions=False) as client:
        assert [model["name"] for model in client.get("/v1/models").json()["models"]] == ["fox"]
        assert client.get("/v1/models/fox").status_code == 200
        assert client.get("/models/fox").status_code == 200
        assert client.patch("/v1/models/fox", json={"metadata": {"a": 1}, "links": {}}).status_code == 200
    assert eng.get("fox").metadata == {"a": 1}


def test_an_archive_of_it_is_refused_and_names_the_model(eng: Engine, tmp_path: Path) -> None:
    store_too_much(eng)
    eng.export_archive(tmp_path / "zoo.engine")
    with Engine.open(f"sqlite:///{tmp_path / 'other.db'}", create=True, encoder="external:mine") as other:
        with pytest.raises(InvalidArchive, match=r"'fox': (metadata|a model)"):
            other.import_archive(tmp_path / "zoo.engine")
        assert other.models() == []


def test_a_name_of_megabytes_is_not_repeated(eng: Engine) -> None:
    started = time.process_time()
    with pytest.raises(ModelNotFound) as caught:
        eng.get("x" * 30_000_000)
    assert len(caught.value.message) < 300
    for call in (lambda name: eng.update("fox", name=name), lambda name: eng.similar("fox", distance=name),
                 lambda name: eng.search(model="fox", method=name), lambda name: eng.search(model="fox", encoder=name),
                 lambda name: eng.page(None, sort=name), lambda name: eng.search(model=name)):  # fmt: skip
        with pytest.raises(Exception) as caught_too:  # noqa: PT011 — each kind of its own
            call("x" * 3_000_000)
        assert len(str(caught_too.value)) + len(caught_too.value.hint or "") < 2000  # type: ignore[attr-defined]
    assert time.process_time() - started < 10
