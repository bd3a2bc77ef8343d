"""``engine evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.options import (
    encoder_option,
    open_collection,
    shared,
    shortlist_option,
)
from engine.cli.output import say, show_json
from engine.cli.progress import StageProgress
from engine.errors import MissingDependency

if TYPE_CHECKING:
    from engine.evaluation import Report


@click.command()
@click.argument("queries", metavar="QUERIES", type=click.Path(path_type=Path))
@click.option(
    "--method",
    "methods",
    metavar="METHOD",
    multiple=True,
    default=("auto",),
    help="A method of `engine search` to evaluate; auto unless given. Repeatable: methods are then compared.",
)
@click.option(
    "--out", metavar="FOLDER", type=click.Path(path_type=Path), help="Write report.json, report.md and plots there."
)
@encoder_option
@shortlist_option
@click.option(
    "--transform",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="As for `engine search`; none: the features as they are. A transform does too well on what it learned from.",
)
@click.option(
    "--resamples",
    metavar="N",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Bootstrap resamples behind each interval.",
)
@click.option("--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap.")
@click.option(
    "--no-full-ranking",
    is_flag=True,
    help="Rank the ten best models alone: leaves out mAP over all models and the score drop-off.",
)
@click.option(
    "--samples-curve",
    is_flag=True,
    help="Measure accuracy with statistics of fewer samples, too: scores all models, and takes long.",
)
@shared
def evaluate(
    url: str,
    as_json: bool,
    queries: Path,
    methods: tuple[str, ...],
    out: Path | None,
    encoder: str | None,
    shortlist: int | None,
    transform: str,
    resamples: int,
    seed: int,
    no_full_ranking: bool,
    samples_curve: bool,
) -> None:
    """Measure how often methods find the right model, by judged queries.

    QUERIES is a JSON Lines file. Each line names the model to be found and gives a text, an image, a sketch, or
    several of these: {"model": "foxes", "image": "queries/fox.png"}; perhaps with a "group" to report by itself.
    {"models": ["foxes", "cubs"], ...} says that any of these is right, "concept" which queries intervals take as one.
    Paths are relative to the file.

    \b
    Example:
      engine evaluate queries.jsonl
      engine evaluate queries.jsonl --method first_moment --method gaussian_density --out report/
    """
    if out is not None:
        from engine.evaluation.report import folder_for

        folder_for(out)  # before the work, not after it
    with open_collection(url) as eng, StageProgress() as progress:
        report = eng.evaluate(
            queries, methods, encoder=encoder, shortlist=shortlist,
            transform=None if transform == "none" else transform, resamples=resamples, seed=seed,
            full_ranking=not no_full_ranking, samples_curve=samples_curve, on_progress=progress,
        )  # fmt: skip
    if out is not None:
        _write(report, out)
    if as_json:
        show_json(report.to_dict())
        return
    from engine.cli.evaluation_tables import show_report

    show_report(report)


def _write(report: Report, out: Path) -> None:
    written = report.write(out)
    try:
        written += report.plot(out)
    except MissingDependency as error:
        say(f"warning: no plots were made, {error.message}; {error.hint}")
    say(f"wrote {', '.join(path.name for path in written)} in {out}")
