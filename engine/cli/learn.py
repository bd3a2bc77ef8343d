"""``engine learn`` and ``engine transforms``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.group import Group
from engine.cli.options import encoder_option, open_collection, shared
from engine.cli.output import show_json
from engine.cli.progress import StageProgress
from engine.cli.table import Column, show_table
from engine.shapes import transform_to_json

if TYPE_CHECKING:
    from engine.records import Transform

METHODS = ("first_moment", "gaussian_density")
MODALITIES = ("image", "sketch", "text", "any")
PARAMETERISATIONS = ("diagonal", "triangular", "full")
TOP = ("top_1", "top_5", "top_10")


@click.command()
@click.option(
    "--queries",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="Judged queries, JSON Lines: a model's name, and a text, an image or a sketch that it should be found by.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    metavar="|".join(METHODS),
    default="first_moment",
    show_default=True,
    help="The method that the transform is for.",
)
@click.option(
    "--modality",
    type=click.Choice(MODALITIES),
    metavar="|".join(MODALITIES),
    default="sketch",
    show_default=True,
    help="The queries that it is for; only these are learned from.",
)
@click.option(
    "--parameterisation",
    type=click.Choice(PARAMETERISATIONS),
    metavar="|".join(PARAMETERISATIONS),
    default="triangular",
    show_default=True,
    help="The form of the matrix.",
)
@click.option(
    "--folds", metavar="N", type=click.IntRange(min=2), default=5, show_default=True, help="Of the cross-validation."
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Of folds and batches."
)
@click.option("--temperature", metavar="NUMBER", type=float, help="τ of the training loss. Default: the encoder's own.")
@click.option("--learn-temperature", is_flag=True, help="Train τ, too.")
@click.option("--force", is_flag=True, help="Let searches use it even if it does no better than the features alone.")
@encoder_option
@shared
def learn(url: str, as_json: bool, queries: Path, **options: Any) -> None:
    """Learn a transform of features from judged queries, for one method and modality.

    It is tried by cross-validation on models that it has not seen, beside chance and the features as they are.
    Searches use it from then on if it is better: its top-1 accuracy is higher, and still higher in 95 % of the
    resamples of a bootstrap over models.

    \b
    Example:
      engine learn --queries queries.jsonl --modality sketch
      engine learn --queries queries.jsonl --method gaussian_density --modality image
    """
    with open_collection(url) as eng, StageProgress() as progress:
        learned = eng.learn(queries, **options, on_progress=progress)
    if as_json:
        show_json(transform_to_json(learned))
        return
    report = learned.report
    click.echo(
        f"{report['queries']} queries of {report['models']} models, each ranked among {report['collection']} models "
        "while its own was held out:"
    )
    show_accuracies(report)
    if learned.active:
        why = "better" if report["better"] else "forced"
        click.echo(f"{learned.name} is active ({why}): searches of such queries use it from now on")
    else:
        click.echo(f"{learned.name} is stored and not active: it is not reliably better")
        click.echo(f"  to use it all the same: engine transforms activate {learned.name}")


@click.group("transforms", cls=Group)
def transforms() -> None:
    """Look at and choose the transforms that searches use.

    \b
    Example:
      engine transforms list
    """


@transforms.command("list")
@shared
def list_transforms(url: str, as_json: bool) -> None:
    """List the stored transforms, what they are for, and how well learned ones did on models not seen.

    \b
    Example:
      engine transforms list --json
    """
    with open_collection(url) as eng:
        stored = eng.transforms()
    if as_json:
        show_json({"transforms": [transform_to_json(one) for one in stored]})
        return
    columns = [
        Column("name"),
        Column("active"),
        *(Column(title, right=True) for title in ("chance", "pre-trained", "learned")),
    ]
    names = ("chance", "pretrained", "learned")
    show_table(
        columns,
        [
            [one.name, "yes" if one.active else "no"]
            + [percent(one.report[name]["top_1"]) if name in one.report else "" for name in names]
            for one in stored
        ],
    )
    if any("learned" in one.report for one in stored):
        click.echo("top-1 accuracy, %, on models that were held out")


@transforms.command()
@click.argument("name")
@shared
def activate(url: str, as_json: bool, name: str) -> None:
    """Let searches of its method and modality use a transform by themselves.

    \b
    Example:
      engine transforms activate sketch-first_moment-triangular-1
    """
    with open_collection(url) as eng:
        changed = eng.activate_transform(name)
    _show_change(changed, as_json)


@transforms.command()
@click.argument("name")
@shared
def deactivate(url: str, as_json: bool, name: str) -> None:
    """Keep a transform, but let searches use it only when --transform names it.

    \b
    Example:
      engine transforms deactivate sketch-first_moment-triangular-1
    """
    with open_collection(url) as eng:
        changed = eng.deactivate_transform(name)
    _show_change(changed, as_json)


@transforms.command()
@click.argument("name")
@shared
def remove(url: str, as_json: bool, name: str) -> None:
    """Remove a transform and its index.

    \b
    Example:
      engine transforms remove sketch-first_moment-triangular-1
    """
    with open_collection(url) as eng:
        eng.remove_transform(name)
    if as_json:
        show_json({"removed": name})
    else:
        click.echo(f"removed {name}")


def show_accuracies(report: Any) -> None:
    """Chance, pre-trained and learned beside one another, with their 95 % intervals."""
    intervals = report["intervals"]
    rows = [["chance", *(percent(report["chance"][k]) for k in TOP)]]
    for name, title in (("pretrained", "pre-trained"), ("learned", "learned")):
        rows.append([title, *(percent(report[name][k], intervals[name][k]) for k in TOP)])
    gains = [report["learned"][k] - report["pretrained"][k] for k in TOP]
    rows.append(["gain", *(percent(gain, intervals["gain"][k]) for gain, k in zip(gains, TOP, strict=True))])
    show_table([Column(""), *(Column(title, right=True) for title in ("top-1 %", "top-5 %", "top-10 %"))], rows)


def percent(share: float, interval: tuple[float, float] | None = None) -> str:
    """``35.2 [33.0, 37.4]``."""
    within = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return f"{100 * share:.1f}{within}"


def _show_change(changed: Transform, as_json: bool) -> None:
    if as_json:
        show_json(transform_to_json(changed))
    else:
        click.echo(f"{changed.name} is {'active' if changed.active else 'not active'}")
