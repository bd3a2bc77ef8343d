"""``engine search`` and ``engine similar``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engine.cli.options import (
    count_option,
    encoder_option,
    open_collection,
    shared,
    shortlist_option,
    value_to_weights,
    where_option,
)
from engine.cli.output import say, say_remarks, show_json
from engine.cli.table import Column, show_table
from engine.config import SHORTLIST_SPACES, Settings
from engine.distances import DISTANCES, FRECHET
from engine.shapes import hits_to_json

if TYPE_CHECKING:
    from engine.records import Hits

timings_option = click.option("--timings", is_flag=True, help="Print the time of each stage, too.")


@click.command()
@click.option("--text", metavar="TEXT", help="What the models should draw.")
@click.option("--image", metavar="FILE", help="A picture that the models could have drawn.")
@click.option("--sketch", metavar="FILE", help="A sketch of such a picture.")
@click.option("--model", metavar="NAME", help="A model of the collection; it is left out of the answers.")
@count_option
@click.option(
    "--method",
    metavar="METHOD",
    default="auto",
    show_default=True,
    help="How models are scored: auto, first_moment, whitened_first_moment, linear_density, first_second_moment, "
    "gaussian_density, blend, monte_carlo, best_k (or best_10 for the ten nearest samples).",
)
@where_option
@click.option(
    "--weight",
    "weights",
    metavar="PART=NUMBER",
    multiple=True,
    callback=value_to_weights,
    help="How much a part of a mixed query counts, e.g. image=2; 1 unless given. Repeatable.",
)
@encoder_option
@shortlist_option
@click.option(
    "--shortlist-space",
    type=click.Choice(SHORTLIST_SPACES),
    metavar="|".join(SHORTLIST_SPACES),
    help="The space that the shortlist comes from. Default: the setting shortlist_space.",
)
@click.option(
    "--recall",
    metavar="SHARE",
    type=click.FloatRange(min=0, min_open=True, max=1),
    help="Share of the best first moments that is found, on average; 1 for all of them. "
    f"Default: {Settings.recall}. Small collections are always searched exactly.",
)
@click.option(
    "--transform",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="A learned transform by name; auto for the active one of the method and query, if there is one; none.",
)
@click.option("--plain", is_flag=True, help="Add up a mixed query's parts without dividing each by its spread.")
@timings_option
@shared
def search(
    url: str,
    as_json: bool,
    text: str | None,
    image: str | None,
    sketch: str | None,
    model: str | None,
    k: int,
    method: str,
    where: list[tuple[str, str]] | None,
    weights: dict[str, float],
    encoder: str | None,
    shortlist: int | None,
    shortlist_space: str | None,
    recall: float | None,
    transform: str,
    plain: bool,
    timings: bool,
) -> None:
    """Find the models that most likely draw what you ask for: a text, an image, a sketch, a model, or several.

    \b
    Example:
      engine search --text "a bird that talks"
      engine search --image bird.png --text watercolour --weight image=2 -k 5
      engine search --sketch cat.png --where tag=animal --where 'license!=CC-BY-NC-4.0'
      engine search --sketch cat.png --transform none
    """
    with open_collection(url) as eng:
        hits = eng.search(
            text=text, image=image, sketch=sketch, model=model, k=k, method=method, weights=weights or None,
            where=where, encoder=encoder, shortlist=shortlist, tempered=not plain,
            transform=None if transform == "none" else transform, shortlist_space=shortlist_space,
            recall=recall,
        )  # fmt: skip
    show_hits(hits, as_json, timings=timings)


@click.command()
@click.argument("name")
@count_option
@click.option(
    "--distance",
    type=click.Choice(DISTANCES),
    metavar="|".join(DISTANCES),
    default=FRECHET.name,
    show_default=True,
    help="Fréchet distance between the models' distributions (lower is nearer), or cosine of their means "
    "(higher is nearer).",
)
@encoder_option
@timings_option
@shared
def similar(url: str, as_json: bool, name: str, k: int, distance: str, encoder: str | None, timings: bool) -> None:
    """Find the models whose samples are distributed like this one's.

    \b
    Example:
      engine similar fox-gan -k 5 --distance cosine
    """
    with open_collection(url) as eng:
        hits = eng.similar(name, k, distance=distance, encoder=encoder)
    show_hits(hits, as_json, timings=timings)


def show_hits(hits: Hits, as_json: bool, *, timings: bool) -> None:
    """The answers as a table, or as JSON."""
    say_remarks(hits.remarks)
    if as_json:
        show_json(hits_to_json(hits))
        return
    if hits:
        columns = [
            Column("", right=True),
            Column("name", least=16, keep=True),
            Column("distance" if hits.lower_is_nearer else "score", right=True),
            *([Column("parts", least=14)] if hits[0].parts else []),
            Column("kind", least=8, keep=True),
            Column("tags", least=10),
            Column("description", least=12),
        ]
        show_table(
            columns,
            [
                [
                    str(hit.rank),
                    hit.name,
                    number_to_text(hit.score),
                    *([", ".join(f"{p} {number_to_text(v)}" for p, v in hit.parts.items())] if hit.parts else []),
                    hit.model.kind,
                    ", ".join(hit.model.tags),
                    hit.model.description or "",
                ]
                for hit in hits
            ],
        )
        shortlist = f" over a shortlist of {hits.shortlist}" if hits.shortlist else ""
        by = f", transformed by {hits.transform}" if hits.transform else ""
        click.echo(f"by {hits.method}{shortlist}{by}")
    else:
        say("no model fits")
    if hits.left_out:
        say(f"{hits.left_out} of the candidates could not be scored by {hits.method} and were left out")
    if timings:
        click.echo(", ".join(f"{stage} {value:.1f} ms" for stage, value in hits.timings_ms.items()))


def number_to_text(value: float) -> str:
    """Four decimals for cosines, fewer for log densities and distances in the hundreds."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}" if abs(value) < 1e4 else f"{value:.4g}"
