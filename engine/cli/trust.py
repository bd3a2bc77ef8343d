"""``engine trust``: which generators may be drawn from on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.failures import ERROR, PARTIAL
from engine.cli.options import open_collection, shared
from engine.cli.output import printable, say, show_json
from engine.cli.table import Column, show_table
from engine.config import Settings
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine import Engine
    from engine.ingest.trust import Trust

LIVE = {"type": "callable"}
"""The record of what can never be built again."""
SHOWN = 12
"""Files of a generator that are listed."""


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every model that has a generator.")
@click.option("--list", "listed", is_flag=True, help="Show what is trusted here, of all collections.")
@click.option("--revoke", is_flag=True, help="Let these models no longer be drawn from.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal to ask on.")
@shared
def trust(url: str, as_json: bool, names: tuple[str, ...], every: bool, listed: bool, revoke: bool, yes: bool) -> None:
    """Let models be drawn from on this machine, after showing what their generators run or open.

    A collection, an archive or a copy can bring a generator, but not the trust in it: that is recorded on this
    machine, for this user, by the generator's digest, in ENGINE_TRUST_FILE. engine ingest records it for what it
    ingests here: for programs and Python code with --trust. A generator that changes, or whose program, module or
    decoder does, must be trusted again.

    \b
    Example:
      engine trust fox-gan
      engine trust --list
      engine trust --revoke fox-gan
    """
    if listed + revoke > 1 or (listed and (names or every)):
        raise click.UsageError("--list takes no names and no other option")
    if not listed and bool(names) == every:
        raise click.UsageError("give the models' NAMEs, or --all")
    if listed:
        _list(as_json)
        return
    with open_collection(url) as eng:
        chosen = names or [
            model.name for model in eng.models() if (model.generator or LIVE).get("type") != LIVE["type"]
        ]
        if revoke:
            _revoke(eng, list(chosen), as_json)
            return
        failed = _trust(eng, list(chosen), as_json, every=every, yes=yes)
    if failed:
        raise click.exceptions.Exit(PARTIAL)


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def _trust(eng: Engine, names: list[str], as_json: bool, *, every: bool, yes: bool) -> bool:
    """Show, ask, record; whether some could not be."""
    wanted: list[Trust] = []
    failed = False
    for name in names:
        try:
            wanted.append(eng.trust_of(name))
        except EngineError as error:
            if not every:
                raise
            failed = True
            say(f"{name}: {error.message}")
    new = [one for one in wanted if one.state != "trusted"]
    if new and not yes:
        for one in new:
            _show(one)
        if not is_terminal():
            raise click.UsageError("there is no terminal to ask on: give --yes to trust what is shown above")
        if not click.confirm(f"Trust {len(new)} generator{'s' * (len(new) != 1)} on this machine?", err=True):
            say("nothing was trusted")
            raise click.exceptions.Exit(ERROR)
    for one in new:
        eng.trust(one)
    if as_json:
        show_json({"trusted": [_to_json(one, new=one in new) for one in wanted]})
    else:
        for one in wanted:
            click.echo(f"{printable(one.model)}: {'trusted' if one in new else 'was trusted already'}, {one.what}")
    return failed


def _list(as_json: bool) -> None:
    from engine.ingest.trust import settings_to_grants

    granted = settings_to_grants(Settings.from_environment()).all()
    if as_json:
        names = ("model", "collection", "what", "granted_at", "digest")
        show_json({"trusted": [{name: getattr(one, name) for name in names} for one in granted]})
        return
    if not granted:
        say("nothing is trusted on this machine yet: engine trust NAME")
        return
    columns = [Column("model", least=16, keep=True), Column("what"), Column("since"), Column("digest")]
    show_table(columns, [[one.model, one.what, one.granted_at[:10], one.digest[:12]] for one in granted])


def _revoke(eng: Engine, names: list[str], as_json: bool) -> None:
    gone = {name: eng.revoke_trust(name) for name in names}
    if as_json:
        show_json({"revoked": [name for name, count in gone.items() if count]})
        return
    for name, count in gone.items():
        click.echo(f"{printable(name)}: {'no longer trusted' if count else 'was not trusted'}")


def _show(one: Trust) -> None:
    """What would be trusted, on stderr."""
    say(f"{one.model}: {one.what}{' and has changed since it was trusted' if one.state == 'changed' else ''}")
    for key, value in one.generator.items():
        say(f"- {key}: {json.dumps(value, ensure_ascii=False)}")
    for path in one.files[:SHOWN]:
        say(f"- file: {_sized(path)}")
    if len(one.files) > SHOWN:
        say(f"- and {len(one.files) - SHOWN} more files")


def _sized(path: Path) -> str:
    try:
        return f"{path}" if path.is_dir() else f"{path} ({path.stat().st_size} bytes)"
    except OSError:
        return f"{path} (cannot be read)"


def _to_json(one: Trust, *, new: bool) -> dict[str, Any]:
    return {
        "model": one.model, "what": one.what, "generator": one.generator, "files": [str(path) for path in one.files],
        "digest": one.digest, "new": new,
    }  # fmt: skip
