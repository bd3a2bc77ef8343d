"""The options that describe a model, shared by ``ingest`` and ``update``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from engine.cli.options import value_to_mapping

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--tag", "tags", metavar="TAG", multiple=True, help="A tag. Repeatable."),
    click.option("--description", metavar="TEXT", help="What the model draws, in a sentence or two."),
    click.option("--kind", metavar="KIND", help="What sort of model it is: gan, diffusion, vae, program …"),
    click.option("--author", metavar="TEXT", help="Who made it."),
    click.option("--license", metavar="ID", help="Its licence, as an SPDX id where there is one."),
    click.option("--base-model", metavar="NAME", help="The model that it was made from."),
    click.option(
        "--link", "links", metavar="NAME=URL", multiple=True, callback=value_to_mapping,
        help="An address to keep with it. Repeatable.",
    ),
    click.option("--resolution", metavar="PIXELS", type=click.IntRange(min=1), help="Side of the images it draws."),
    click.option(
        "--meta", "metadata", metavar="KEY=VALUE", multiple=True, callback=value_to_mapping,
        help="Anything else to keep with it, as text. Repeatable.",
    ),
)  # fmt: skip


def detail_options(command: Command) -> Command:
    """Add the options, in order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given_details(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were given, as the library takes them."""
    details = {key: value for key, value in given.items() if value not in (None, (), {})}
    if "tags" in details:
        details["tags"] = list(details["tags"])
    return details
