"""Small collections of ready-made features, so that no encoder is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from engine.cli import app

DIMENSION = 8
NAMES = ("ant", "bee", "cat", "dog")
ENCODER = "external:mine"

Run = Callable[..., Result]


def write_features(path: Path, seed: int, rows: int = 60) -> Path:
    """A cloud of features around a direction of its own."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=DIMENSION)
    np.save(path, (centre + 0.3 * rng.normal(size=(rows, DIMENSION))).astype(np.float32))
    return path


def invoke(url: str, *arguments: str, **extra: Any) -> Result:
    """``engine ARGUMENTS --database URL`` in this process."""
    return CliRunner().invoke(app, [*arguments, "--database", url], prog_name="engine", **extra)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer's environment says must not matter."""
    for name in ("ENGINE_DATABASE", "ENGINE_DEBUG", "NO_COLOR", "COLUMNS", "ENGINE_SHORTLIST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Four files of features."""
    return [str(write_features(tmp_path / f"{name}.npy", seed)) for seed, name in enumerate(NAMES)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where a collection could be."""
    return f"sqlite:///{tmp_path / 'zoo.db'}"


@pytest.fixture
def run(url: str) -> Run:
    """Run a command on that collection."""
    return lambda *arguments, **extra: invoke(url, *arguments, **extra)


@pytest.fixture
def empty(run: Run) -> Run:
    """As ``run``, with the collection created."""
    assert run("init", "--encoder", ENCODER).exit_code == 0
    return run


@pytest.fixture(scope="session")
def zoo_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A collection of four described models that tests only read."""
    folder = tmp_path_factory.mktemp("zoo")
    url = f"sqlite:///{folder / 'zoo.db'}"
    manifest = folder / "zoo.jsonl"
    entries = [
        {
            "name": name,
            "source": str(write_features(folder / f"{name}.npy", seed)),
            "kind": "gan" if seed % 2 else "vae",
            "tags": ["animal", "insect" if seed < 2 else "pet"],
            "description": f"pictures of a {name}, " + "drawn with great care " * 5,
            "author": "Smith, J.",
            "links": {"home": "https://example.org/"},
        }
        for seed, name in enumerate(NAMES)
    ]
    manifest.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    for arguments in (["init", "--encoder", ENCODER], ["ingest", str(manifest)]):
        result = invoke(url, *arguments)
        assert result.exit_code == 0, result.output
    return url


@pytest.fixture
def zoo(zoo_url: str) -> Run:
    """Run a command on the collection of four."""
    return lambda *arguments, **extra: invoke(zoo_url, *arguments, **extra)
