"""``engine copy``: a collection from one database to another."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from engine.cli.failures import PARTIAL
from engine.cli.options import json_option
from engine.cli.output import printable, say, show_json
from engine.cli.progress import RateProgress
from engine.cli.table import Column, show_table
from engine.config import Settings

if TYPE_CHECKING:
    from engine.storage.copying import Copied

SAID = {
    "copied": "copied, and every table is the same on both sides",
    "resumed": "completed a copy that was interrupted, and every table is the same on both sides",
    "identical": "nothing to do: it had been copied before, and every table is the same on both sides",
}


@click.command()
@click.argument("source_url")
@click.argument("target_url")
@json_option
def copy(source_url: str, target_url: str, as_json: bool) -> None:
    """Copy a collection with everything in it into an empty database: SQLite to Postgres, back, or two of a kind.

    Models keep their ids. The source may be in use; what is copied is what it held when the command began. Every table
    is compared at the end, by a SHA-256 over its rows. A copy that was interrupted goes on where it stopped when the
    command is given again; until it is finished nothing opens the target.

    Ends with exit code 3 if stored data does not match its checksums: it is named, and copied as it is.

    \b
    Example:
      engine copy sqlite:///zoo.db postgresql+psycopg://me@localhost/zoo
    """
    from engine.storage.copying import copy_collection

    with RateProgress("rows") as progress:
        copied = copy_collection(source_url, target_url, Settings.from_environment(), on_progress=progress)
    if as_json:
        show_json(asdict(copied))
    else:
        _show(copied)
    if copied.damaged:
        raise click.exceptions.Exit(PARTIAL)


def _show(copied: Copied) -> None:
    columns = [
        Column("table", least=15, keep=True),
        Column("rows", right=True),
        Column("written", right=True),
        Column("removed", right=True),
        Column("sha256"),
    ]
    rows = [[one.name, str(one.rows), str(one.written), str(one.removed), one.digest[:12]] for one in copied.tables]
    show_table(columns, rows)
    click.echo(SAID[copied.status])
    for one in copied.damaged:
        say(f"damaged, and copied as it is: {one.table} of {one.name}: {printable(one.reason)}")
