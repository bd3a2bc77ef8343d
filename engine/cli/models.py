"""``engine list``, ``show``, ``update``, ``remove``: what is said of the models."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from engine.cli.details import detail_options, given_details
from engine.cli.failures import ERROR
from engine.cli.options import open_collection, shared, where_option
from engine.cli.output import plain, say, say_remarks, show_json
from engine.cli.table import Column, show_facts, show_table
from engine.shapes import model_to_json

if TYPE_CHECKING:
    from engine.records import Model

CLEARED: dict[str, Any] = {
    "tags": [], "description": None, "author": None, "license": None, "base_model": None, "links": {},
    "resolution": None, "metadata": {},
}  # fmt: skip


@click.command("list")
@where_option
@shared
def list_models(url: str, as_json: bool, where: list[tuple[str, str]] | None) -> None:
    """List the models, by name.

    \b
    Example:
      engine list --where tag=animal --where 'kind!=gan'
    """
    with open_collection(url) as eng:
        models = eng.models(where)
    say_remarks(models.remarks)
    if as_json:
        show_json({"models": [model_to_json(model) for model in models], "remarks": models.remarks})
        return
    if not models:
        say("no model fits" if where else "no models yet: engine ingest SOURCE adds one")
        return
    columns = [
        Column("name", least=16, keep=True),
        Column("kind", least=8, keep=True),
        Column("samples", right=True),
        Column("tags", least=10),
        Column("description", least=12),
    ]
    show_table(columns, [[m.name, m.kind, str(m.samples), ", ".join(m.tags), m.description or ""] for m in models])
    click.echo(f"{len(models)} model{'s' * (len(models) != 1)}")


@click.command()
@click.argument("name")
@shared
def show(url: str, as_json: bool, name: str) -> None:
    """Show everything that is known about a model.

    \b
    Example:
      engine show fox-gan
    """
    with open_collection(url) as eng:
        _show(eng.get(name), as_json)


@click.command()
@click.argument("name")
@click.option("--name", "new_name", metavar="NEW", help="Rename the model.")
@detail_options
@click.option(
    "--clear",
    metavar="FIELD",
    multiple=True,
    type=click.Choice(list(CLEARED)),
    help=f"Empty a field: {', '.join(CLEARED)}. Repeatable.",
)
@shared
def update(url: str, as_json: bool, name: str, new_name: str | None, clear: tuple[str, ...], **given: Any) -> None:
    """Change a model's metadata.

    --tag, --link and --meta replace what the model has.

    \b
    Example:
      engine update fox-gan --tag animal --tag fox --author "A. Painter"
    """
    changes = given_details(given)
    twice = set(clear) & set(changes)
    if twice:
        raise click.UsageError(f"{', '.join(sorted(twice))}: both given and cleared")
    changes.update((field, CLEARED[field]) for field in clear)
    if new_name is not None:
        changes["name"] = new_name
    if not changes:
        raise click.UsageError("nothing to change: give at least one field")
    with open_collection(url) as eng:
        _show(eng.update(name, **changes), as_json)


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal to ask on.")
@shared
def remove(url: str, as_json: bool, name: str, yes: bool) -> None:
    """Remove a model and all its data.

    \b
    Example:
      engine remove fox-gan --yes
    """
    with open_collection(url) as eng:
        model = eng.get(name)
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("there is no terminal to ask on: give --yes to remove the model")
            if not click.confirm(f"Remove {name!r} with its statistics ({model.samples} samples)?", err=True):
                say("nothing was removed")
                raise click.exceptions.Exit(ERROR)
        eng.remove(name)
    if as_json:
        show_json({"removed": name})
    else:
        click.echo(f"removed {name}")


def _show(model: Model, as_json: bool) -> None:
    if as_json:
        show_json({"model": model_to_json(model)})
    else:
        show_facts(model_to_facts(model))


def model_to_facts(model: Model) -> list[tuple[str, str]]:
    """A model as names and values for reading; what is not known is empty."""
    return [
        ("name", model.name),
        ("kind", model.kind),
        ("tags", ", ".join(model.tags)),
        ("description", model.description or ""),
        ("samples", str(model.samples)),
        ("left out", f"{model.quarantined} bad samples" if model.quarantined else ""),
        ("encoders", ", ".join(model.encoders)),
        ("author", model.author or ""),
        ("license", model.license or ""),
        ("base model", model.base_model or ""),
        ("resolution", f"{model.resolution} px" if model.resolution else ""),
        *((f"link {name}", address) for name, address in model.links.items()),
        ("metadata", _compact(model.metadata)),
        ("source", _compact(model.source)),
        ("generator", _compact(model.generator)),
        ("added", f"{model.created_at:%Y-%m-%d %H:%M} UTC" if model.created_at else ""),
        ("changed", f"{model.updated_at:%Y-%m-%d %H:%M} UTC" if model.updated_at else ""),
    ]


def _compact(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False) if value else ""
