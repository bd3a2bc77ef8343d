"""``python -m engine.cli.reference``: the command-line reference, written from the commands themselves."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise

import click

from engine import config

HEAD = """\
# Command line

*Written by `make docs` from the commands themselves; do not edit.*
"""
SETTINGS = """\
## Settings

Each is read from the environment by every command; the library takes the same fields as `Settings(...)`.
`NO_COLOR` turns colour off, `COLUMNS` sets the width of tables, `ENGINE_DEBUG=1` adds a traceback to every error,
`ENGINE_CACHE` moves the cache folder.

| variable | default | what it is |
|---|---|---|
"""


def commands(group: click.Group, path: str = "engine") -> Iterator[tuple[str, click.Command]]:
    """Every command under a group with its full name, groups before what is in them."""
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def command_to_markdown(path: str, command: click.Command) -> str:
    """One command's section: usage, help, examples, options."""
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option)]
    usage = [path, *(["[OPTIONS]"] if options else []), *(argument_to_text(a) for a in arguments)]
    if isinstance(command, click.Group):
        usage.append("COMMAND")
    parts = [f"## {path}", f"```\n{' '.join(usage)}\n```", help_to_markdown(command.help or "")]
    if options:
        parts.append("\n".join(option_to_markdown(option) for option in options))
    return "\n\n".join(part for part in parts if part) + "\n"


def argument_to_text(argument: click.Argument) -> str:
    """An argument as a usage line names it."""
    return argument.metavar or (argument.name or "").upper()


def option_to_markdown(option: click.Option) -> str:
    """One bullet: names, value, help, default, environment variable."""
    names = ", ".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    extra = []
    if option.show_default and not option.is_flag:
        extra.append(f"default `{option.default}`")
    if option.show_envvar:
        extra.append(f"environment `{option.envvar}`")
    tail = f" ({'; '.join(extra)})" if extra else ""
    return f"- `{names}{value}`: {option.help or ''}{tail}"


def help_to_markdown(text: str) -> str:
    """A help text's paragraphs; those that click leaves as they are become code or lists."""
    parts = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if not paragraph.startswith("\b"):
            parts.append(" ".join(paragraph.split()))
            continue
        title, _, body = paragraph.removeprefix("\b").strip("\n").partition("\n")
        fence = "sh" if title == "Example:" else ""
        parts.append(f"{title}\n\n```{fence}\n{textwrap.dedent(body)}\n```")
    return "\n\n".join(parts)


def settings_to_markdown() -> str:
    """The table of settings, from the docstrings under the fields."""
    source = ast.parse(inspect.getsource(config.Settings))
    said: dict[str, str] = {}
    body = next(node for node in source.body if isinstance(node, ast.ClassDef)).body
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(text, ast.Expr), "every setting has a docstring"
            assert isinstance(text.value, ast.Constant), "every setting has a docstring"
            said[field.target.id] = str(text.value.value)
    rows = [(f.name.upper(), f.default, said[f.name].replace("``", "`")) for f in fields(config.Settings)]
    lines = [f"| `ENGINE_{name}` | {'' if value is None else f'`{value}`'} | {text} |" for name, value, text in rows]
    return SETTINGS + "\n".join(lines) + "\n"


def reference() -> str:
    """The whole page, Markdown."""
    from engine.cli.app import app

    parts = [HEAD, help_to_markdown(app.help or "") + "\n"]
    parts += [command_to_markdown(path, command) for path, command in commands(app)]
    return "\n".join([*parts, settings_to_markdown()])


if __name__ == "__main__":
    click.echo(reference(), nl=False)
