"""``engine db``: the database's schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from engine.cli.group import Group
from engine.cli.options import shared
from engine.cli.output import show_json
from engine.config import Settings
from engine.errors import DatabaseNotFound

if TYPE_CHECKING:
    from engine.storage import Database


@click.group("db", cls=Group)
def database() -> None:
    """Look at and upgrade the database's schema.

    \b
    Example:
      engine db current
    """


@contextmanager
def _existing(url: str) -> Iterator[tuple[Database, str]]:
    """A database and the revision of the collection in it, which need not be this engine's."""
    from engine.storage import Database, migrate

    database = Database(url, Settings.from_environment())
    try:
        revision = migrate.current_revision(database)
        if revision is None:
            migrate.check(database)
            raise DatabaseNotFound(f"there is no collection in {database.shown_url}")
        yield database, revision
    finally:
        database.close()


@database.command()
@shared
def current(url: str, as_json: bool) -> None:
    """Show the schema's revision, and the one that this engine needs.

    \b
    Example:
      engine db current --json
    """
    from engine.storage import migrate

    with _existing(url) as (_, revision):
        head = migrate.head_revision()
    if as_json:
        show_json({"revision": revision, "head": head, "current": revision == head})
    else:
        state = "current" if revision == head else f"this engine needs {head}: run engine db upgrade"
        click.echo(f"{revision} ({state})")


@database.command()
@shared
def upgrade(url: str, as_json: bool) -> None:
    """Bring the schema to what this engine needs; back the database up first.

    \b
    Example:
      engine db upgrade --database sqlite:///zoo.db
    """
    from engine.storage import migrate

    with _existing(url) as (database, before):
        migrate.upgrade(database)
        after = migrate.current_revision(database)
    if as_json:
        show_json({"from": before, "to": after})
    else:
        click.echo(f"{after} (was current)" if before == after else f"{before} -> {after}")
