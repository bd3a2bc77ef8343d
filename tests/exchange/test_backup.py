"""A backup is a state that existed, whatever is written meanwhile."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine
from engine.config import Settings
from engine.errors import Conflict, CorruptData, EngineError
from engine.exchange import backup as module
from tests.postgres import shared_server

ROOT = Path(__file__).resolve().parents[2]
LARGE = 400
"""Models of 129 KB that are there before, so that a copy takes a while."""


@pytest.fixture(params=["sqlite", "postgres"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a collection could be, on either database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'zoo.db'}"
        return
    url = shared_server().create()
    yield url
    shared_server().drop(url)


@contextmanager
def writing(url: str, folder: Path) -> Iterator[list[str]]:
    """A process that adds models; the names that it has said to be committed, so far."""
    command = [sys.executable, str(Path(__file__).with_name("backup_writer.py")), url, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        names: list[str] = []
        try:
            while len(names) < 5:
                line = process.stdout.readline().strip()
                assert line, "the writer has ended"
                names.append(line)
            yield names
        finally:
            process.kill()


def test_a_backup_during_writes_is_a_state_that_existed(
    both: str, settings: Settings, tmp_path: Path, cloud: Any
) -> None:
    rng = np.random.default_rng(0)
    with Engine.open(both, create=True, encoder="external:test", settings=settings) as eng:
        names = [f"big{number:04}" for number in range(LARGE)]
        covariances = np.repeat(np.eye(256, dtype=np.float32)[None], LARGE, 0)
        eng.ingest_statistics(
            names, rng.normal(size=(LARGE, 256)).astype(np.float32), covariances, encoder="external:big", samples=5
        )
        eng.ingest(cloud(1, rows=20), name="mine")
        copies = []
        with writing(both, tmp_path / "writer-index") as acknowledged:
            for number in range(3):
                before = [*acknowledged] if number == 0 else [one.name for one in eng.models({"tag": "written"})]
                path = tmp_path / f"copy{number}.db"
                assert eng.backup(path) == {}
                copies.append((path, before))
            after = len(eng.models({"tag": "written"}))
    seen = []
    for path, before in copies:
        with Engine.open(f"sqlite:///{path}") as copy:
            written = [model.name for model in copy.models({"tag": "written"})]
            assert set(before) <= set(written)
            assert written == [f"w{number:05}" for number in range(len(written))]  # a prefix of what was written
            assert len(copy.models()) == LARGE + 1 + len(written)
            assert all(finding.severity == "stale" for finding in copy.doctor())
            assert copy.search(model=written[0], k=1, encoder="external:test")
            seen.append(len(written))
    print(
        f"{len(copies)} backups of {[path.stat().st_size for path, _ in copies]} bytes, with {seen} of {after} written"
    )
    assert seen == sorted(seen)
    assert sorted(path.name for path in tmp_path.iterdir() if ".beside" in path.name) == []


def test_a_restored_backup_takes_no_index_of_the_original(
    url: str, settings: Settings, cloud: Any, tmp_path: Path
) -> None:
    """After a restore the same change numbers are given again, to other models."""
    if not url.startswith("sqlite"):
        pytest.skip("a file that is put in a database's place is SQLite's")
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        for number in range(4):
            eng.ingest(cloud(number, rows=30), name=f"m{number}")
        eng.backup(tmp_path / "copy.db")
        eng.ingest(cloud(50, rows=30), name="lost")
        eng.build_index()
    target = Path(url.removeprefix("sqlite:///"))
    for suffix in ("", "-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    (tmp_path / "copy.db").rename(target)
    with Engine.open(url, settings=settings) as eng:  # the index folder is that of the collection that is gone
        eng.ingest(cloud(60, rows=30), name="found")
        for method in ("first_moment", "gaussian_density", "best_10"):
            assert eng.names(eng.search_vectors(cloud(60, rows=1)[0], 5, method)[1])[0] == "found"
            best = eng.search_vectors(cloud(60, rows=30)[7], 1, method)
            other = eng.search_vectors(cloud(50, rows=30)[7], 1, method)
            assert float(best[0][0]) > float(other[0][0])
        eng.build_index()
        assert eng.doctor() == []


def test_a_backup_replaces_nothing_and_leaves_nothing(
    url: str, settings: Settings, tmp_path: Path, cloud: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        eng.ingest(cloud(1, rows=20), name="mine")
        folder = tmp_path / "there"
        folder.mkdir()
        (folder / "copy.db").write_text("mine")
        with pytest.raises(Conflict, match="already"):
            eng.backup(folder / "copy.db")
        with pytest.raises(EngineError):
            eng.backup(tmp_path / "nowhere" / "copy.db")

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(module, "move_into_place", full)
        with pytest.raises(EngineError, match="could not be written"):
            eng.backup(folder / "other.db")
        assert [path.name for path in folder.iterdir()] == ["copy.db"]


def test_a_damaged_database_is_not_backed_up(tmp_path: Path, settings: Settings, cloud: Any) -> None:
    url = f"sqlite:///{tmp_path / 'zoo.db'}"
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        for number in range(20):
            eng.ingest(cloud(number, rows=30), name=f"m{number}")
    with sqlite3.connect(tmp_path / "zoo.db") as direct:
        direct.execute("PRAGMA writable_schema = ON")
        direct.execute("UPDATE sqlite_master SET rootpage = 2 WHERE name = 'ix_models_kind'")
    direct.close()
    with Engine.open(url, settings=settings) as eng:
        assert any("SQLite" in finding.what for finding in eng.doctor())
        with pytest.raises(CorruptData, match="damaged"):
            eng.backup(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
