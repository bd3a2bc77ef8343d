"""One database: its SQLAlchemy engine, its read and write transactions, and the translation of its errors.

SQLite runs in WAL mode with a busy timeout; writers begin IMMEDIATE, because a read transaction that upgrades
fails at once whatever the timeout. On Postgres writers take an advisory lock, so that the change sequence becomes
visible in its own order.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, exc, make_url, text
from sqlalchemy.engine import URL, Engine
from sqlalchemy.orm import Session

from engine.config import Settings
from engine.errors import (
    CorruptData,
    DatabaseLocked,
    DatabaseNotFound,
    DiskFull,
    EngineError,
    InvalidInput,
    MissingDependency,
    StorageError,
)

log = logging.getLogger("engine.storage")
WRITE = "engine_write"
OLDEST_POSTGRES = 15
CONNECT = 10.0
"""Seconds at most to wait for a server to answer."""
WRITER_LOCK = 0x656E67696E65  # "engine" in ASCII: the key of the Postgres advisory lock


PAGE = 16384
"""Bytes of a page of a new SQLite file. A mean of 512 numbers fills more than half of the 4096 that are the default, so
each would have a page of its own; six of them fit here, and covariances come in a quarter of the pieces."""
SECRETS = ("password", "sslpassword")
"""What stands in a URL's query and is not to be shown."""
POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 24, "pool_use_lifo": True, "pool_pre_ping": True}
"""Connections that are kept, how many more a burst of threads may open, and that each is tried before its use."""
ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""A machine that vanishes without a word is noticed within a minute (seconds, seconds, times, milliseconds)."""


def without_password(url: str) -> str:
    """A text that should be a URL, without what looks like a password in it."""
    url = re.sub(r"(//[^/?#:]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(rf"([?&](?:{'|'.join(SECRETS)})=)[^&]*", r"\1***", url)


def parse_url(url: str) -> URL:
    """A database URL, checked.

    Raises:
        InvalidInput: not a URL, another database system, or an in-memory SQLite.
    """
    hint = "for example sqlite:///zoo.db or postgresql+psycopg://user@host/name"
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        raise InvalidInput(f"{without_password(str(url))!r} is not a database URL", hint=hint) from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise InvalidInput(f"{backend!r} is not a supported database: SQLite and Postgres are", hint=hint)
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise InvalidInput(f"{parsed.drivername!r} is not a supported driver", hint=hint)
    if not parsed.database or parsed.database == ":memory:":
        raise InvalidInput("an in-memory database cannot hold a collection", hint=hint)
    return parsed


class Database:
    """A database that is open. Threads may share it; every transaction has its own connection."""

    def __init__(self, url: str, settings: Settings, *, create: bool = False) -> None:
        """Connect lazily.

        Raises:
            DatabaseNotFound: the SQLite file is not there and ``create`` is false.
            InvalidInput: the URL is not usable.
            MissingDependency: psycopg is not installed.
        """
        self.url = parse_url(url)
        self.path = Path(str(self.url.database)) if self.is_sqlite else None
        if self.path is not None:
            if not create and not self.path.exists():
                raise DatabaseNotFound(
                    f"there is no database at {self.path}",
                    hint=f"create one with: engine init --database {self.shown_url}",
                )
            if not self.path.parent.is_dir():
                raise DatabaseNotFound(f"the folder {self.path.parent} is not there", hint="create the folder first")
        self._patience = max(1, int(1000 * settings.busy_timeout))  # milliseconds
        self._engine = self._connectable(settings, create=create)
        self._reader = self._engine
        if not self.is_sqlite:  # else each statement would see what was committed before it, and not before the first
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite, else Postgres."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        hidden = {key: "***" for key in SECRETS if key in self.url.query}
        return self.url.update_query_dict(hidden).render_as_string(hide_password=True)

    def _connectable(self, settings: Settings, *, create: bool) -> Engine:
        if not self.is_sqlite:
            return self._postgres(settings)
        engine = create_engine(
            self.url, connect_args={"timeout": settings.busy_timeout}, json_deserializer=_text_to_json
        )  # fmt: skip

        @event.listens_for(engine, "connect")
        def on_connect(connection: sqlite3.Connection, _record: Any) -> None:
            connection.isolation_level = None  # we begin transactions ourselves
            connection.text_factory = _bytes_to_text
            for pragma in ("synchronous = FULL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
            if create:  # both stay with the file; a file that is somebody else's is not to be changed
                connection.execute(f"PRAGMA page_size = {PAGE}")  # without effect where there are pages already
                _to_wal(connection, settings.busy_timeout)

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
        try:
            engine = create_engine(self.url, connect_args={**given, "client_encoding": "UTF8"}, **POOL)
        except ImportError as error:
            raise MissingDependency(
                "Postgres needs the package psycopg", hint="pip install 'engine[postgres]'"
            ) from error

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
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A write transaction, committed at the end of the block, rolled back on any error."""
        bind = self._engine.execution_options(**{WRITE: True})
        with self.translated(), Session(bind, expire_on_commit=False) as session, session.begin():
            if not self.is_sqlite:
                session.execute(text(f"SET LOCAL lock_timeout = {self._patience}"))
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITER_LOCK})
            yield session

    @contextmanager
    def connection(self, *, write: bool = False) -> Iterator[Connection]:
        """A bare connection, for migrations."""
        with self.translated(), self._engine.execution_options(**{WRITE: write}).connect() as connection:
            yield connection

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
            raise self._ours(error) from error
        except sqlite3.Error as error:  # raised by the connect hook, before SQLAlchemy can wrap it
            raise self._ours(error) from error

    def _ours(self, error: Exception) -> EngineError:
        said = str(getattr(error, "orig", None) or error).strip()
        low = said.lower()
        where = f"{self.shown_url}: {said}"
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
            return StorageError(where, hint="check that the path is a file that can be read")
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
    ("too many connections", "53300"), ("remaining connection slots", "53300"), ("too many clients", "53300"),
    ("password", "28P01"), ("pg_hba.conf", "28000"), ('role "', "28000"), ('database "', "3D000"),
)  # fmt: skip
"""What the driver says of a connection that the server refuses, which it gives no state for."""


def state_to_error(state: str | None) -> tuple[type[EngineError], str | None]:
    """What a Postgres error is here, and its hint. Without a state the connection failed or broke."""
    if state is None:
        return StorageError, GONE
    return next(((kind, hint) for start, kind, hint in STATES if state.startswith(start)), (StorageError, OTHER))


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
