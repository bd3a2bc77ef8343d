"""``engine export``, ``import`` and ``backup``: whole collections in and out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from engine.cli.failures import PARTIAL
from engine.cli.options import encoder_option, open_collection, shared, where_option
from engine.cli.output import say, say_remarks, show_json
from engine.cli.progress import StageProgress
from engine.config import Settings
from engine.errors import DatabaseNotFound

CONFLICTS = ("refuse", "skip", "replace")
file_argument = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))


@click.command("export")
@file_argument
@where_option
@shared
def export(url: str, as_json: bool, file: Path, where: Any) -> None:
    """Write all models, or those that match --where, with all their data into one archive file.

    Models, tags, statistics, sample features, previews and transforms, as of one moment, each checksummed;
    docs/archive-format.md says how. The file appears when it is whole, and replaces one of that name. Models that are
    damaged are left out and named; the exit code is then 3.

    \b
    Example:
      engine export zoo.engine
      engine export animals.engine --where tag=animal
    """
    with open_collection(url) as eng, StageProgress() as progress:
        found = eng.export_archive(file, where, on_progress=partial(progress, "models"))
    say_remarks(found.remarks)
    if as_json:
        show_json({"counts": found.counts, "damaged": found.damaged, "remarks": found.remarks})
    else:
        click.echo(", ".join(f"{found.counts[what]} {what.replace('_', ' ')}" for what in ("models", "transforms")))
    _say_damaged(found.damaged)


@click.command("import")
@file_argument
@click.option(
    "--on-conflict",
    type=click.Choice(CONFLICTS),
    default=CONFLICTS[0],
    show_default=True,
    help="When a name is taken: refuse the whole archive, keep the model that is there, or replace it. "
    "An .npz replaces moments from the same path in any case.",
)
@click.option("--name", metavar="NAME", help="For an .npz: the model's name. Default: the file's.")
@encoder_option
@click.option("--samples", metavar="N", type=click.IntRange(min=1), help="For an .npz: samples behind the moments.")
@shared
def import_(
    url: str, as_json: bool, file: Path, on_conflict: str, name: str | None, encoder: str | None, samples: int | None
) -> None:
    """Read an archive that engine export wrote, or an .npz with mu and sigma as FID tools write them.

    An archive is verified before anything is written, and written in one transaction: it is taken whole, or refused
    whole. If there is no collection yet, one is made, with the archive's default encoder. Previews that are no pictures
    are dropped. Generators are taken, and not run or opened before engine trust allows it on this machine.

    An .npz is one model; it needs --encoder, and --samples unless the file says how many there were.

    \b
    Example:
      engine import zoo.engine --database sqlite:///copy.db
      engine import fid-stats.npz --encoder external:inception-2048 --samples 50000
    """
    if file.suffix.lower() == ".npz":
        if encoder is None:
            raise click.UsageError("an .npz needs --encoder: what made the features, such as external:inception-2048")
        if on_conflict == "skip":
            raise click.UsageError("--on-conflict skip is for archives: an .npz is one model")
        with open_collection(url) as eng:
            model = eng.import_moments(
                file, name=name, encoder=encoder, samples=samples, replace=on_conflict == "replace"
            )
        counts: Mapping[str, Any] = {"model": model.name, "samples": model.samples, "encoder": encoder}
        if as_json:
            show_json(counts)
        else:
            click.echo(f"{model.name}: moments of {model.samples} samples under {encoder}")
        return
    if name is not None or encoder is not None or samples is not None:
        raise click.UsageError("--name, --encoder and --samples are for an .npz: an archive says these itself")
    _import_archive(url, as_json, file, on_conflict)


def _import_archive(url: str, as_json: bool, file: Path, on_conflict: str) -> None:
    from engine import Engine
    from engine.exchange import ArchiveFile

    with ArchiveFile(file) as archive, StageProgress() as progress:
        try:
            eng = open_collection(url)
        except DatabaseNotFound:
            eng = Engine.create_for(archive, url, settings=Settings.from_environment(), on_progress=progress)
        with eng:
            found = eng.import_archive(archive, on_conflict=on_conflict, on_progress=progress)
    counts = {what: getattr(found, what) for what in ("added", "replaced", "skipped", "transforms")}
    say_remarks(found.remarks)
    if as_json:
        show_json({**counts, "remarks": found.remarks})
    else:
        click.echo(", ".join(f"{count} {what}" for what, count in counts.items()))


@click.command()
@file_argument
@shared
def backup(url: str, as_json: bool, file: Path) -> None:
    """Copy the database into a new SQLite file while others go on writing.

    The copy is one state of the database, with everything that was committed before; it is checked, and appears under
    its name when it is whole. To restore, open it (--database sqlite:///FILE), or put it in the database's place while
    nobody has that open. Of Postgres, models and transforms are copied, and ids are new.

    \b
    Example:
      engine backup zoo-monday.db --database sqlite:///zoo.db
    """
    with open_collection(url) as eng, StageProgress() as progress:
        damaged = eng.backup(file, on_progress=progress)
    size = file.stat().st_size
    if as_json:
        show_json({"file": str(file), "bytes": size, "damaged": damaged})
    else:
        click.echo(f"{file}: {size} bytes")
    _say_damaged(damaged)


def _say_damaged(damaged: Mapping[str, str]) -> None:
    for name, reason in damaged.items():
        say(f"{name} was left out: {reason} (see: engine doctor)")
    if damaged:
        raise click.exceptions.Exit(PARTIAL)
