"""Similar models by Fréchet distance: lists kept in the database, completed when they are asked for.

A model's distances are computed to its nearest models by cosine of means (all of them while there are few), and
stored both ways. What a kill left undone is noticed by ``Neighbours.pending`` and done the next time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from engine.blas import one_thread
from engine.config import Settings
from engine.index import MISSING
from engine.rerank.statistics_cache import StatisticsCache
from engine.scores import frechet_distance, unit
from engine.search.views import IndexView
from engine.storage import Neighbours

FRECHET = "frechet"
DISTANCES = ("frechet", "cosine")


def complete_neighbours(
    view: IndexView,
    evidence: StatisticsCache,
    neighbours: Neighbours,
    settings: Settings,
    *,
    only: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Compute the lists that are missing or stale, of one model or of all; how many there were.

    One model's list is stale, too, while a model near it is pending: that one has not entered it yet.
    """
    pending = neighbours.pending(view.encoder_id)
    if only is not None and pending:
        stale = only in pending or not set(pending).isdisjoint(_candidates(view, settings, only) or ())
        pending = [only] if stale else []
    known: dict[frozenset[int], float] = {}  # two pending models need their distance once
    for done, model_id in enumerate(pending):
        _complete(view, evidence, neighbours, settings, model_id, known)
        if on_progress is not None:
            on_progress(done + 1, len(pending))
    return len(pending)


def nearest_now(
    view: IndexView, evidence: StatisticsCache, settings: Settings, model_id: int
) -> list[tuple[int, float]] | None:  # fmt: skip
    """What a model's list would hold, ``(id, distance)``, nearest first; None where it can have none."""
    found = _distances(view, evidence, settings, model_id, {})
    return None if found is None else sorted(found, key=lambda pair: (pair[1], pair[0]))[: settings.neighbours]


def models_to_distances(evidence: StatisticsCache, encoder_id: int, ids: list[int]) -> dict[str, NDArray[np.float64]]:
    """Each distance ``(n, n)`` float64 of models from one another; NaN where what it needs is missing."""
    moments = evidence.moments(encoder_id, ids)
    stored, _ = evidence.catalog.statistics(encoder_id, [i for i in ids if i not in moments])
    means = {i: value.mean for i, value in moments.items()} | {i: one.statistics.mean for i, one in stored.items()}
    factors = evidence.choleskys(encoder_id, ids)
    cosine, frechet = (np.full((len(ids), len(ids)), np.nan) for _ in DISTANCES)
    for (i, a), (j, b) in combinations_with_replacement(enumerate(ids), 2):
        if a in means and b in means:
            cosine[i, j] = cosine[j, i] = float(unit(means[a]) @ unit(means[b]))
        if a in factors and b in factors and a in moments and b in moments:
            between = frechet_distance(moments[a].mean, factors[a], moments[b].mean, factors[b])
            frechet[i, j] = frechet[j, i] = 0.0 if a == b else between
    return {"frechet": frechet, "cosine": cosine}


def _complete(
    view: IndexView,
    evidence: StatisticsCache,
    neighbours: Neighbours,
    settings: Settings,
    model_id: int,
    known: dict[frozenset[int], float],
) -> None:
    versions = evidence.catalog.changes_of(view.encoder_id, [model_id])
    values = _distances(view, evidence, settings, model_id, known) if model_id in versions else None
    if values is not None:
        neighbours.put(view.encoder_id, FRECHET, model_id, versions[model_id], values, keep=settings.neighbours)


def _distances(
    view: IndexView, evidence: StatisticsCache, settings: Settings, model_id: int, known: dict[frozenset[int], float]
) -> list[tuple[int, float]] | None:
    """A model's distances to those near it, in no order; None where it has no mean or no covariance."""
    candidates = _candidates(view, settings, model_id)
    if candidates is None:
        return None
    moments = evidence.moments(view.encoder_id, [model_id, *candidates])
    factors = evidence.choleskys(view.encoder_id, [model_id, *candidates])
    if model_id not in factors or model_id not in moments:
        return None

    def distance(other: int) -> float:
        pair = frozenset((model_id, other))
        if pair not in known:
            known[pair] = frechet_distance(
                moments[model_id].mean, factors[model_id], moments[other].mean, factors[other]
            )
        return known[pair]

    usable = [other for other in candidates if other in factors and other in moments]
    with one_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:  # LAPACK lets go of the interpreter
        return list(zip(usable, pool.map(distance, usable), strict=True))


def _candidates(view: IndexView, settings: Settings, model_id: int) -> list[int] | None:
    """The nearest models by cosine of means, among which Fréchet distances are computed; None if it has no mean."""
    query = view.index.vectors(np.array([model_id]))
    if not np.isfinite(query).all():
        return None
    width = min(settings.neighbour_candidates + 1, len(view.index))
    _, found = view.index.search(query, width, recall=settings.recall)
    return [int(i) for i in found[0] if i not in (MISSING, model_id)]
