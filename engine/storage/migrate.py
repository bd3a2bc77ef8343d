"""Migrations by Alembic: creating, upgrading and recognising a database's schema.

The scripts live in the repository's top-level ``migrations/`` and travel inside the wheel as ``engine/_migrations``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from engine.errors import DatabaseNotFound, DatabaseOutdated, DatabaseTooNew
from engine.storage.database import WRITER_LOCK, Database

SCHEMA_LOCK = WRITER_LOCK + 1
"""The key of the advisory lock that migrations on Postgres hold: two programs may create a collection at once."""

IDLE_LIMITS = ("idle_in_transaction_session_timeout", "idle_session_timeout")
"""Of the session, because that lock outlasts transactions."""


def migrations_folder() -> Path:
    """Where the scripts are: inside the installed package, else in the checkout."""
    package = Path(__file__).resolve().parent.parent
    packaged = package / "_migrations"
    return packaged if packaged.is_dir() else package.parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def _revisions() -> tuple[str, frozenset[str]]:
    """The newest revision, and all: finding them runs every script, which is most of the time that opening takes."""
    scripts = ScriptDirectory.from_config(_config())
    head = scripts.get_current_head()
    assert head is not None, "the package ships at least one migration"
    return head, frozenset(script.revision for script in scripts.walk_revisions())


def head_revision() -> str:
    """The revision that this engine's code expects."""
    return _revisions()[0]


def current_revision(database: Database) -> str | None:
    """The database's revision; None when there is no collection in it."""
    with database.connection() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_known(revision: str) -> bool:
    """Whether this engine's code has a migration of that revision."""
    return revision in _revisions()[1]


def upgrade(database: Database, revision: str = "head") -> None:
    """Create or upgrade the schema in one transaction, so that nobody sees it between two migrations.

    Raises:
        DatabaseTooNew: the database has a revision that this code does not know.
    """
    _refuse_newer(database, current_revision(database))
    with _alone(database) as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(database: Database, revision: str) -> None:
    """Take the schema back to ``revision`` (``base`` drops everything)."""
    with _alone(database) as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    """A connection on which nobody else changes the schema. SQLite's write transactions see to that themselves."""
    with database.connection(write=True) as connection:
        if database.is_sqlite:
            yield connection
            return
        for limit in IDLE_LIMITS:  # else one that is cut off here keeps everybody from creating a collection
            connection.execute(text(f"SET {limit} = {database.idle_ms}"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": SCHEMA_LOCK})
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": SCHEMA_LOCK})
            for limit in IDLE_LIMITS:
                connection.execute(text(f"RESET {limit}"))
            connection.commit()


def check(database: Database) -> None:
    """Refuse a database that this code cannot work on.

    Raises:
        DatabaseNotFound: there is no collection in it.
        DatabaseOutdated: it must be upgraded first.
        DatabaseTooNew: a newer engine made it.
    """
    revision = current_revision(database)
    if revision is None:
        raise DatabaseNotFound(
            f"there is no collection in {database.shown_url}",
            hint=f"create one with: engine init --database {database.shown_url}",
        )
    _refuse_newer(database, revision)
    if revision != head_revision():
        raise DatabaseOutdated(
            f"{database.shown_url} has schema {revision}, this engine needs {head_revision()}",
            hint=f"back it up, then run: engine db upgrade --database {database.shown_url}",
        )


def _refuse_newer(database: Database, revision: str | None) -> None:
    if revision is not None and not is_known(revision):
        raise DatabaseTooNew(
            f"{database.shown_url} has schema {revision}, which this engine does not know",
            hint="it was made by a newer engine: upgrade the package",
        )
