"""What a recall that was tuned on isotropic noise alone is worth to other queries: `python -m benchmarks.promise`.

The engine tuned its indexes so until November 2026. A million clustered models are indexed, settings are chosen on
isotropic queries as then, and every family of queries is searched by them. Writes ``results/families_before``.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from benchmarks.accuracy.tables import Table
from engine.bench.data import draw, read
from engine.index import QuantizedIndex
from engine.index.quantized.calibrate import tuned

ROOT = Path(__file__).resolve().parent
ASKED, K = (0.9, 0.95, 0.98, 0.99), 10


@click.command(help=__doc__)
@click.option("--models", default=1_000_000, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), default=ROOT / ".cache" / "suite")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "results")
def main(models: int, scratch: Path, out: Path) -> None:
    """Measure and write."""
    folder = scratch / f"clustered-{models}"
    draw(folder, "clustered", models)
    drawn = read(folder)
    ids, vectors = np.arange(models), np.asarray(drawn.vectors)
    index = QuantizedIndex._coded(ids, vectors)
    tuning = tuned(index, only="isotropic")
    settings = [tuning.setting(K, asked) for asked in ASKED]
    table = Table(
        "families_before", "Recall by settings that were tuned on isotropic noise",
        f"Measured recall@{K} among {models:,} clustered models by settings tuned on isotropic noise alone.",
        ("queries", *(f"asked {asked}" for asked in ASKED)),
    )  # fmt: skip
    for family, asked in drawn.families.items():
        reached = [
            float(np.mean([np.isin(index.answers(query, K, setting), truth[:K]).mean()
                           for query, truth in zip(asked.queries, asked.truth, strict=True)]))
            for setting in settings
            if setting is not None
        ]  # fmt: skip
        table.add((family, *(f"{value:.3f}" for value in reached)), family=family, recall=reached)
    table.write(out)
    click.echo(str(out / "families_before.md"))


if __name__ == "__main__":
    main()
