"""A click group whose errors all end in one place: a message, a hint, an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from engine.cli.failures import BROKEN_PIPE, exception_to_failure, output_failure, show_failure
from engine.cli.streams import OutputFailed, secure_streams, silence_stdout

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Group(click.Group):
    """A group that shows its help, in the order its commands were added, when no command is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"context_settings": CONTEXT, "invoke_without_command": True, **kwargs})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the work, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, or show the help."""
        result = super().invoke(ctx)
        if ctx.invoked_subcommand is None:
            click.echo(ctx.get_help())
        return result


class App(Group):
    """The whole command line."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run one command and leave the process with its exit code; no exception but ``SystemExit`` leaves it."""
        secure_streams()
        arguments = list(sys.argv[1:] if args is None else args)
        if os.environ.get("NO_COLOR"):
            extra["color"] = False
        extra.pop("standalone_mode", None)
        code = 0
        try:
            try:
                with self.make_context(prog_name or "engine", arguments, **extra) as context:
                    self.invoke(context)
            except click.exceptions.Exit as ended:
                code = ended.exit_code
            except (BrokenPipeError, OutputFailed):
                raise
            except (Exception, KeyboardInterrupt) as error:
                failure = exception_to_failure(error)
                code = failure.code
                show_failure(failure, as_json="--json" in arguments)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read has gone: that is no error, and there is nobody to tell
            code = BROKEN_PIPE
            silence_stdout()
        except OutputFailed as error:
            silence_stdout()
            failure = output_failure(error)
            code = failure.code
            show_failure(failure, as_json=False)
        sys.exit(code)


def version_option(group: Group, version: str) -> None:
    """Add ``--version``."""
    click.version_option(version, prog_name="engine", message="%(prog)s %(version)s")(group)
