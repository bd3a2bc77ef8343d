"""Accuracy against samples: statistics from the first samples of each model, and every model scored by them.

Of each model the first 10, 30, 100, 300 and all of the sample features that are stored (spread evenly over its samples)
make its statistics, as ingest would; a model with fewer gives all it has. All models are scored for all queries in
NumPy: first moment μ̃ᵀh̃ and Gaussian density log N(h̃; μ, (1 − w)S + w·S_w + εI) as in ``engine.scores``, with S_w pooled
from the same few samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidStatistics
from engine.evaluation.progress import OnProgress, silent
from engine.records import Statistics
from engine.scores import GaussianFactor, fit_whitening, statistics_to_factor, unit
from engine.scores.gaussian_density import LOG_2PI, Shrinkage
from engine.search.rules import RULES
from engine.statistics import Moments, checked_features

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
SIZES = (10, 30, 100, 300, None)
METHODS = ("first_moment", "gaussian_density")
BATCH = 64  # models whose samples are in memory at a time

Reader = Callable[[list[int]], Mapping[int, Float32]]
"""Ids to stored sample features ``(n, d)``; models without any are absent."""


@dataclass(frozen=True)
class Densities:
    """The settings of densities: ``epsilon`` ε and the weight w of the pooled covariance, ``shrinkage``."""

    epsilon: float
    shrinkage: float


def samples_to_ranks(
    queries: Mapping[str, Float32],
    right: Mapping[str, Sequence[Int64]],
    ids: Int64,
    read: Reader,
    densities: Densities,
    on_progress: OnProgress = silent,
) -> dict[tuple[str, str, int | None], Int64]:
    """The rank from 1 of each query's best right model ``(q,)``, by (modality, method, samples).

    ``queries`` ``(q, d)`` unit-norm features and the ids of each one's ``right`` models, both by modality; ``ids``
    ``(n,)`` all models.
    A model without two samples is not found. Of equal scores the smaller id ranks first, as in search.
    """
    ids = np.sort(ids)
    columns = {modality: [np.searchsorted(ids, np.sort(one)) for one in of_all] for modality, of_all in right.items()}
    ranks: dict[tuple[str, str, int | None], Int64] = {}
    for done, size in enumerate(SIZES, 1):
        scores = {
            (modality, method): np.full((len(features), len(ids)), -np.inf, np.float32)
            for method in METHODS
            for modality, features in queries.items()
            if modality in RULES[method].modalities
        }
        shrinkage = _pooled(_statistics(ids, size, read, densities.epsilon), densities.shrinkage)
        for column, statistics in _statistics(ids, size, read, densities.epsilon):
            factor = statistics_to_factor(statistics, shrinkage)
            for (modality, method), filled in scores.items():
                features = queries[modality]
                if method == "first_moment":
                    filled[:, column] = features @ unit(statistics.mean)
                else:
                    filled[:, column] = _log_densities(factor, features)
        for (modality, method), filled in scores.items():
            ranks[modality, method, size] = _scores_to_ranks(filled, columns[modality])
        on_progress("accuracy against samples", done, len(SIZES))
    return ranks


def _statistics(ids: Int64, size: int | None, read: Reader, epsilon: float) -> Iterator[tuple[int, Statistics]]:
    """Place and statistics of each model that has two samples, from its first ``size``."""
    for start in range(0, len(ids), BATCH):
        block = ids[start : start + BATCH].tolist()
        stored = read(block)
        for place, model_id in enumerate(block, start):
            if len(stored.get(model_id, ())) > 1:
                rows = checked_features(stored[model_id][:size])  # float16 in storage: not quite of unit norm
                yield place, Moments.of(rows).to_statistics(epsilon)


def _pooled(statistics: Iterable[tuple[int, Statistics]], weight: float) -> Shrinkage | None:
    """What densities are drawn toward; None where search has nothing either."""
    if weight == 0:
        return None
    try:
        whitening = fit_whitening(found for _, found in statistics)
    except InvalidStatistics:
        return None
    return Shrinkage(whitening.covariance(), weight, "samples")


def _log_densities(factor: GaussianFactor, queries: Float32) -> Float32:
    """``gaussian_density`` of queries ``(q, d)``: ``(q,)``."""
    z = (queries - factor.mean) @ factor.inverse.T
    squared = np.einsum("qd,qd->q", z, z)
    return np.asarray(-0.5 * (squared + factor.log_det + queries.shape[1] * LOG_2PI), np.float32)


def _scores_to_ranks(scores: Float32, right: Sequence[NDArray[np.intp]]) -> Int64:
    """``scores`` ``(q, n)`` and each query's ``right`` columns, ascending, to ranks ``(q,)``.

    A model that was not scored comes last of all.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    own = np.array([columns[scores[row, columns].argmax()] for row, columns in enumerate(right)], np.intp)
    mine = np.take_along_axis(scores, own[:, None], axis=1)
    before = (scores == mine) & (np.arange(scores.shape[1]) < own[:, None])
    ranks = 1 + ((scores > mine) | before).sum(axis=1)
    return np.asarray(np.where(np.isfinite(mine[:, 0]), ranks, scores.shape[1] + 1), np.int64)
