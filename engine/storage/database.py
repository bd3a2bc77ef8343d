"""One database: its SQLAlchemy engine, its read and write transactions, and the translation of its errors.

SQLite runs in WAL mode with a busy timeout; writers begin IMMEDIATE, because a read transaction that upgrades
fails at once whatever the timeout. On Postgres writers take an advisory lock, so that the change sequence becomes
visible in its own order.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, exc, text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from engine.config import Settings
from engine.errors import (
    CorruptData,
    DatabaseLocked,
    DatabaseNotFound,
    DiskFull,
    EngineError,
    InvalidInput,
    StorageError,
)
from engine.files import open_private
from engine.storage import deadlines
from engine.storage.address import text_to_address

log = logging.getLogger("engine.storage")
WRITE = "engine_write"
USES = "engine_uses"
"""How often a connection to a file that nobody seems to write may still be used; None: for ever."""
OLDEST_POSTGRES = 15
CONNECT = 10.0
"""Seconds at most to wait for a server to answer."""
WRITER_LOCK = 0x656E67696E65  # "engine" in ASCII: the key of the Postgres advisory lock


PAGE = 16384
"""Bytes of a page of a new SQLite file. A mean of 512 numbers fills more than half of the 4096 that are the default, so
each would have a page of its own; six of them fit here, and covariances come in a quarter of the pieces."""
POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 24, "pool_use_lifo": True, "pool_pre_ping": True}
"""Connections that are kept, how many more a burst of threads may open, and that each is tried before its use."""
ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""A machine that vanishes without a word is noticed within a minute (seconds, seconds, times, milliseconds)."""
SERVER_ALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
"""The same for the server while its client writes: it would otherwise wait two hours for one that is gone."""
SLOW = 30
"""Times ``settings.idle_transaction_timeout`` that a write may be silent which reads files meanwhile."""
BOUNDS = text("SELECT set_config(name, value, true) FROM json_each_text(CAST(:bounds AS json)) AS given(name, value)")
LOCK = text("SELECT pg_advisory_xact_lock(:key)")
WAL = b"\x02\x02"
"""The bytes 18 and 19 of a SQLite file in WAL mode."""


class Database:
    """A database that is open. Threads may share it; every transaction has its own connection."""

    def __init__(self, url: str, settings: Settings, *, create: bool = False) -> None:
        """Connect lazily.

        Raises:
            DatabaseNotFound: the SQLite file is not there and ``create`` is false.
            InvalidInput: the URL is not usable, or says ``mode=ro`` and ``create`` is true.
            StorageError: the file cannot be reached.
            MissingDependency: psycopg is not installed.
        """
        self.address = text_to_address(url)
        self.url = self.address.url
        self.path = Path(str(self.url.database)) if self.is_sqlite else None
        self._create = create
        self._commits = itertools.count(1)
        self.commits = 0
        """Counts the transactions that have been committed by this object: a cache's version tag."""
        if self.path is not None:
            self._check_file(self.path)
        self.idle_ms = math.ceil(1000 * settings.idle_transaction_timeout)
        """Milliseconds after which Postgres ends a write whose client says nothing; 0: never."""
        self._patience = max(1, int(1000 * settings.busy_timeout))  # milliseconds
        self._engine = self._connectable(settings, create=create)
        event.listen(self._engine, "before_cursor_execute", _statement_begins)
        self._reader = self._engine
        if not self.is_sqlite:  # else each statement would see what was committed before it, and not before the first
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite, else Postgres."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def shown_url(self) -> str:
        """The URL without its secrets."""
        return self.address.shown

    def _check_file(self, path: Path) -> None:
        if self._create and self.address.read_only:
            raise InvalidInput(
                f"{self.shown_url} is read-only: no collection can be created in it",
                hint="leave mode=ro or immutable=1 out of the URL",
            )
        try:
            there, folder = path.exists(), path.parent.is_dir()
        except OSError as error:  # its name is too long, or a folder on the way may not be entered
            raise StorageError(f"{path} cannot be reached: {error.strerror}", hint="check the path") from error
        if not there and not (self._create and self.address.may_create):
            url = self.url.difference_update_query(["mode", "immutable"]).render_as_string()
            raise DatabaseNotFound(
                f"there is no database at {path}", hint=f"create one with: engine init --database {url}"
            )
        if not folder:
            raise DatabaseNotFound(f"the folder {path.parent} is not there", hint="create the folder first")
        if there and not path.is_file():
            what = "a folder" if path.is_dir() else "no ordinary file"
            raise InvalidInput(
                f"{path} is {what}; a collection is a file", hint="name a file, as in sqlite:///zoo.db"
            )  # fmt: skip

    def _make_file(self) -> None:
        """Make the file for its owner alone, which SQLite would make for everybody; its log has the same mode."""
        assert self.path is not None, "a SQLite"
        with suppress(OSError):  # it is there; or it cannot be made, which SQLite says
            open_private(self.path.resolve(), "xb").close()

    def file_uri(self, frozen: bool | None = None) -> str:
        """SQLite's own name for the file, with how it is to be opened now."""
        assert self.path is not None, "a SQLite"
        if self.address.immutable or (self._is_frozen() if frozen is None else frozen):
            how = "mode=ro&immutable=1"
        else:
            how = f"mode={'ro' if self.address.read_only else 'rwc' if self._create else 'rw'}"
        return f"{self.path.absolute().as_uri()}?{how}"

    def _is_frozen(self) -> bool:
        """Whether the file can only be opened as one that nobody writes.

        SQLite keeps a file beside a database in WAL mode even to read it. Where that cannot be made, and there is no
        log that somebody may be writing to, the database is all in its file.
        """
        assert self.path is not None, "a SQLite"
        path = self.path.resolve()  # the log lies beside the file, and not beside a link to it
        effective = os.access in os.supports_effective_ids
        if self._create or os.access(path.parent, os.W_OK, effective_ids=effective):
            return False
        try:
            with path.open("rb") as stream:
                wal = stream.read(20)[18:] == WAL
        except OSError:  # SQLite says it better
            return False
        return wal and not path.with_name(f"{path.name}-wal").exists()

    def _connectable(self, settings: Settings, *, create: bool) -> Engine:
        if not self.is_sqlite:
            return self._postgres(settings)
        engine = create_engine(
            self.url.set(query={}), json_deserializer=_text_to_json,
            connect_args={"timeout": settings.busy_timeout, "factory": CursorTracking},
        )  # fmt: skip

        @event.listens_for(engine, "do_connect")
        def on_opening(_dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> None:
            if self._create:
                self._make_file()
            frozen = self._is_frozen()
            record.info[USES] = 1 if frozen else None
            arguments[0], options["uri"] = self.file_uri(frozen), True

        @event.listens_for(engine, "checkout")
        def on_use(_connection: Any, record: Any, _proxy: Any) -> None:
            left = record.info.get(USES)
            if left == 0:  # somebody else may have written since, which it would not notice
                raise exc.DisconnectionError
            record.info[USES] = None if left is None else left - 1

        @event.listens_for(engine, "connect")
        def on_connect(connection: sqlite3.Connection, _record: Any) -> None:
            connection.isolation_level = None  # we begin transactions ourselves
            connection.text_factory = _bytes_to_text
            for pragma in ("synchronous = FULL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
            if create:  # both stay with the file; a file that is somebody else's is not to be changed
                connection.execute(f"PRAGMA page_size = {PAGE}")  # without effect where there are pages already
                _to_wal(connection, settings.busy_timeout)

        @event.listens_for(engine, "reset")
        def on_return(connection: CursorTracking, _record: Any, _state: Any) -> None:
            connection.close_cursors()

        @event.listens_for(engine, "begin")
        def on_begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get(WRITE)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def _postgres(self, settings: Settings) -> Engine:
        """Pooled connections: one that the server has dropped meanwhile is replaced before it is used."""
        seconds = max(2, math.ceil(min(settings.busy_timeout, CONNECT)))
        ours = {"connect_timeout": seconds, **ALIVE}
        given = {key: value for key, value in ours.items() if key not in self.url.query}
        secret = {**self.address.secrets, "client_encoding": "UTF8"}
        try:
            engine = create_engine(self.url, connect_args={**given, **secret}, **POOL)
        except exc.ArgumentError as error:  # hosts and ports that do not go together
            raise InvalidInput(f"{self.shown_url}: {error}", hint="one port, or one for each host") from error

        @event.listens_for(engine, "connect")
        def on_connect(connection: Any, _record: Any) -> None:
            version = connection.info.server_version // 10_000
            encoding = connection.info.parameter_status("server_encoding")
            if version < OLDEST_POSTGRES:
                raise StorageError(
                    f"{self.shown_url}: its server is Postgres {version}, {OLDEST_POSTGRES} or newer is needed",
                    hint="upgrade the server, or use SQLite",
                )
            if encoding != "UTF8":
                raise StorageError(
                    f"{self.shown_url}: it keeps texts as {encoding}, and names here may be any text",
                    hint="create a database with: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0",
                )

        return engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read transaction: one consistent view."""
        with self.translated(), Session(self._reader) as session:
            if not self.is_sqlite:  # SQLAlchemy's option would also lift the server's own refusal of writes
                session.execute(text("SET TRANSACTION READ ONLY"))
            with _bounded(session):
                yield session

    @contextmanager
    def write(self, *, slow: bool = False) -> Iterator[Session]:
        """A write transaction, committed at the end of the block, rolled back on any error.

        On Postgres the server ends it when it has heard nothing for ``settings.idle_transaction_timeout`` seconds: a
        client that was cut off must not keep the writers' lock. Nothing else than statements belongs in the block; one
        that reads files all the same is ``slow``, and is given ``SLOW`` times as long.

        Raises:
            StorageError: the database was opened for reading only.
        """
        self._refuse_read_only()
        bind = self._engine.execution_options(**{WRITE: True})
        with self.translated(), Session(bind, expire_on_commit=False) as session, session.begin():
            if not self.is_sqlite:
                idle = self.idle_ms * (SLOW if slow else 1)
                bounds = {"lock_timeout": self._patience, "idle_in_transaction_session_timeout": idle, **SERVER_ALIVE}
                session.execute(BOUNDS, {"bounds": json.dumps({name: str(value) for name, value in bounds.items()})})
                session.execute(LOCK, {"key": WRITER_LOCK})
            with _bounded(session):
                yield session
        self.commits = next(self._commits)

    @contextmanager
    def connection(self, *, write: bool = False) -> Iterator[Connection]:
        """A bare connection, for migrations."""
        if write:
            self._refuse_read_only()
        with self.translated(), self._engine.execution_options(**{WRITE: write}).connect() as connection:
            yield connection

    def _refuse_read_only(self) -> None:
        if self.address.read_only:
            raise StorageError(
                f"{self.shown_url} was opened for reading only",
                hint="leave mode=ro or immutable=1 out of the URL to write",
            )

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn SQLAlchemy's and the driver's errors into ours."""
        try:
            yield
        except EngineError:
            raise
        except exc.TimeoutError as error:  # every pooled connection is in use
            said = f"{self.shown_url}: {str(error).split(' (Background')[0]}"
            raise DatabaseLocked(
                said, hint="use fewer threads at once, or open the collection more than once"
            ) from error
        except exc.DBAPIError as error:
            bound = deadlines.current()
            if bound is not None and _is_interrupted(error):
                raise bound.error() from error
            raise self._ours(error) from error
        except sqlite3.Error as error:  # raised by the connect hook, before SQLAlchemy can wrap it
            raise self._ours(error) from error
        except UnicodeEncodeError as error:  # raised by the driver, which SQLAlchemy does not wrap
            raise InvalidInput(
                f"a text cannot be stored: {error.object!r:.80} has a lone surrogate", hint="give texts in UTF-8"
            ) from error

    def _ours(self, error: Exception) -> EngineError:
        said = self.address.censored(str(getattr(error, "orig", None) or error).strip())
        low = said.lower()
        where = f"{self.shown_url}: {said}"
        if "nul (0x00)" in low:
            return InvalidInput(f"a text cannot be stored: {said}", hint="leave the NUL characters out")
        if not self.is_sqlite:
            state = getattr(getattr(error, "orig", None), "sqlstate", None)
            state = state or next((code for words, code in REFUSALS if words in low), None)
            kind, hint = state_to_error(state)
            return kind(where, hint=hint or f"run: engine init --database {self.shown_url}")
        if "locked" in low or "lock timeout" in low:
            return DatabaseLocked(where, hint="another process is writing: try again, or raise busy_timeout")
        if "is full" in low or "no space left" in low:
            return DiskFull(where, hint="free some space; nothing that was committed is lost")
        if "not a database" in low or "malformed" in low:
            return CorruptData(where, hint="restore it from a backup; is it really an engine database?")
        if "no such table" in low or "does not exist" in low:
            return DatabaseNotFound(where, hint=f"run: engine init --database {self.shown_url}")
        if "readonly" in low or "read-only" in low:
            self._engine.dispose()  # a connection to a file that could not be written stays so, whatever its mode now
            return StorageError(where, hint="make the file and its folder writable")
        if "unable to open" in low:
            return StorageError(
                where, hint="check that the file can be read, and, while others write to it, its folder written"
            )
        return StorageError(where, hint="engine doctor examines it")

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


GONE = "is the server running and reachable? nothing that was committed is lost: try again"
OTHER = "engine doctor examines the collection; the server's log may say more"
STATES: tuple[tuple[str, type[EngineError], str | None], ...] = (
    ("55P03", DatabaseLocked, "another process is writing: try again, or raise busy_timeout"),
    ("40", DatabaseLocked, "another process wrote the same at once: try again"),
    ("53100", DiskFull, "free some space on the server; nothing that was committed is lost"),
    ("53300", DatabaseLocked, "the server has no connection left: close some, or raise its max_connections"),
    ("25P03", StorageError, "the server heard nothing for idle_transaction_timeout; nothing was written: try again"),
    ("28", StorageError, "check the user and the password in the URL"),
    ("3D000", DatabaseNotFound, "create the database first, as with: createdb"),
    ("42P01", DatabaseNotFound, None),
    ("25006", StorageError, "this server only reads: give the address of the one that writes"),
    ("42501", StorageError, "this user may not do that: ask the database's owner"),
    ("XX00", CorruptData, "the server's own files are damaged: restore them from a backup"),
    ("2200H", StorageError, "the database has given out all its ids: export it and import it into a new one"),
    ("53", StorageError, "the server lacks memory or another resource: see its log"),
    ("57014", StorageError, "the server or its owner ended a statement that took long: raise statement_timeout"),
    ("57P", StorageError, GONE),
    ("08", StorageError, GONE),
)
"""By the beginning of the SQLSTATE, the first that fits; without a hint: the collection is not there."""


REFUSALS = (
    ("idle-in-transaction", "25P03"), ("too many connections", "53300"),
    ("remaining connection slots", "53300"), ("too many clients", "53300"),
    ("password", "28P01"), ("pg_hba.conf", "28000"), ('role "', "28000"), ('database "', "3D000"),
)  # fmt: skip
"""What the driver says of a connection that the server refuses, which it gives no state for."""


def state_to_error(state: str | None) -> tuple[type[EngineError], str | None]:
    """What a Postgres error is here, and its hint. Without a state the connection failed or broke."""
    if state is None:
        return StorageError, GONE
    return next(((kind, hint) for start, kind, hint in STATES if state.startswith(start)), (StorageError, OTHER))


class CursorTracking(sqlite3.Connection):
    """A connection that can close its cursors before it goes back to the pool.

    A statement with rows left to read keeps its snapshot even after ROLLBACK. A cursor that an exception's traceback
    keeps alive would therefore make every later transaction of its connection read old data.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def cursor(self, *given: Any) -> Any:
        """As ``sqlite3.Connection.cursor``."""
        cursor = super().cursor(*given)
        self._cursors.add(cursor)
        return cursor

    def close_cursors(self) -> None:
        """End every statement that is still being read."""
        for cursor in list(self._cursors):
            cursor.close()


def _statement_begins(*_: Any) -> None:
    bound = deadlines.current()
    if bound is not None:
        bound.began()


def _bounded(session: Session) -> AbstractContextManager[None]:
    bound = deadlines.current()
    return nullcontext() if bound is None else bound.over(session)


def _is_interrupted(error: exc.DBAPIError) -> bool:
    """Whether a statement was ended by a deadline: SQLite's SQLITE_INTERRUPT, Postgres' query_canceled."""
    cause = error.orig
    return getattr(cause, "sqlstate", None) == "57014" or str(cause) == "interrupted"


def _text_to_json(text: str) -> Any:
    """What a JSON column holds; nothing where it is damaged: one model's description must not stop a listing of all."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        log.warning("stored JSON cannot be read and is left out: %s (see: engine doctor)", error)
        return {}


def _bytes_to_text(data: bytes) -> str:
    """Stored text. A damaged byte becomes a lone surrogate, which the doctor finds, and not an error in a listing."""
    return data.decode("utf-8", "surrogateescape")


def _to_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Switch to WAL. SQLite does not wait for a lock here, whatever its timeout; so we do, ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.02)
        else:
            return
