"""A collection with everything in it, copied between SQLite and Postgres, or between two of a kind.

The source is read in one snapshot. The target's first row is a mark, and while it is there no ``Engine`` opens the
target. Rows go over in blocks, each in a transaction of its own, those that others refer to first. A copy that was
interrupted goes on from what the target has: rows that the source no longer has are removed, tables with names in them
are compared row by row, of the others the rows that are missing are added. At last both sides' tables are digested; one
whose digests differ, because the source was changed between two runs, is compared row by row and digested again. Only
then is the mark taken away, in the transaction that sets the sequences, so that no id is given twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Boolean, Connection, String, Table, delete, exc, func, inspect, select

from engine.config import Settings
from engine.errors import Conflict, CorruptData, DatabaseNotFound, InvalidInput, UnfinishedCopy
from engine.storage import blobs, migrate
from engine.storage.copy_rows import (
    COPYING,
    Key,
    Row,
    add_rows,
    by_bytes,
    change_rows,
    digest_rows,
    is_unique,
    key_pages,
    plain_tables,
    present,
    read_rows,
    row_to_bytes,
    size_of,
    unique_columns,
    with_keys,
)
from engine.storage.copy_sequences import last_ids, set_last_ids
from engine.storage.database import Database
from engine.storage.tables import Base, ChangeRow, CollectionRow, ModelRow

BLOCK_BYTES = 32 * 2**20
PAGE = 500  # keys of one statement: well below every database's limit on bound parameters
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CopiedTable:
    """A table that is the same on both sides: its rows, how many of them this run wrote, its SHA-256 as hex."""

    name: str
    rows: int
    written: int
    removed: int
    digest: str


@dataclass(frozen=True)
class DamagedRow:
    """A stored blob that does not match its checksum, copied as it is. ``name`` is a model's or a transform's."""

    table: str
    name: str
    reason: str


@dataclass(frozen=True)
class Copied:
    """What a copy did. ``status`` is ``copied``, ``resumed`` or ``identical`` (it had been copied before)."""

    status: str
    collection: str
    tables: tuple[CopiedTable, ...]
    damaged: tuple[DamagedRow, ...]


def refuse_unfinished(database: Database) -> None:
    """Refuse a database that a collection is being copied into.

    Raises:
        UnfinishedCopy
    """
    with database.read() as session:
        if session.get(CollectionRow, COPYING) is not None:
            raise UnfinishedCopy(
                f"the copy of a collection into {database.shown_url} is not finished",
                hint=f"run engine copy again: engine copy SOURCE_URL {database.shown_url}",
            )


def copy_collection(
    source_url: str,
    target_url: str,
    settings: Settings | None = None,
    *,
    on_progress: OnProgress | None = None,
    block_bytes: int = BLOCK_BYTES,
    page: int = PAGE,
) -> Copied:
    """Copy a collection into an empty database, or complete a copy that was interrupted, and compare the two.

    Args:
        source_url: where the collection is; it may be in use meanwhile.
        target_url: an empty database, or a file that is not there yet.
        settings: of both databases.
        on_progress: called with (stage, rows done, rows in all).
        block_bytes: of rows in memory, and in one transaction.
        page: how many keys are compared in one statement, 500 at most.

    Raises:
        Conflict: the target holds something else, or this collection with other content.
        CorruptData: a row cannot be stored in the target, or the two sides differ after all.
        DatabaseNotFound, DatabaseOutdated, DatabaseTooNew: the source, or a target that is there.
        InvalidInput: both are the same database.
        UnfinishedCopy: the source is itself a copy that was interrupted.
    """
    settings = settings or Settings()
    with closing(Database(source_url, settings)) as source:
        migrate.check(source)
        refuse_unfinished(source)
        with closing(Database(target_url, settings, create=True)) as target:
            if _is_same(source, target):
                raise InvalidInput("source and target are the same database", hint="name another target")
            with _snapshot(source) as reading:
                run = _Copy(source, target, reading, on_progress, block_bytes, min(page, PAGE))
                return run.run()


class _Copy:
    """One run."""

    def __init__(
        self,
        source: Database,
        target: Database,
        reading: Connection,
        on_progress: OnProgress | None,
        block_bytes: int,
        page: int,
    ) -> None:
        self.source, self.target, self.reading = source, target, reading
        self.on_progress, self.block_bytes, self.page = on_progress, block_bytes, page
        self.tables = list(
            zip(plain_tables(sqlite=source.is_sqlite), plain_tables(sqlite=target.is_sqlite), strict=True)
        )
        self.written = {mine.name: 0 for mine, _ in self.tables}
        self.removed = dict(self.written)
        self.damaged: list[DamagedRow] = []

    def run(self) -> Copied:
        found = select(CollectionRow.value).where(CollectionRow.key == "id")
        collection = self.reading.execute(found).scalar_one_or_none()
        if collection is None:
            raise DatabaseNotFound(
                f"the collection in {self.source.shown_url} was never completed", hint="run engine init again"
            )
        status = self._claim(collection)
        if status == "identical":
            return Copied(status, collection, self._compared(mend=False), tuple(self.damaged))
        if status == "resumed":
            for mine, theirs in reversed(self.tables):
                self._remove_lost(mine, theirs)
        for mine, theirs in self.tables:
            self._fill(mine, theirs)
        tables = self._compared(mend=True)
        with self.target.write() as session:
            last = last_ids(self.reading, sqlite=self.source.is_sqlite)
            set_last_ids(session.connection(), last, sqlite=self.target.is_sqlite)
            session.execute(delete(CollectionRow).where(CollectionRow.key == COPYING))
        return Copied(status, collection, tables, tuple(self.damaged))

    # --- whose the target is

    def _claim(self, collection: str) -> str:
        """Make the schema and set the mark; or recognise what a run before this one has left."""
        target = self.target
        self._make_schema()
        with target.write() as session:
            facts = {row.key: row.value for row in session.scalars(select(CollectionRow))}
            if COPYING in facts:
                theirs = _mark_to_source(facts[COPYING])
                if theirs == collection:
                    return "resumed"
                raise Conflict(
                    f"{target.shown_url} holds an unfinished copy of another collection ({theirs[:12]})",
                    hint="copy into an empty database, or finish that copy first",
                )
            if facts.get("id") == collection:
                return "identical"
            if facts or any(session.execute(select(1).select_from(table)).first() for _, table in self.tables):
                raise Conflict(
                    f"{target.shown_url} holds another collection ({facts.get('id', 'without an id')[:12]})",
                    hint="copy into an empty database",
                )
            change = self.reading.execute(select(func.max(ChangeRow.seq))).scalar_one_or_none()
            session.add(CollectionRow(key=COPYING, value=json.dumps({"source": collection, "change": change or 0})))
        return "copied"

    def _make_schema(self) -> None:
        target = self.target
        revision = migrate.current_revision(target)
        with target.connection() as connection:
            if revision is None and set(inspect(connection).get_table_names()) - {"alembic_version"}:
                raise Conflict(
                    f"{target.shown_url} holds tables that are not a collection's", hint="copy into an empty database"
                )
            begun = (
                revision is None or connection.execute(select(func.count()).select_from(CollectionRow)).scalar() == 0
            )
        if begun:  # a run that was killed between two migrations
            migrate.upgrade(target)
        migrate.check(target)

    # --- rows

    def _remove_lost(self, mine: Table, theirs: Table) -> None:
        """Remove what the source no longer has."""
        with self.target.connection() as connection:
            for page in key_pages(connection, theirs, self.page):
                keys = {key for key, _ in page}
                lost = keys - present(self.reading, mine, list(keys))
                if lost:
                    with self._storing(mine, list(lost)) as writing:
                        writing.execute(delete(theirs).where(with_keys(theirs, list(lost))))
                    self.removed[mine.name] += len(lost)

    def _fill(self, mine: Table, theirs: Table) -> None:
        """Add what is missing. What could be in the way by its name is compared before."""
        with self.target.connection() as connection:
            empty = size_of(theirs, connection)[0] == 0
        if not empty and is_unique(theirs):
            self._mend(mine, theirs)
        total, _ = size_of(mine, self.reading)
        done = 0
        for page in key_pages(self.reading, mine, self.page):
            there = set() if empty else self._present(theirs, [key for key, _ in page])
            for keys in by_bytes([(key, size) for key, size in page if key not in there], self.block_bytes):
                rows = read_rows(self.reading, mine, keys)
                with self._storing(mine, keys) as writing:
                    add_rows(writing, theirs, list(rows.values()))
                self.written[mine.name] += len(rows)
            done += len(page)
            self._tell(f"copying {mine.name}", done, total)

    def _present(self, theirs: Table, keys: list[Key]) -> set[Key]:
        with self.target.connection() as connection:
            return present(connection, theirs, keys)

    def _mend(self, mine: Table, theirs: Table) -> None:
        """Rewrite rows that differ. Names that they give up are out of the way before any is taken."""
        if is_unique(theirs):
            for rows in self._different(mine, theirs):
                with self._storing(mine, []) as writing:
                    change_rows(writing, theirs, [_out_of_the_way(theirs, row) for row in rows])
        for rows in self._different(mine, theirs):
            with self._storing(mine, []) as writing:
                change_rows(writing, theirs, rows)
            self.written[mine.name] += len(rows)

    def _different(self, mine: Table, theirs: Table) -> Iterator[list[Row]]:
        """The source's rows that the target has with another content, a block at a time."""
        for page in key_pages(self.reading, mine, self.page):
            for keys in by_bytes(page, self.block_bytes):
                with self.target.connection() as connection:
                    there = read_rows(connection, theirs, keys)
                rows = read_rows(self.reading, mine, list(there))
                found = [row for key, row in rows.items() if row_to_bytes(mine, row) != row_to_bytes(mine, there[key])]
                if found:
                    yield found

    @contextmanager
    def _storing(self, table: Table, keys: list[Key]) -> Iterator[Connection]:
        """A write transaction whose refusals name the table and the rows."""
        which = f" (rows {keys[0]} to {keys[-1]})" if keys else ""
        try:
            with self.target.write() as session:
                yield session.connection()
        except (exc.IntegrityError, exc.DataError, InvalidInput, UnicodeError) as error:
            said = str(getattr(error, "orig", None) or error).strip()
            raise CorruptData(
                f"rows of the table {table.name} cannot be stored in {self.target.shown_url}{which}: {said}",
                hint="engine doctor names what is damaged in the source",
            ) from error

    # --- comparing

    def _compared(self, *, mend: bool) -> tuple[CopiedTable, ...]:
        """Every table, once it is the same on both sides.

        Raises:
            Conflict: they differ, and ``mend`` is false.
            CorruptData: they differ although what differed was written again.
        """
        found = []
        for mine, theirs in self.tables:
            rows, digest = self._digest_source(mine)
            there = self._digest_target(theirs, rows)
            if there != (rows, digest) and mend:
                self._mend(mine, theirs)
                there = self._digest_target(theirs, rows)
            if there != (rows, digest):
                said = f"the table {mine.name} differs: {rows} rows in the source, {there[0]} in the target"
                if mend:
                    raise CorruptData(said, hint="is anybody else writing there? run engine copy again")
                raise Conflict(
                    f"{self.target.shown_url} holds this collection already, and {said}",
                    hint="copy into an empty database",
                )
            found.append(CopiedTable(mine.name, rows, self.written[mine.name], self.removed[mine.name], digest))
        return tuple(found)

    def _digest_source(self, table: Table) -> tuple[int, str]:
        faults: list[tuple[Row, str]] = []

        def look(row: Row) -> None:
            reason = _fault(table.name, row)
            if reason:
                faults.append(({name: row[name] for name in ("model_id", "name") if name in row}, reason))

        total, _ = size_of(table, self.reading)
        digest = digest_rows(
            self.reading, table, sqlite=self.source.is_sqlite, block_bytes=self.block_bytes, on_row=look,
            on_count=lambda done: self._tell(f"verifying {table.name}, source", done, total),
        )  # fmt: skip
        for row, reason in faults:
            name = (
                row.get("name")
                or self.reading.execute(
                    select(ModelRow.name).where(ModelRow.id == row["model_id"])
                ).scalar_one_or_none()
            )
            self.damaged.append(DamagedRow(table.name, name or f"model {row['model_id']}", reason))
        return digest

    def _digest_target(self, table: Table, total: int) -> tuple[int, str]:
        told = partial(self._tell, f"verifying {table.name}, target")
        with self.target.connection() as connection:
            return digest_rows(
                connection, table, sqlite=self.target.is_sqlite, block_bytes=self.block_bytes,
                on_count=lambda done: told(done, total),
            )  # fmt: skip

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.on_progress is not None:
            self.on_progress(stage, done, total)


@contextmanager
def _snapshot(database: Database) -> Iterator[Connection]:
    """One view of a database for as long as the block runs."""
    with database.connection() as connection:
        if not database.is_sqlite:
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        connection.execute(select(func.count()).select_from(CollectionRow))  # the first read fixes what is seen
        yield connection


def _is_same(source: Database, target: Database) -> bool:
    if source.path is not None and target.path is not None:
        return source.path.resolve() == target.path.resolve()
    return source.url == target.url


def _mark_to_source(mark: str) -> str:
    try:
        return str(json.loads(mark)["source"])
    except (ValueError, TypeError, KeyError):
        return "unknown"


def _fault(table: str, row: Row) -> str:
    if table == "statistics":
        if blobs.checksum(row["mean"]) != row["mean_checksum"]:
            return "the mean does not match its checksum"
        if blobs.checksum(row["mean"], row["covariance"] or b"") != row["checksum"]:
            return "stored statistics do not match their checksum"
    elif table in ("sample_features", "transforms") and blobs.checksum(row["data"]) != row["checksum"]:
        return "stored arrays do not match their checksum"
    return ""


def _out_of_the_way(table: Table, row: Row) -> Row:
    """A row with values, where values must be unique, that no other row has or wants."""
    real = Base.metadata.tables[table.name].columns
    changed = dict(row)
    for name in unique_columns(table):
        if isinstance(real[name].type, String):
            changed[name] = f"\x7f{'/'.join(str(row[key.name]) for key in table.primary_key.columns)}"
        elif isinstance(real[name].type, Boolean):
            changed[name] = False
    return changed
