"""``engine init``, ``encoders``, ``doctor``: the collection as a whole."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from engine.cli.failures import PARTIAL
from engine.cli.options import open_collection, shared
from engine.cli.output import printable, say, show_json
from engine.cli.progress import StageProgress
from engine.cli.table import Column, show_facts, show_table
from engine.config import DEFAULT_ENCODER, Settings
from engine.errors import DatabaseNotFound

if TYPE_CHECKING:
    from engine.doctor import Finding


@click.command()
@click.option("--encoder", metavar="NAME", help=f"The default encoder. Default: {DEFAULT_ENCODER}.")
@shared
def init(url: str, as_json: bool, encoder: str | None) -> None:
    """Create a collection, or say that it is there.

    The encoder turns images and texts into features; `engine encoders` lists them.

    \b
    Example:
      engine init --encoder compact --database sqlite:///zoo.db
    """
    from engine import Engine

    created = False
    try:
        open_collection(url).close()
    except DatabaseNotFound:
        created = True
    eng = Engine.open(url, create=True, encoder=encoder, settings=Settings.from_environment())
    with eng:
        if as_json:
            show_json({"created": created, "default_encoder": eng.default_encoder})
        else:
            state = "created" if created else "the collection is there already"
            click.echo(f"{state}; default encoder {eng.default_encoder}")


@click.command()
@shared
def encoders(url: str, as_json: bool) -> None:
    """List the encoders that can be named, and those that this collection uses.

    \b
    Example:
      engine encoders
    """
    from engine.encoders import known_encoders

    known = [asdict(info) for info in known_encoders()]
    used: list[dict[str, Any]] = []
    default = None
    try:
        with open_collection(url) as eng:
            default = eng.default_encoder
            models = {status["encoder"]: status["models"] for status in eng.index_status()}
            used = [
                {
                    "name": identity.name,
                    "models": models[identity.name],
                    "dimension": identity.dimension,
                    "modalities": identity.modalities,
                    "fingerprint": identity.fingerprint,
                }
                for identity in eng.encoders()
            ]
    except DatabaseNotFound:
        say("there is no collection here yet: these are the encoders that one could use")
    if as_json:
        show_json({"default": default, "encoders": used, "known": known})
        return
    for one in known:
        click.echo(click.style(one["name"], bold=True))
        ready = "installed" if one["installed"] else f"not installed: {one['hint']}"
        show_facts([("  what", one["description"]), ("  weights", one["weights"]), ("  package", ready)])
    if default is not None:
        click.echo(f"\nThis collection's default is {default}.")
    if used:
        show_table(
            [Column("used here", least=24, keep=True), Column("models", right=True), Column("dim", right=True)],
            [[one["name"], str(one["models"]), str(one["dimension"])] for one in used],
        )


@click.command()
@click.option("--repair", is_flag=True, help="Make again, from the database, whatever is derived from it and damaged.")
@shared
def doctor(url: str, as_json: bool, repair: bool) -> None:
    """Check the database and everything that is derived from it against one another, id by id and by checksum.

    Database, transforms, index snapshots, files of factors and samples, lists of similar models, previews and
    checkpoints. Each damage is named by its file or model, with the command that mends it. --repair mends what can be
    made again; damaged statistics are kept as they are, and their model is left out of what reads them until it is
    ingested again.

    Ends with exit code 3 if there is damage that was not repaired; what is only behind is mended by itself when it is
    needed.

    \b
    Example:
      engine doctor
      engine doctor --repair
    """
    with open_collection(url) as eng, StageProgress() as progress:
        findings = eng.doctor(repair=repair, on_progress=progress)
    if as_json:
        show_json({"findings": [_finding_to_json(finding) for finding in findings]})
    elif findings:
        for finding in findings:
            _show_finding(finding)
    else:
        click.echo("all is well")
    if any(finding.severity == "damage" and not finding.repaired for finding in findings):
        raise click.exceptions.Exit(PARTIAL)


def _finding_to_json(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in ("severity", "what", "repair", "repaired")}


def _show_finding(finding: Finding) -> None:
    if finding.repaired:
        click.echo(f"{click.style('repaired', fg='green')}: {printable(finding.what)}")
        return
    colour = "red" if finding.severity == "damage" else "yellow"
    click.echo(f"{click.style(finding.severity, fg=colour)}: {printable(finding.what)}")
    click.echo(f"  repair: {printable(finding.repair)}")
