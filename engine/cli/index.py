"""``engine index``: the search index, which can always be rebuilt from the database."""

from __future__ import annotations

import textwrap
from typing import Any

import click

from engine.cli.group import Group
from engine.cli.options import encoder_option, open_collection, shared
from engine.cli.output import show_json
from engine.cli.progress import StageProgress
from engine.cli.table import Column, show_table, terminal_width


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


@index.command("map")
@click.option(
    "--method", type=click.Choice(["auto", "umap", "pca"]), default="auto", show_default=True,
    help="auto: umap where the package umap-learn is installed.",
)  # fmt: skip
@encoder_option
@shared
def draw_map(url: str, as_json: bool, encoder: str | None, method: str) -> None:
    """Make the map of the collection that the page explores, and keep it beside the index.

    Models that come later are put between their nearest neighbours; those that go leave it. Without this command the
    page shows two principal components.

    \b
    Example:
      engine index map
    """
    with open_collection(url) as eng:
        made = eng.build_map(method, encoder=encoder)
    if as_json:
        show_json({"models": len(made.ids), "method": made.method})
    else:
        click.echo(f"a map of {len(made.ids)} models by {made.method}")


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
        _show_kind(one)
    files = [one for one in statuses if "factors" in one]
    if files:
        _show_files(files)
    for one in files:
        if one["agreement"] is not None:
            _show_agreement(one["encoder"], one["agreement"])


def _show_kind(one: dict[str, Any]) -> None:
    if one.get("why"):
        click.echo(f"{one['encoder']}, {one['space']}: {one['kind']}, because\n  {one['why']}")
    measured = [said for said in one.get("recall") or [] if said["answers"] == 10]
    if measured:
        click.echo("  recall of the 10 best, asked:    " + ", ".join(f"{100 * said['asked']:g} %" for said in measured))
        click.echo(
            "  on the hardest kind of queries:  " + ", ".join(f"{100 * said['measured']:.1f} %" for said in measured)
        )
        click.echo("  which is: " + ", ".join(dict.fromkeys(said["hardest"] for said in measured)))


def _show_files(statuses: list[dict[str, Any]]) -> None:
    click.echo()
    columns = [
        Column("encoder", least=12, keep=True),
        Column("file", least=7),
        Column("models", right=True),
        Column("size", right=True),
        Column("found", right=True),
        Column("in memory", right=True),
        Column("made", right=True),
        Column("damaged", right=True),
    ]
    rows = [
        [
            one["encoder"],
            what if one[what]["file"] == "there" else f"{what}: {one[what]['file']}",
            str(one[what]["models"]),
            bytes_to_text(one[what]["bytes"]),
            *(str(one[what][name]) for name in ("hits", "held", "misses", "damaged")),
        ]
        for one in statuses
        for what in ("factors", "samples")
    ]
    show_table(columns, rows)


def _show_agreement(encoder: str, measured: dict[str, Any]) -> None:
    click.echo()
    said = (
        f"{encoder}: of the {measured['k']} best by exhaustive density, so many are on a shortlist from"
        f" {measured['space']}: {measured['queries']} queries near {measured['models']} models,"
        f" measured {measured['measured'][:10]}."
    )
    for line in textwrap.wrap(said, terminal_width(), break_long_words=False):
        click.echo(line)
    shares = measured["share"]
    columns = [Column("shortlist"), *(Column(size, right=True) for size in shares)]
    show_table(columns, [["on it", *(f"{100 * share:.1f} %" for share in shares.values())]])


def bytes_to_text(count: int) -> str:
    """A size as people read it, in powers of 1024."""
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
