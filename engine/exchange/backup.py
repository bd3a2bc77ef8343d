"""A copy of a database while others write to it, as a SQLite file that is a collection by itself.

SQLite's is made by its online backup, page by page, from within one read transaction: in WAL mode that is one state of
the database, writers are not held up, and, unlike a backup without the transaction, it does not begin again whenever
somebody writes. Of Postgres the records are copied, as of one moment, into a SQLite file: all but checkpoints and
lists of similar models, which are made again; ids are new. (For a byte-for-byte copy of a Postgres there is pg_dump.)

A copy is another collection: it gets an id of its own. What was derived from the original beside it, or on a machine
that the copy is restored to, would otherwise be taken for the copy's, which may have written other models since under
the same numbers.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path

from engine.config import Settings
from engine.errors import Conflict, CorruptData
from engine.exchange.write import unwritten
from engine.files import move_into_place, open_private, sync
from engine.storage import Catalog, Database, migrate
from engine.storage.archive_rows import reading, write_records

PAGES = 2048
"""Copied at a time, between which Ctrl-C is heard: 8 MB."""
OnProgress = Callable[[str, int, int], None]


def back_up(
    database: Database, path: Path, settings: Settings, on_progress: OnProgress | None = None
) -> Mapping[str, str]:
    """Copy everything into a new SQLite file; it appears when it is whole and has been checked.

    Returns:
        What could not be copied because it is damaged, by name, with the reason: of a SQLite nothing, since its copy
        has every page as it is.

    Raises:
        Conflict: there is a file of that name.
        CorruptData: the database's pages are damaged, so that a copy would be.
        DiskFull, StorageError: it could not be written; nothing is left of it.
    """
    if path.exists():
        raise Conflict(f"there is a {path} already", hint="give another name: a backup replaces no file")
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.beside")
    try:
        damaged: Mapping[str, str] = {}
        open_private(beside, "xb").close()
        with database.translated():
            if database.path is not None:
                _copy_pages(database.file_uri(), beside, settings.busy_timeout, on_progress)
            else:
                damaged = _copy_records(database, beside, settings)
            _finish(beside)
        sync(beside)
        move_into_place(beside, path)
    except OSError as error:
        raise unwritten(path, error) from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                beside.with_name(beside.name + suffix).unlink(missing_ok=True)
    return damaged


def _copy_pages(source: str, target: Path, patience: float, on_progress: OnProgress | None) -> None:
    def told(_status: int, remaining: int, total: int) -> None:
        if on_progress is not None:
            on_progress("backup", total - remaining, total)

    with (
        closing(sqlite3.connect(source, uri=True, timeout=patience, isolation_level=None)) as reader,
        closing(sqlite3.connect(target, isolation_level=None)) as writer,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on it is one state
        reader.backup(writer, pages=PAGES, progress=told)
        reader.execute("ROLLBACK")


def _copy_records(database: Database, target: Path, settings: Settings) -> Mapping[str, str]:
    with reading(database) as source:
        copy = Database(f"sqlite:///{target}", settings, create=True)
        try:
            migrate.upgrade(copy)
            Catalog(copy).initialise(Catalog(database).facts()["default_encoder"])
            write_records(copy, source.encoders(), source.models(source.matching(None)[0]), source.transforms())
        finally:
            copy.close()
        return dict(source.damaged.models) | dict.fromkeys(source.damaged.transforms, "its arrays are damaged")


def _finish(path: Path) -> None:
    """Check it, and make it a collection of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        said = [row[0] for row in copy.execute("PRAGMA quick_check")]
        if said != ["ok"]:
            raise CorruptData(
                f"the database is damaged: {said[0]}",
                hint="engine doctor says more; export what can be read: engine export",
            )
        copy.execute("UPDATE collection SET value = ? WHERE key = 'id'", (uuid.uuid4().hex,))
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
