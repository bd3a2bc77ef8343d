"""Exceptions to messages and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass

import click

from engine.cli.output import printable, show_json
from engine.errors import AddressUnavailable, EngineError

ERROR = 1
USAGE = 2
PARTIAL = 3
OUTPUT = 4
UNAVAILABLE = 5
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE, what other programs say when their reader has gone


@dataclass(frozen=True)
class Failure:
    """What is said of an exception: the error object's fields, the exit code, and a traceback if one is wanted."""

    type: str
    message: str
    hint: str | None
    code: int
    trace: str | None = None


def exception_to_failure(error: BaseException) -> Failure:
    """Every exception that a command can end with."""
    if isinstance(error, EngineError):
        code = UNAVAILABLE if isinstance(error, AddressUnavailable) else ERROR
        return Failure(type(error).__name__, error.message, error.hint, code, _trace(error))
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "engine"
        return Failure("UsageError", error.format_message(), f"{command} --help shows what it takes", USAGE)
    if isinstance(error, click.ClickException):
        return Failure(type(error).__name__, error.format_message(), None, ERROR)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        again = "nothing is half done: the same command, given again, goes on where it stopped"
        return Failure("Interrupted", "interrupted", again, INTERRUPTED)
    fault = "this is a fault in engine; ENGINE_DEBUG=1 shows where"
    return Failure(type(error).__name__, f"unexpected {type(error).__name__}: {error}", fault, ERROR, _trace(error))


def output_failure(error: OSError) -> Failure:
    """What the command did is done, and its result cannot be written."""
    said = f"the result cannot be written to standard output: {error.strerror or error}"
    hint = "nothing that was done is undone; give the output somewhere to go: it is closed, or its disk is full"
    return Failure("OutputFailed", said, hint, OUTPUT, _trace(error))


def show_failure(failure: Failure, *, as_json: bool) -> None:
    """The error object on stdout, or sentences on stderr."""
    if failure.trace:
        click.echo(failure.trace, err=True, nl=False)
    if failure.code == INTERRUPTED and sys.stderr.isatty():
        click.echo(err=True)  # the terminal has written ^C
    if as_json:
        show_json({"error": {"type": failure.type, "message": failure.message, "hint": failure.hint}})
        return
    click.echo(click.style("Error: ", fg="red", bold=True) + printable(failure.message), err=True, color=_colour())
    if failure.hint:
        click.echo(click.style("Hint: ", bold=True) + printable(failure.hint), err=True, color=_colour())


def _debugging() -> bool:
    return bool(os.environ.get("ENGINE_DEBUG"))


def _trace(error: BaseException) -> str | None:
    return "".join(traceback.format_exception(error)) if _debugging() else None


def _colour() -> bool | None:
    return False if os.environ.get("NO_COLOR") else None
