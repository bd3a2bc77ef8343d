"""How long a shortlist must be: the share of the exhaustive density's top ten that is on it, by size and space.

    python -m benchmarks.shortlist --db zoo/zoo.db

Two collections: (a) that of ``--db``, as it is; (b) ``--models`` models made from it by interpolating means and
covariances of random pairs, μ = (1 − t)μ_a + tμ_b, S = (1 − t)S_a + tS_b with t uniform in (0, 1). Queries are fresh
draws from models' own Gaussians, of unit norm. Densities are shrunk as searches do, and ranked by packed factors;
re-ranking is exact, so what is on the shortlist is what two stages find. Spaces are fitted to each collection as the
engine does.

Writes ``benchmarks/results/shortlist.{json,md}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np

from benchmarks.encoder_speed import machine
from engine import Engine
from engine.blas import one_thread
from engine.config import Settings
from engine.records import Statistics
from engine.rerank.density_records import distances_at, feature_to_rotated, statistics_to_packed, statistics_to_rotation
from engine.scores import Shrinkage, fit_whitening, unit
from engine.scores.gaussian_density import covariance_to_cholesky, shrunk_covariance
from engine.scores.linear_density import LinearDensity
from engine.search.spaces import FIRST_MOMENT, LEAST_WEIGHT, LINEAR, WHITENED

RESULTS = Path(__file__).resolve().parent / "results"
SIZES = (10, 25, 50, 100, 200, 500, 1000)
BEST, QUERIES, FITTED = 10, 200, 1024
SPACES = {FIRST_MOMENT: "first moment", WHITENED: "whitened first moment", LINEAR: "linear density"}


def interpolated(models: list[Statistics], count: int, seed: int = 0) -> Iterator[Statistics]:
    """Models between random pairs."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        a, b = (models[i] for i in random.choice(len(models), 2, replace=False))
        t = np.float32(random.uniform())
        assert a.covariance is not None, "only models with covariances are given"
        assert b.covariance is not None, "only models with covariances are given"
        samples = min(a.samples, b.samples)
        yield Statistics(
            (1 - t) * a.mean + t * b.mean, (1 - t) * a.covariance + t * b.covariance, a.epsilon, samples
        )  # fmt: skip


def measured(models: Iterator[Statistics], some: list[Statistics], count: int, weight: float) -> dict[str, Any]:
    """Shares by space and size; ``some`` are those that whitening and basis are fitted to."""
    whitening = fit_whitening(some)
    shrinkage = Shrinkage(whitening.covariance(), weight, "benchmark")
    toward = Shrinkage(shrinkage.target, max(weight, LEAST_WEIGHT), "benchmark")
    linear = LinearDensity(whitening.average.astype(np.float64), whitening.total(), toward)
    rotation = statistics_to_rotation(some)
    random = np.random.default_rng(1)
    records, means, densities, asked = [], [], [], []
    wanted = set(np.linspace(0, count - 1, min(QUERIES, count)).astype(int).tolist())
    for number, model in enumerate(models):
        records.append(statistics_to_packed(model, rotation, shrinkage).record)
        means.append(model.mean)
        densities.append(linear.statistics_to_vectors([model])[0])
        if number in wanted:
            lower = covariance_to_cholesky(shrunk_covariance(model, None), model.epsilon)
            asked.append(model.mean + lower @ random.standard_normal(len(model.mean)))
    queries, plain = unit(np.array(asked, np.float32)), unit(np.array(means))
    vectors = {
        FIRST_MOMENT: (plain, queries),
        WHITENED: (whitening.means_to_vectors(plain), whitening.queries_to_vectors(queries)),
        LINEAR: (np.array(densities), linear.queries_to_vectors(queries)),
    }
    addresses = np.array([record.ctypes.data for record in records], np.uint64)
    sizes = [size for size in SIZES if size < count]
    hits: dict[str, list[list[float]]] = {space: [] for space in vectors}
    for row, query in enumerate(queries):
        distances, _ = distances_at(addresses, feature_to_rotated(rotation, query), BEST)
        best = np.argsort(distances, kind="stable")[:BEST]
        for space, (of_models, of_queries) in vectors.items():
            order = np.argsort(-(of_models @ of_queries[row]), kind="stable")[: sizes[-1]]
            on = np.isin(order, best)
            hits[space].append([on[:size].sum() / BEST for size in sizes])
    return {
        "models": count,
        "queries": len(queries),
        "share": {
            space: dict(zip(map(str, sizes), np.mean(rows, axis=0).tolist(), strict=True))
            for space, rows in hits.items()
        },
    }


@click.command(help=__doc__)
@click.option(
    "--db", required=True, type=click.Path(exists=True, dir_okay=False), help="A collection: it is only read."
)
@click.option("--encoder", help="Whose statistics (default: the collection's).")
@click.option("--models", default=10_000, show_default=True)
def main(db: str, encoder: str | None, models: int) -> None:
    """Measure, print, write."""
    weight = Settings().shrinkage
    with Engine.open(f"sqlite:///{Path(db).resolve()}") as eng:
        encoder_id, identity = eng.services.session.encoder(encoder)
        stored, _ = eng.services.catalog.statistics(encoder_id, list(eng.services.catalog.all_changes(encoder_id)))
    own = [item.statistics for item in stored.values() if item.statistics.covariance is not None]
    started = perf_counter()
    with one_thread():
        made = list(interpolated(own, min(FITTED, models), 0))
        parts = [
            ("a", measured(iter(own), own, len(own), weight)),
            ("b", measured(interpolated(own, models), made, models, weight)),
        ]
    report = {
        "collections": dict(parts), "encoder": identity.name, "dimension": identity.dimension, "shrinkage": weight,
        "best": BEST, "machine": machine(), "seconds": perf_counter() - started,
    }  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "shortlist.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "shortlist.md").write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))


def to_markdown(report: dict[str, Any]) -> str:
    """One table."""
    lines = [
        f"Share of the exhaustive density's top {report['best']} that is on the shortlist, in per cent (encoder"
        f" `{report['encoder']}`, d = {report['dimension']}, shrinkage {report['shrinkage']}; queries drawn near"
        " models).",
        "",
        "| models | queries | space of the shortlist | " + " | ".join(map(str, SIZES)) + " |",
        "|--:|--:|---|" + "--:|" * len(SIZES),
    ]
    names = {"a": "", "b": ", interpolated"}
    for name, found in report["collections"].items():
        for space, shares in found["share"].items():
            cells = [f"{100 * shares[str(size)]:.1f}" if str(size) in shares else "" for size in SIZES]
            lines.append(
                f"| {found['models']}{names[name]} | {found['queries']} | {SPACES[space]} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
