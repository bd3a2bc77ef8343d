"""Lone surrogates, undecodable bytes and NUL at every entrance: the same of our errors on both databases."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine
from engine.config import Settings
from engine.errors import EngineError, InvalidInput, NotFound

TEXTS = ("\ud800", "a\udce9", "a\0b")
ROWS = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
X = "external:x"


@pytest.fixture(scope="module")
def eng(new_collection: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Two models."""
    folder = tmp_path_factory.mktemp("texts")
    settings = Settings(refresh_interval=0, index_folder=str(folder / "index"))
    with Engine.open(new_collection(), settings=settings) as opened:
        means, spread = np.eye(2, dtype=np.float32), np.stack([np.eye(2, dtype=np.float32)] * 2)
        opened.ingest_statistics(["m0", "m1"], means, spread, encoder=X, samples=5, tags=["a"])
        yield opened


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(["name", text, 1]).encode()).decode()


ENTRANCES: dict[str, Callable[[Engine, str], Any]] = {
    "text": lambda e, t: e.search(text=t),
    "image": lambda e, t: e.search(image=t),
    "model": lambda e, t: e.search(model=t),
    "method": lambda e, t: e.search(model="m0", method=t),
    "encoder": lambda e, t: e.search(model="m0", encoder=t),
    "transform": lambda e, t: e.search(model="m0", transform=t),
    "weights": lambda e, t: e.search(model="m0", weights={t: 1}),
    "filter value": lambda e, t: e.search(model="m0", where={"tag": t}),
    "filter part": lambda e, t: e.models({"name~": t}),
    "filter key": lambda e, t: e.models({t: "a"}),
    "metadata filter": lambda e, t: e.models({f"meta.{t}": "a"}),
    "get": lambda e, t: e.get(t),
    "remove": lambda e, t: e.remove(t),
    "similar": lambda e, t: e.similar(t),
    "distance": lambda e, t: e.similar("m0", distance=t),
    "draw": lambda e, t: e.draw(t),
    "previews": lambda e, t: e.thumbnails(t),
    "distances": lambda e, t: e.distances([t]),
    "update": lambda e, t: e.update(t, tags=["b"]),
    "cursor": lambda e, t: e.page(cursor=t),
    "name in a cursor": lambda e, t: e.page(cursor=cursor(t)),
    "sort": lambda e, t: e.page(sort=t),
    "map": lambda e, t: e.build_map(t),
    "key": lambda e, t: e.keys.create(t, ["read"]),
    "scope": lambda e, t: e.keys.create("x", [t]),
    "revoked key": lambda e, t: e.keys.revoke(t),
    "activated transform": lambda e, t: e.activate_transform(t),
    "removed transform": lambda e, t: e.remove_transform(t),
    "ingest name": lambda e, t: e.ingest(ROWS, name=t),
    "ingest encoder": lambda e, t: e.ingest(ROWS, name="q", encoder=t),
    "external encoder": lambda e, t: e.ingest(ROWS, name="q", encoder=f"external:{t}"),
    "ingest argument": lambda e, t: e.ingest(ROWS, name="q", encoder=X, **{t: 1}),
    "ingest tags": lambda e, t: e.ingest(ROWS, name="q", encoder=X, tags=[t]),
    "source": lambda e, t: e.ingest(t, name="q"),
    "source without a name": lambda e, t: e.ingest(t),
    "python": lambda e, t: e.ingest(f"python:{t}", name="q", trust=True),
    "generator": lambda e, t: e.ingest({"generator": {"type": t}}, name="q"),
    "generator option": lambda e, t: e.ingest({"generator": {"type": "onnx", t: 1}}, name="q"),
    "statistics name": lambda e, t: e.ingest_statistics([t], ROWS[:1], encoder=X, samples=3),
    "statistics encoder": lambda e, t: e.ingest_statistics(["w"], ROWS[:1], encoder=t, samples=3),
    "statistics tags": lambda e, t: e.ingest_statistics(["w"], ROWS[:1], encoder=X, samples=3, tags=[t]),
    "queries": lambda e, t: e.evaluate(t),
    "judged text": lambda e, t: e.evaluate([{"model": "m0", "text": t}]),
    "judged model": lambda e, t: e.evaluate([{"model": t, "text": "x"}]),
    "judged picture": lambda e, t: e.evaluate([{"model": "m0", "image": t}]),
    "judged group": lambda e, t: e.evaluate([{"model": "m0", "text": "x", "group": t}]),
    "judged concept": lambda e, t: e.evaluate([{"model": "m0", "text": "x", "concept": t}]),
    "judged key": lambda e, t: e.evaluate([{"model": "m0", "text": "x", t: 1}]),
    "learning queries": lambda e, t: e.learn(t),
    "archive": lambda e, t: e.import_archive(t),
    "conflict": lambda e, t: e.import_archive("x", on_conflict=t),
    "moments": lambda e, t: e.import_moments(t, encoder=X),
    "manifest": lambda e, t: e.ingest_manifest(t),
}
FIELDS = ("name", "kind", "description", "author", "license", "base_model")


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_every_entrance(eng: Engine, entrance: str) -> None:
    for text in TEXTS:
        with pytest.raises((InvalidInput, NotFound)) as caught:
            ENTRANCES[entrance](eng, text)
        f"{caught.value.message}{caught.value.hint}".encode()
    assert [model.name for model in eng.models()] == ["m0", "m1"]


@pytest.mark.parametrize("field", [*FIELDS, "tags", "links", "metadata", "unknown"])
def test_every_field(eng: Engine, field: str) -> None:
    before = eng.get("m0")
    for text in TEXTS:
        values: list[Any] = [text]
        values = [[text]] if field == "tags" else values
        values = [{text: "x"}, {"x": text}] if field in ("links", "metadata") else values
        for value in values:
            with pytest.raises(InvalidInput):
                eng.update("m0", **{text if field == "unknown" else field: value})
    assert eng.get("m0") == before


@pytest.mark.parametrize(
    "field", ["name", "source", "encoder", "description", "tags", "metadata", "links", "key", "generator"]
)
def test_manifest_entries(eng: Engine, tmp_path: Path, field: str) -> None:
    """A bad entry is reported, and does not keep the others out."""
    np.save(tmp_path / "f.npy", ROWS)
    good = {"name": "good", "source": "f.npy", "encoder": X}
    lines = [good]
    for number, text in enumerate(TEXTS):
        value: Any = {"tags": [text], "metadata": {"a": [text]}, "links": {text: "x"}}.get(field, text)
        if field == "generator":
            value = {"type": "python", "entry": text}
        bad = {**good, "name": f"bad {number}", (text if field == "key" else field): value}
        if field == "generator":
            del bad["source"]
        lines.append(bad)
    path = tmp_path / "zoo.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    outcomes = eng.ingest_manifest(path).outcomes
    eng.remove("good")
    assert [outcome.status for outcome in outcomes] == ["added", "failed", "failed", "failed"]
    for outcome in outcomes[1:]:
        assert isinstance(outcome.error, EngineError)
        f"{outcome.error.message}{outcome.error.hint}".encode()


def test_what_a_source_says_of_itself(eng: Engine) -> None:
    """A generator's options are kept with the model, so they are held to the same rule."""

    class Drawing:
        kind = "drawing"
        batch = 4

        def describe(self) -> dict[str, Any]:
            return {"type": "drawing", "prompt": "\udce9"}

        def digest(self) -> str:
            return "d"

        def draw(self, count: int, seed: int) -> list[Any]:
            raise AssertionError("nothing is drawn of what cannot be stored")

    with pytest.raises(InvalidInput, match="lone surrogate"):
        eng.ingest(Drawing(), name="q", encoder="compact")


def test_undecodable_names_of_pictures_and_folders(eng: Engine, tmp_path: Path) -> None:
    """Such paths are there on disk; they are told as escapes."""
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    np.save(folder / "f.npy", ROWS)
    model = eng.ingest(folder / "f.npy", name="q", encoder=X)
    assert model.source["path"].endswith("caf\\xe9/f.npy")
    eng.remove("q")
    with pytest.raises(InvalidInput, match="is not a model name"):
        eng.ingest(folder, encoder=X)


@pytest.mark.parametrize("call", [Engine.export_archive, Engine.backup])
def test_paths_that_no_file_can_have(eng: Engine, tmp_path: Path, call: Callable[..., Any]) -> None:
    for name in ("\ud800", "a\0b"):
        with pytest.raises(InvalidInput, match="is not a path"):
            call(eng, str(tmp_path / name))
