"""How many of the nearest by mean must be looked at for the models at the least Fréchet distance, and what that costs.

    python -m benchmarks.similar --db zoo/zoo.db

``--models`` models are made from the collection's by interpolating means and covariances of random pairs. For
``--lists`` of them, distances to all others are computed: their ten nearest are the truth. Stated is the share of these
among the nearest by cosine of means, by whitened cosine, and by the distance of means, by the number of candidates.

Writes ``benchmarks/results/similar.{json,md}``.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import click
import numpy as np

from benchmarks.encoder_speed import machine
from benchmarks.shortlist import interpolated
from engine import Engine
from engine.blas import one_thread
from engine.scores import fit_whitening, unit
from engine.scores.frechet import frechet_distance, statistics_to_cholesky
from engine.storage import Catalog

RESULTS = Path(__file__).resolve().parent / "results"
CANDIDATES = (10, 20, 50, 100, 200, 400)
BEST = 10


@click.command()
@click.option("--db", required=True, metavar="FILE", help="A collection with covariances.")
@click.option("--models", default=1000, show_default=True)
@click.option("--lists", default=40, show_default=True)
def main(db: str, models: int, lists: int) -> None:
    """Measure, and write the results."""
    with Engine.open(f"sqlite:///{db}") as eng:
        encoder_id, identity = eng.services.session.encoder()
        catalog: Catalog = eng.services.catalog
        stored, _ = catalog.statistics(encoder_id, [model.id for model in catalog.models()])
    own = [item.statistics for item in stored.values() if item.statistics.covariance is not None]
    made = list(interpolated(own, models, seed=2))
    means = np.stack([model.mean for model in made])
    whitening = fit_whitening(own)
    with one_thread():
        factors = [statistics_to_cholesky(model) for model in made]
    whitened = whitening.means_to_vectors(unit(means))
    asked = np.linspace(0, models - 1, lists).astype(int)
    nearest: dict[str, dict[int, list[float]]] = {}
    times: list[float] = []
    for number in asked.tolist():
        others = np.delete(np.arange(models), number)

        def distance(other: int, number: int = number) -> float:
            return frechet_distance(means[number], factors[number], means[other], factors[other])

        started = perf_counter()
        with one_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
            distances = np.array(list(pool.map(distance, others.tolist())))
        times.append(len(others) / (perf_counter() - started))
        truth = set(others[np.argsort(distances)[:BEST]].tolist())
        rankings = {
            "cosine of means": -(unit(means)[others] @ unit(means)[number]),
            "distance of means": np.linalg.norm(means[others] - means[number], axis=1),
        }
        rankings["whitened cosine"] = -(whitened[others] @ whitened[number])
        for name, keys in rankings.items():
            order = others[np.argsort(keys, kind="stable")]
            for count in CANDIDATES:
                share = len(truth & set(order[:count].tolist())) / BEST
                nearest.setdefault(name, {}).setdefault(count, []).append(share)
    low, middle, high = np.percentile(times, [5, 50, 95])
    result = {
        "machine": machine(), "encoder": identity.name, "dimension": identity.dimension, "models": models,
        "lists": lists, "distances_per_second": {"median": middle, "p5": low, "p95": high},
        "share_of_ten_nearest": {
            name: {str(count): float(np.mean(shares)) for count, shares in by.items()} for name, by in nearest.items()
        },
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "similar.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    lines = [
        f"Share of the ten models at the least Fréchet distance among so many nearest by mean: {lists} models against "
        f"all of {models} interpolated ones, d = {identity.dimension}. {middle:.0f} [{low:.0f}–{high:.0f}] distances a "
        "second.", "",
        "| nearest by | " + " | ".join(str(count) for count in CANDIDATES) + " |",
        "|---|" + "--:|" * len(CANDIDATES),
        *(
            f"| {name} | " + " | ".join(f"{100 * np.mean(by[count]):.1f} %" for count in CANDIDATES) + " |"
            for name, by in nearest.items()
        ),
    ]  # fmt: skip
    (RESULTS / "similar.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    click.echo(str(RESULTS / "similar.md"))


if __name__ == "__main__":
    main()
