"""Unknown arguments, fields and keys are errors that name the nearest known one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine
from engine.errors import InvalidInput, InvalidManifest, InvalidQuery

ROWS = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
X = "external:x"


@pytest.fixture(scope="module")
def eng(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One model."""
    url = f"sqlite:///{tmp_path_factory.mktemp('arguments') / 'zoo.db'}"
    with Engine.open(url, create=True, encoder=X) as opened:
        opened.ingest(ROWS, name="m0")
        yield opened


@pytest.mark.parametrize(
    ("argument", "nearest"),
    [
        ("tag", "tags"), ("Tags", "tags"), ("licens", "license"), ("desc", None), ("sample", "samples"),
        ("meta", "metadata"), ("on_progres", "on_progress"), ("stars", None), ("link", "links"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("call", ["ingest", "ingest_outcome"])
def test_ingest(eng: Engine, call: str, argument: str, nearest: str | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        getattr(eng, call)(ROWS, name="new", **{argument: "x"})
    assert repr(argument) in caught.value.message
    assert caught.value.hint
    assert "metadata={" in caught.value.hint
    assert nearest is None or f"did you mean {nearest}?" in caught.value.hint
    assert [model.name for model in eng.models()] == ["m0"]


def test_free_fields_go_into_metadata(eng: Engine) -> None:
    model = eng.ingest(ROWS, name="m0", licence="MIT", metadata={"stars": 5})
    assert (model.license, model.metadata) == ("MIT", {"stars": 5})
    with pytest.raises(InvalidInput, match="not both"):
        eng.ingest(ROWS, name="m0", licence="MIT", license="MIT")
    with pytest.raises(InvalidInput, match="metadata"):
        eng.ingest(ROWS, name="m0", metadata="stars")


@pytest.mark.parametrize(("field", "nearest"), [("tag", "tags"), ("Author", "author"), ("base", None), ("nam", "name")])
def test_update(eng: Engine, field: str, nearest: str | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        eng.update("m0", **{field: "x"})
    assert nearest is None or str(caught.value.hint).startswith(f"did you mean {nearest}?")
    assert "metadata" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("entry", "nearest"),
    [
        ({"tag": ["a"]}, "tags"), ({"sources": "x"}, "source"), ({"licenze": "x"}, "license"),
        ({"source": {"pat": "f.npy"}}, "path"),
        ({"source": {"generator": {"type": "onnx", "truncate": 1}}}, "truncation"),
    ],
)  # fmt: skip
def test_manifest_entries(eng: Engine, tmp_path: Path, entry: dict[str, Any], nearest: str) -> None:
    path = tmp_path / "zoo.jsonl"
    path.write_text(json.dumps({"name": "a", "source": "f.npy", **entry}))
    (outcome,) = eng.ingest_manifest(path).outcomes
    assert outcome.error is not None
    assert f"did you mean {nearest}?" in str(outcome.error.hint)


def test_a_manifests_defaults(eng: Engine, tmp_path: Path) -> None:
    (tmp_path / "zoo.yaml").write_text("defaults: {tag: [a]}\nmodels: [{name: a, source: b}]")
    with pytest.raises(InvalidManifest) as caught:
        eng.ingest_manifest(tmp_path / "zoo.yaml")
    assert "did you mean tags?" in str(caught.value.hint)


def test_judged_queries(eng: Engine) -> None:
    with pytest.raises(InvalidQuery) as caught:
        eng.evaluate([{"model": "m0", "txt": "a fox"}])
    assert "did you mean text?" in str(caught.value.hint)
