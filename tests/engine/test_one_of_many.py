"""One model that fails never ends the others, whatever it raises."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from engine import Engine
from engine.cli.app import app
from engine.cli.failures import PARTIAL
from engine.errors import IngestError
from engine.ingest import service as ingesting

ROWS = np.random.default_rng(0).normal(size=(9, 4))
ERRORS = [TypeError("x"), KeyError("x"), MemoryError(), RecursionError(), OSError(5, "x"), OverflowError("x")]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    for name in ("bad", "good"):
        np.save(f"{name}.npy", ROWS)
    entries = [{"name": name, "source": f"{name}.npy"} for name in ("bad", "good")]
    Path("zoo.jsonl").write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    Path("broken.yaml").write_text("- {", encoding="utf-8")
    return f"sqlite:///{tmp_path}/z.db"


@pytest.fixture
def eng(url: str) -> Iterator[Engine]:
    with Engine.open(url, create=True, encoder="external:e") as engine:
        yield engine


@pytest.fixture(params=ERRORS, ids=lambda error: type(error).__name__)
def failing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Exception:
    """What is raised while the model named bad is taken in."""
    usual = ingesting.ingest_source

    def broken(*arguments: Any, name: str, **options: Any) -> Any:
        if name == "bad":
            raise request.param
        return usual(*arguments, name=name, **options)

    monkeypatch.setattr(ingesting, "ingest_source", broken)
    return request.param  # type: ignore[no-any-return]


def test_of_a_manifest(eng: Engine, failing: Exception) -> None:
    bad, good = eng.ingest_manifest("zoo.jsonl").outcomes
    assert (bad.status, good.status) == ("failed", "added")
    assert isinstance(bad.error, IngestError)
    assert bad.error.__cause__ is failing
    assert type(failing).__name__ in bad.error.message


def test_of_the_command_line(eng: Engine, url: str, failing: Exception) -> None:
    for sources in (["zoo.jsonl"], ["bad.npy", "good.npy"]):
        result = CliRunner().invoke(app, ["ingest", *sources, "--json", "--database", url])
        assert result.exit_code == PARTIAL
        said = json.loads(result.stdout)
        assert [one["name"] for one in said["models"]] == ["good"]
        assert [one["error"]["type"] for one in said["failed"]] == ["IngestError"]


def test_a_broken_manifest_is_one_of_several_sources(eng: Engine, url: str) -> None:
    result = CliRunner().invoke(app, ["ingest", "broken.yaml", "good.npy", "--json", "--database", url])
    assert result.exit_code == PARTIAL
    said = json.loads(result.stdout)
    assert [one["name"] for one in said["models"]] == ["good"]
    assert [(one["name"], one["error"]["type"]) for one in said["failed"]] == [("broken.yaml", "InvalidManifest")]


def test_details_that_are_wrong(eng: Engine) -> None:
    outcome = eng.ingest_outcome("good.npy", metadata=3)
    assert outcome.status == "failed"
    assert eng.models() == []
