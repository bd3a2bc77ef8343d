"""Top-k accuracy of every method on the demo's judged queries, as ``engine evaluate`` measures it.

    python -m benchmarks.zoo.accuracy --database sqlite:///demo/zoo.db --queries demo/queries.jsonl

Writes ``benchmarks/results/demo_accuracy.json`` and ``.md``.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.accuracy.tables import Table, to_data
from engine import Engine
from engine.cli.progress import StageProgress
from engine.evaluation.figures import percent, with_interval

METHODS = (
    "first_moment",
    "linear_density",
    "first_second_moment",
    "gaussian_density",
    "blend",
    "monte_carlo",
    "best_1",
    "best_10",
)


def measure(eng: Engine, queries: Path) -> Table:
    """Every method on every modality that it can score."""
    with StageProgress() as progress:
        report = eng.evaluate(queries, METHODS, full_ranking=False, on_progress=progress)
    table = Table(
        "demo_accuracy", "The demo's accuracy",
        f"Top-k accuracy in per cent among {report.models} models; brackets: 95 % bootstrap over models.",
        ("query", "method", "queries", "top-1", "top-5", "top-10"),
    )  # fmt: skip
    for row in report.rows:
        if row.cut.by == "modality":
            tops = {k: row.measures[f"top_{k}"] for k in (1, 5, 10)}
            table.add(
                (row.cut.modality, f"`{row.method}`", str(row.queries), with_interval(tops[1]),
                 percent(tops[5].value), percent(tops[10].value)),
                modality=row.cut.modality, method=row.method, queries=row.queries, models=row.models,
                top={str(k): to_data(top) for k, top in tops.items()},
            )  # fmt: skip
    return table


@click.command(help=__doc__)
@click.option("--database", required=True)
@click.option("--queries", type=click.Path(path_type=Path, exists=True), required=True)
def main(database: str, queries: Path) -> None:
    """Measure, print and write the table."""
    with Engine.open(database) as eng:
        table = measure(eng, queries)
    table.write()
    print(table.to_markdown())


if __name__ == "__main__":
    main()
