"""Shortlists of 100 of a few hundred models re-ranked by Gaussian density: on the card, and by the processor.

Factors come to the card when they are first asked for: ``first_ms`` is the time of a shortlist that is not there yet,
with whatever the library sets up; the others are there. The compiled kernel has a row where SciPy and Numba can be
imported, and ``GpuDensities``, which a search asks, where the whole package can. Truth is float64.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.clustered import draw
from benchmarks.gpu.options import Options
from benchmarks.gpu.timing import bandwidth, beside_floor, timed
from engine.index.gpu_factors import GpuFactors

K, QUERIES, SAMPLES = 10, 32, 600
SHARE = 0.6
"""Of the time: no more models are made after that."""
Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""‖L⁻¹z‖² + log det Σ ``(n,)`` of models ``(n,)`` for one query ``(d,)``."""


def rows(options: Options) -> Iterator[dict[str, Any]]:
    """One row a way of scoring, after one that says how many models there are."""
    began, d = time.monotonic(), options.dimension
    drawn = draw(options.models, d, topics=max(options.models // 25, 2), samples=SAMPLES, queries=1, seed=0)
    means = np.stack([item.mean for item in drawn.statistics])
    queries = np.concatenate(drawn.queries)[:: max(options.models // QUERIES, 1)][:QUERIES]
    inverses = np.empty((len(means), d, d), np.float32)
    log_dets, truth = np.empty(len(means)), np.empty((len(means), len(queries)))
    made = 0
    for place, item in enumerate(drawn.statistics):
        if made > options.shortlist and time.monotonic() - began > SHARE * (options.deadline - began):
            break
        lower = np.linalg.cholesky(item.covariance.astype(np.float64) + item.epsilon * np.eye(d))
        inverse = np.tril(np.linalg.inv(lower))
        log_dets[place], inverses[place] = 2 * np.log(np.diag(lower)).sum(), inverse
        z = inverse @ (queries - item.mean).astype(np.float64).T
        truth[place] = np.square(z).sum(axis=0) + log_dets[place]
        made += 1
    print(f"density: {made} models", file=sys.stderr, flush=True)
    reading = bandwidth(options.device)
    directions = means[:made] / np.linalg.norm(means[:made], axis=1, keepdims=True)
    nearest = [np.argsort(-(directions @ query))[: options.shortlist] for query in queries]
    yield {"models": made, "dimension": d, "shortlist": len(nearest[0]), "queries": len(queries), **reading}

    def figures(by: str, score: Scorer, *, on_card: bool = False, **kept: Any) -> dict[str, Any]:
        """Times, on the card beside the floor, and how far from the truth."""
        taken = timed(
            lambda turn: score(nearest[turn % len(nearest)], queries[turn % len(queries)]),
            options.device if on_card else "cpu",
            options.seconds,
        )
        if on_card:
            taken = beside_floor(taken, 4 * d * d * len(nearest[0]), reading["best_gb_s"])
        off, same = 0.0, 0
        for number, (ids, query) in enumerate(zip(nearest, queries, strict=True)):
            found, true = score(ids, query), truth[ids, number]
            off = max(off, float(np.abs(found - true)[np.isfinite(found)].max()) / 2)
            same += np.argsort(found, kind="stable")[:K].tolist() == np.argsort(true, kind="stable")[:K].tolist()
        agree = {"largest_error_nats": off, "same_ten": same / len(nearest)}
        return {"by": by, **taken, **kept, **agree}

    for by, make in (
        ("card", lambda: by_card(means, inverses, log_dets, options)),
        ("NumPy, float32", lambda: lambda ids, query: by_numpy(means, inverses, log_dets, ids, query)),
    ):
        try:
            score = make()
            started = time.perf_counter()
            score(nearest[0], queries[0])
            first = 1e3 * (time.perf_counter() - started)
            yield figures(by, score, on_card=by == "card", first_ms=first)
        except Exception as error:
            yield {"by": by, "not_run": f"{type(error).__name__}: {error}"}
    yield from by_package(drawn.statistics[:made], queries, figures, options)


def by_card(means: Any, inverses: Any, log_dets: Any, options: Options) -> Scorer:
    """``GpuFactors``, filled when it is asked."""
    card = GpuFactors(options.dimension, len(means) * (4 * options.dimension**2 + 8), options.device)

    def score(ids: np.ndarray, query: np.ndarray) -> np.ndarray:
        changes = np.ones(len(ids), np.int64)
        new = ids[card.lacks(ids, changes)]
        if len(new):
            card.put(new, changes[: len(new)], inverses[new], log_dets[new])
        return card.distances(ids, changes, np.asarray(query - means[ids], np.float32))

    return score


def by_numpy(means: Any, inverses: Any, log_dets: Any, ids: np.ndarray, query: np.ndarray) -> np.ndarray:
    """One batched product on the processor."""
    z = np.matmul(inverses[ids], (query - means[ids])[:, :, None])[..., 0]
    return np.square(z.astype(np.float64)).sum(axis=1) + log_dets[ids]


def by_package(
    statistics: Any, queries: Any, figures: Callable[..., dict[str, Any]], options: Options
) -> Iterator[dict[str, Any]]:
    """Through packed records: the compiled kernel, and ``GpuDensities`` where the package's room ``search`` imports."""
    try:
        import numba  # noqa: F401  (what the kernel is compiled by)

        from engine.rerank.density_records import (
            distances_at,
            feature_to_rotated,
            statistics_to_packed,
            statistics_to_rotation,
        )
    except ImportError as error:
        yield {"by": "processor's kernel", "not_run": str(error)}
        return
    rotation = statistics_to_rotation(statistics)
    packed = []
    for item in statistics:
        if len(packed) and time.monotonic() > options.deadline - 10:
            yield {"by": "processor's kernel", "not_run": "the time was up while records were packed"}
            return
        packed.append(statistics_to_packed(item, rotation))
    addresses = np.array([factor.address for factor in packed], np.uint64)

    def by_kernel(k: int) -> Scorer:
        return lambda ids, query: distances_at(addresses[ids], feature_to_rotated(rotation, query), k)[0]

    yield figures("processor's kernel, 10 best", by_kernel(K))
    yield figures("processor's kernel, all", by_kernel(options.shortlist))
    if not options.full:
        yield {"by": "GpuDensities", "not_run": "TORCH_ONLY"}
        return
    from engine.rerank.gpu_densities import Card, GpuDensities

    class Store:
        """Stands for one: only who it is matters."""

    card, store = GpuDensities(Card(options.device, 2**30 * 4)), Store()

    def on_card(ids: np.ndarray, query: np.ndarray) -> np.ndarray:
        turned = feature_to_rotated(rotation, query)
        found = card.distances(store, ids, np.ones(len(ids), np.int64), addresses[ids], turned, None)  # type: ignore[arg-type]
        if found is None:
            raise RuntimeError(card.refused or "there is no room")
        return found

    try:
        yield figures("GpuDensities", on_card, on_card=True)
    except Exception as error:
        yield {"by": "GpuDensities", "not_run": f"{type(error).__name__}: {error}"}
