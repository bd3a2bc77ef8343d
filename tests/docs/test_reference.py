"""The command-line reference is what the commands say, and every command says enough."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from engine.cli import app
from engine.cli.reference import commands, reference
from engine.cli.search import DISTANCES

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = dict(commands(app))


def test_reference_is_fresh() -> None:
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference(), "docs/cli.md is stale: run `make docs`"


EXCEPT = {"engine serve": {"--json"}, "engine copy": {"--database"}}
"""A command without results, and one that takes two databases."""


@pytest.mark.parametrize("path", COMMANDS)
def test_command_is_documented(path: str) -> None:
    command = COMMANDS[path]
    assert command.help
    assert "Example:\n" in command.help
    example = command.help.split("Example:\n", 1)[1]
    assert path in example, f"the example of {path} does not use it"
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{path} {option.opts[0]} has no help"


@pytest.mark.parametrize("path", [path for path, command in COMMANDS.items() if not isinstance(command, click.Group)])
def test_command_takes_database_and_json(path: str) -> None:
    options = {name for parameter in COMMANDS[path].params for name in parameter.opts}
    assert {"--database", "--json"} - EXCEPT.get(path, set()) <= options


def test_every_promised_command_is_there() -> None:
    """The public list of commands."""
    assert set(COMMANDS) == {
        f"engine {name}"
        for name in (
            "init", "ingest", "list", "show", "update", "remove", "search", "similar", "evaluate", "draw", "trust",
            "encoders", "learn", "transforms", "transforms list", "transforms activate", "transforms deactivate",
            "transforms remove", "doctor", "export", "import", "backup", "copy", "bench", "index", "index status",
            "index build", "index map",
            "db", "db upgrade", "db current", "serve", "keys", "keys create", "keys list", "keys revoke",
        )
    }  # fmt: skip


def test_choices_are_the_librarys() -> None:
    """The command line repeats a few names, so that its help needs no heavy import."""
    from engine.cli import learn
    from engine.distances import DISTANCES as KNOWN
    from engine.evaluation.learn import MODALITIES
    from engine.filters import FIELDS
    from engine.learning import METHODS, PARAMETERISATIONS
    from engine.search.rules import RULES

    assert tuple(DISTANCES) == tuple(KNOWN)
    assert (learn.METHODS, learn.PARAMETERISATIONS) == (METHODS, PARAMETERISATIONS)
    assert learn.MODALITIES == MODALITIES
    helps = {option.name: option.help or "" for option in COMMANDS["engine search"].params
             if isinstance(option, click.Option)}  # fmt: skip
    assert [rule for rule in RULES if rule not in helps["method"]] == []
    assert [key for key in FIELDS if key not in helps["where"]] == []
