"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engine.config import DEFAULT_DATABASE, Settings
from engine.filters import FIELDS

if TYPE_CHECKING:
    from engine import Engine

Command = TypeVar("Command", bound=Callable[..., Any])

database_option = click.option(
    "--database",
    "url",
    metavar="URL",
    envvar="ENGINE_DATABASE",
    default=DEFAULT_DATABASE,
    show_default=True,
    show_envvar=True,
    help="The collection: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
encoder_option = click.option("--encoder", metavar="NAME", help="An encoder's name; default: the collection's.")
count_option = click.option(
    "-k", "k", metavar="N", type=click.IntRange(min=1), default=10, show_default=True, help="How many answers."
)
shortlist_option = click.option(
    "--shortlist",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"How many candidates by first moment the exact methods look at. Default: {Settings.shortlist}.",
)


def shared(command: Command) -> Command:
    """``--database`` and ``--json``, as ``url`` and ``as_json``."""
    return database_option(json_option(command))


def open_collection(url: str, **changed: Any) -> Engine:
    """The collection at a URL, with the settings of the environment but for those that are given."""
    from engine import Engine

    return Engine.open(url, settings=replace(Settings.from_environment(), **changed))


def value_to_pairs(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each ``KEY=VALUE`` split at its first equals sign (a click callback).

    Raises:
        click.BadParameter: there is none, or no key before it.
    """
    pairs = []
    for value in values:
        key, equals, rest = value.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{value!r} is not {option.metavar}", ctx, option)
        pairs.append((key.strip(), rest))
    return pairs


def value_to_mapping(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """As ``value_to_pairs``, where a key may come once (a click callback)."""
    pairs = value_to_pairs(ctx, option, values)
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise click.BadParameter("a key is given twice", ctx, option)
    return mapping


def value_to_weights(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    """``PART=NUMBER`` pairs (a click callback)."""
    weights = {}
    for part, number in value_to_mapping(ctx, option, values).items():
        try:
            weights[part] = float(number)
        except ValueError as error:
            raise click.BadParameter(f"{number!r} is not a number", ctx, option) from error
    return weights


def value_to_where(
    ctx: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> list[tuple[str, str]] | None:
    """Conditions as the library reads them, None for none (a click callback)."""
    return value_to_pairs(ctx, option, values) or None


where_option = click.option(
    "--where",
    metavar="KEY=VALUE",
    multiple=True,
    callback=value_to_where,
    help="Only models that fit: tag=animal, 'tag!=sketch', kind=gan,vae (any of these), 'name~=bird' (a part of it). "
    f"Given several times, all must hold. Keys: {', '.join(FIELDS)}, meta.KEY. Case does not matter. A comma inside a "
    "value is written \\,",
)
