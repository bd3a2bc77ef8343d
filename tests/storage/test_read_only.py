"""Collections that are only read: ``mode=ro``, ``immutable=1``, and files in folders that cannot be written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from engine import Engine
from engine.config import Settings
from engine.errors import DatabaseNotFound, InvalidInput, StorageError
from engine.storage.copying import copy_collection

ROWS = np.random.default_rng(0).normal(size=(5, 20, 8)).astype(np.float32) + np.eye(8, dtype=np.float32)[:5, None] * 3
NAMES = [f"m{number}" for number in range(5)]
QUIET = Settings(busy_timeout=0.2, refresh_interval=0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a collection of five models, while the process has no more rights than its owner."""
    was = os.geteuid()
    folder = Path(tempfile.mkdtemp(dir="/tmp" if was == 0 else None))  # TMPDIR may be root's alone
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="external:a", settings=QUIET) as eng:
        for name, rows in zip(NAMES, ROWS, strict=True):
            eng.ingest(rows, name=name)
        eng.build_index()
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", settings=QUIET) as eng:
        answers(eng)  # what is compiled at first use is kept by whoever may write beside the package
    try:
        if was == 0:
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, 65534, 65534)
            os.seteuid(65534)
        yield folder
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o700)
    finally:
        os.seteuid(was)
        shutil.rmtree(folder)


def locked(folder: Path) -> None:
    """Nothing in it can be written."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o500 if path.is_dir() else 0o400)


def answers(eng: Engine) -> list[object]:
    """What reading calls say."""
    query = ROWS[2].mean(axis=0)
    return [
        [model.name for model in eng.models()],
        eng.names(eng.search_vectors(query, 3)[1]),
        eng.names(eng.search_vectors(query, 3, "gaussian_density")[1]),
        eng.names(eng.search_vectors(query, 3, "linear_density")[1]),
        eng.names(eng.search_vectors(query, 3, "best_k")[1]),
        [hit.name for hit in eng.search(model="m1", where={"name": "m*"})],
        [hit.name for hit in eng.similar("m1")],
        len(eng.map().ids),
        [finding.what for finding in eng.doctor() if finding.severity == "damage"],
    ]


WRITES: dict[str, Callable[[Engine], object]] = {
    "ingest": lambda eng: eng.ingest(ROWS[0], name="new"),
    "ingest_statistics": lambda eng: eng.ingest_statistics(["n"], ROWS[0, :1], encoder="external:a", samples=9),
    "update": lambda eng: eng.update("m1", tags=["x"]),
    "remove": lambda eng: eng.remove("m1"),
    "key": lambda eng: eng.keys.create("k", ["read"]),
}
OPENED = [("?mode=ro", False), ("?immutable=1", False), ("?mode=ro&immutable=1", False), ("", True), ("?mode=ro", True)]
"""What the URL ends with, and whether nothing in the folder can be written."""


@pytest.mark.parametrize(("ending", "lock"), OPENED)
def test_a_collection_is_read(folder: Path, ending: str, lock: bool) -> None:
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", settings=QUIET) as eng:
        right = answers(eng)
    if lock:
        locked(folder)
    before = (folder / "zoo.db").stat().st_mtime_ns
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}{ending}", settings=QUIET) as eng:
        assert answers(eng) == right
        for write in WRITES.values():
            with pytest.raises(StorageError) as caught:
                write(eng)
            assert caught.value.hint
            assert type(caught.value) is StorageError
        assert answers(eng) == right
        if not lock:
            eng.backup(folder / "copy.db")
    assert (folder / "zoo.db").stat().st_mtime_ns == before


@pytest.mark.parametrize("ending", ["?mode=ro", "?immutable=1"])
def test_pending_lists_are_computed_and_not_kept(folder: Path, ending: str) -> None:
    url = f"sqlite:///{folder / 'zoo.db'}"
    with Engine.open(url, settings=QUIET) as eng:
        right = [(hit.name, hit.score) for hit in eng.similar("m1")]
        with eng.services.database.write() as session:
            session.execute(text("UPDATE statistics SET neighbours_change = NULL"))
            session.execute(text("DELETE FROM neighbours"))
    with Engine.open(url + ending, settings=QUIET) as eng:
        assert [(hit.name, pytest.approx(hit.score)) for hit in eng.similar("m1")] == right
        assert [hit.name for hit in eng.similar("m1", k=2)] == [name for name, _ in right[:2]]


def test_what_is_read_only_is_not_created(tmp_path: Path) -> None:
    for ending in ("mode=ro", "immutable=1"):
        with pytest.raises(InvalidInput, match="read-only"):
            Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}?{ending}", create=True)
    for mode, create in (("rwc", False), ("rw", True)):  # both must allow it
        with pytest.raises(DatabaseNotFound):
            Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}?mode={mode}", create=create)
    assert list(tmp_path.iterdir()) == []


def test_a_locked_folder_can_be_copied_and_backed_up(folder: Path) -> None:
    locked(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent) as other:
        copied = copy_collection(f"sqlite:///{folder / 'zoo.db'}?mode=ro", f"sqlite:///{other}/copy.db", QUIET)
        assert copied.status == "copied"
        with Engine.open(f"sqlite:///{folder / 'zoo.db'}", settings=QUIET) as eng:
            eng.backup(Path(other) / "backup.db")
        with Engine.open(f"sqlite:///{other}/backup.db?mode=ro", settings=QUIET) as eng:
            assert [model.name for model in eng.models()] == NAMES


def test_a_log_that_cannot_be_read_is_not_left_out(folder: Path) -> None:
    """A writer was killed and left changes in its log: the file alone is the collection without them."""
    path = folder / "zoo.db"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("UPDATE models SET description = 'newer'")
        writer.commit()
        log = path.with_name("zoo.db-wal").read_bytes()
    path.with_name("zoo.db-wal").write_bytes(log)
    path.with_name("zoo.db-shm").unlink(missing_ok=True)
    locked(folder)
    with pytest.raises(StorageError) as caught:
        Engine.open(f"sqlite:///{path}", settings=QUIET)
    assert "folder" in str(caught.value.hint)


def test_a_writer_in_a_locked_folder_is_seen(folder: Path) -> None:
    """Nobody writes when it is opened, so that it is read as it lies; then its owner does."""
    path = folder / "zoo.db"
    folder.chmod(0o500)
    with Engine.open(f"sqlite:///{path}", settings=QUIET) as eng:
        assert len(eng.models()) == 5
        folder.chmod(0o700)
        with Engine.open(f"sqlite:///{path}", settings=QUIET) as owner:
            owner.remove("m4")
            folder.chmod(0o500)
            assert [hit.name for hit in eng.search(model="m1", k=9)] == [m.name for m in eng.search(model="m1", k=9)]
            assert len(eng.models()) == 4
            folder.chmod(0o700)
        folder.chmod(0o500)
        assert len(eng.models()) == 4
