"""Means by the hundred thousand: loading them, searching them exactly, and seeing a new one.

    python -m benchmarks.scale

*Clustered* collections are mixtures of 200 topics on a narrow cone, with a power-law spectrum (i^−0.6) in a random
basis; queries lie at cosine 0.8 from a model. *Simulated* ones are i.i.d. normal directions, as in the papers: there
is no structure to find. Times are medians with the 5th and 95th percentile, one thread, methods interleaved in one run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.tables import Table
from engine import Engine
from engine.config import Settings
from engine.index import FlatIndex, LiveIndex, PanoramaIndex
from engine.index.choose import reason

D, K, QUERIES, REPEATS = 512, 10, 200, 5
TOPICS, SPECTRUM, CLOSE = 200, 0.6, 0.8
Float32 = NDArray[np.float32]


def unit(rows: NDArray[np.floating]) -> Float32:
    """Rows to unit norm."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def clustered(n: int, rng: np.random.Generator) -> Float32:
    """``(n, D)``."""
    scale = np.arange(1, D + 1, dtype=np.float32) ** -SPECTRUM
    basis = np.linalg.qr(rng.normal(size=(D, D)))[0].astype(np.float32)
    topics = (rng.normal(size=(TOPICS, D)) * scale).astype(np.float32)
    rows = np.empty((n, D), np.float32)
    for start in range(0, n, 50_000):
        size = min(50_000, n - start)
        own = topics[rng.integers(0, TOPICS, size)] + 0.5 * rng.standard_normal((size, D), np.float32) * scale
        own[:, 0] += 1.5
        rows[start : start + size] = unit(own) @ basis
    return rows


def simulated(n: int, rng: np.random.Generator) -> Float32:
    """``(n, D)``."""
    return unit(rng.standard_normal((n, D), np.float32))


def near(rows: Float32, rng: np.random.Generator) -> Float32:
    """Queries ``(QUERIES, D)`` at cosine ``CLOSE`` from some of the rows."""
    own = rows[rng.integers(0, len(rows), QUERIES)]
    away = rng.normal(size=own.shape)
    away -= np.einsum("qd,qd->q", away, own)[:, None] * own
    return np.asarray(CLOSE * own + np.sqrt(1 - CLOSE**2) * unit(away), np.float32)


def spread(times: list[float]) -> str:
    """Milliseconds."""
    low, middle, high = np.percentile(times, [5, 50, 95]) * 1e3
    return f"{middle:.3g} [{low:.3g}–{high:.3g}]"


def searching(sizes: list[int]) -> Table:
    """One query at a time: the bare FAISS call, and the engine's indexes."""
    table = Table(
        "scale_search", "Exact first-moment search",
        f"Milliseconds a query (d = {D}, k = {K}, one thread; median [5 %–95 %] of {QUERIES} queries). *Live*: "
        "panorama with 1 000 new models and 100 removed since it was built. *Written*: from a changed model to an "
        "index that answers with it.",
        ("models", "collection", "FAISS flat", "flat", "panorama", "live", "written", "auto takes"),
    )  # fmt: skip
    for n in sizes:
        for name, make in (("clustered", clustered), ("simulated", simulated)):
            rng = np.random.default_rng(0)
            rows = make(n, rng)
            queries = near(rows, rng)
            bare = faiss.IndexFlatIP(D)
            bare.add(rows)
            flat = FlatIndex.build(np.arange(n), rows, dimension=D)
            panorama = PanoramaIndex.of(flat)
            fresh = make(1000, rng)
            gone = rng.choice(n, min(100, n // 10), replace=False)
            live = LiveIndex.over(panorama).updated(np.arange(n, n + 1000), fresh, gone)
            faiss.omp_set_num_threads(1)
            calls = {
                "bare": lambda q, i=bare: i.search(q, K),
                "flat": lambda q, i=flat: i.search(q, K),
                "panorama": lambda q, i=panorama: i.search(q, K),
                "live": lambda q, i=live: i.search(q, K),
            }
            times: dict[str, list[float]] = {key: [] for key in (*calls, "written")}
            wrong = 0
            for place in range(QUERIES):
                query = queries[place : place + 1]
                answers = {}
                for key, call in calls.items():
                    started = perf_counter()
                    answers[key] = call(query)
                    times[key].append(perf_counter() - started)
                wrong += int((answers["bare"][1] != answers["panorama"][1]).sum())
            for i in range(20):
                started = perf_counter()
                changed = live.updated(np.array([n + i]), fresh[i : i + 1], np.empty(0, np.int64))
                changed.search(fresh[i : i + 1], 1)
                times["written"].append(perf_counter() - started)
            kind, why = reason(flat)
            figures = {key: np.percentile(np.array(own) * 1e3, [5, 50, 95]).tolist() for key, own in times.items()}
            table.add(
                (f"{n}", name, *(spread(own) for own in times.values()), kind),
                models=n, collection=name, places_that_differ=wrong, why=why,
                milliseconds=figures,
            )  # fmt: skip
            print(table.rows[-1], flush=True)
    return table


def loading(n: int) -> Table:
    """Means into SQLite by ``ingest_statistics``."""
    table = Table(
        "scale_loading", "Bulk loading",
        f"{n} means (d = {D}) into SQLite by `Engine.ingest_statistics`: models a second, median [lowest–highest] of "
        f"{REPEATS} runs into fresh databases; then the same again, which changes nothing.",
        ("", "models a second"),
    )  # fmt: skip
    means, names = simulated(n, np.random.default_rng(0)), [f"model-{i:07d}" for i in range(n)]
    rates: dict[str, list[float]] = {"first time": [], "again": []}
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            url, settings = f"sqlite:///{Path(folder) / 'x.db'}", Settings(index_folder=folder)
            with Engine.open(url, create=True, encoder="external:bench", settings=settings) as eng:
                for own in rates.values():
                    started = perf_counter()
                    eng.ingest_statistics(names, means, encoder="external:bench", samples=100)
                    own.append(n / (perf_counter() - started))
    for name, own in rates.items():
        low, middle, high = (f"{round(value, -1):.0f}" for value in (min(own), np.median(own), max(own)))
        table.add((name, f"{middle} [{low}–{high}]"), run=name, rates=own)
        print(table.rows[-1], flush=True)
    return table


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[259, 10_000, 100_000])
    parser.add_argument("--load", type=int, default=20_000)
    given = parser.parse_args()
    searching(given.sizes).write()
    loading(given.load).write()


if __name__ == "__main__":
    main()
