"""``engine index``: the search index, which can always be rebuilt from the database."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.group import Group
from engine.cli.options import open_collection, shared
from engine.cli.output import show_json
from engine.cli.progress import StageProgress
from engine.cli.table import Column, show_table


@click.group("index", cls=Group)
def index() -> None:
    """Look at and rebuild the search index.

    \b
    Example:
      engine index status
    """


@index.command()
@shared
def status(url: str, as_json: bool) -> None:
    """Show, for each encoder and space, what the index's snapshot on disk holds and whether it is current.

    A snapshot that is behind or missing does no harm: the next search brings it up. Below: what the files of factors
    and samples hold, how often something was found there, and how much of the exhaustive density's top ten is on a
    shortlist, as `engine index build` measured it on this collection.

    \b
    Example:
      engine index status --json
    """
    with open_collection(url) as eng:
        _show(eng.index_status(), as_json)


@index.command()
@shared
def build(url: str, as_json: bool) -> None:
    """Rebuild every index from the database, and complete the lists of similar models.

    Whitenings are fitted again where statistics have changed since. The files of factors and samples, which exact
    rules read, are completed; an interrupted run goes on where it stopped.

    \b
    Example:
      engine index build
    """
    with open_collection(url) as eng, StageProgress() as progress:
        _show(eng.build_index(progress), as_json)


def _show(statuses: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        show_json({"indexes": statuses})
        return
    columns = [
        Column("encoder", least=16, keep=True),
        Column("space", least=12),
        Column("models", right=True),
        Column("dim", right=True),
        Column("snapshot"),
        Column("kind"),
        Column("size", right=True),
        Column("folder", least=10),
    ]
    show_table(
        columns,
        [
            [
                one["encoder"],
                one["space"],
                str(one["models"]),
                str(one["dimension"]),
                one["snapshot"],
                one.get("kind", ""),
                bytes_to_text(one["bytes"]) if "bytes" in one else "",
                one["folder"],
            ]
            for one in statuses
        ],
    )
    for one in statuses:
        if one.get("why"):
            click.echo(f"{one['encoder']}, {one['space']}: {one['kind']}, because\n  {one['why']}")
        measured = [(said["asked"], said["measured"]) for said in one.get("recall") or [] if said["answers"] == 10]
        if measured:
            click.echo("  of the 10 best, measured: " + ", ".join(f"{100 * got:.1f} %" for _, got in measured))
            click.echo("  where the recall asked is " + ", ".join(f"{100 * asked:g} %" for asked, _ in measured))
        if "factors" in one:
            _show_files(one)


def _show_files(one: dict[str, Any]) -> None:
    for what in ("factors", "samples"):
        said = one[what]
        click.echo(
            f"{one['encoder']}: {what} of {said['models']} models in a file ({bytes_to_text(said['bytes'])})\n"
            f"  found there {said['hits']}, in memory {said['held']}, made {said['misses']}, damaged {said['damaged']}"
        )
    measured = one["agreement"]
    if measured is None:
        return
    shares = ", ".join(f"{size}: {100 * share:.1f} %" for size, share in measured["share"].items())
    click.echo(
        f"{one['encoder']}: of the exhaustive density's top {measured['k']}, on a shortlist of\n"
        f"  {shares}\n  ({measured['space']}, {measured['queries']} queries, {measured['models']} models,"
        f" {measured['measured']})"
    )


def bytes_to_text(count: int) -> str:
    """A size as people read it, in powers of 1024."""
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
