"""Scores to ranks, ranks to accuracies with intervals, and paired comparisons: resampled over models, not queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.load import Bool, Float32

Int64 = NDArray[np.int64]
RESAMPLES = 2000


def scores_to_ranks(scores: Float32, targets: Bool) -> Int64:
    """The rank from 0 of each query's best right answer ``(q,)``; ties count against it, as does a non-finite score."""
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    best = np.where(targets, scores, -np.inf).max(axis=1, keepdims=True)
    return np.asarray(((scores >= best) & ~targets).sum(axis=1), np.int64)


@dataclass(frozen=True)
class Estimate:
    """A mean over queries with its 95 % interval, in [0, 1]."""

    value: float
    low: float
    high: float


def resampled_means(values: NDArray[np.float64], owners: Sequence[str], seed: int = 0) -> NDArray[np.float64]:
    """Bootstrap means ``(RESAMPLES,)`` of per-query values ``(q,)``, drawing owners (models, concepts) with return."""
    _, place = np.unique(np.asarray(owners), return_inverse=True)
    totals, counts = np.bincount(place, values), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))
    return np.asarray(totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1))


def accuracy(ranks: Int64, owners: Sequence[str], k: int) -> Estimate:
    """Top-k accuracy."""
    hit = (ranks < k).astype(np.float64)
    low, high = np.percentile(resampled_means(hit, owners), [2.5, 97.5])
    return Estimate(float(hit.mean()), float(low), float(high))


@dataclass(frozen=True)
class Difference:
    """Top-1 of one method less another's on the same queries, its 95 % interval and two-sided p."""

    value: float
    low: float
    high: float
    p: float

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def compare(one: Int64, other: Int64, owners: Sequence[str], k: int = 1) -> Difference:
    """Paired bootstrap of top-k."""
    gain = (one < k).astype(np.float64) - (other < k).astype(np.float64)
    means = resampled_means(gain, owners)
    low, high = np.percentile(means, [2.5, 97.5])
    tail = min((means <= 0).mean(), (means >= 0).mean())
    return Difference(float(gain.mean()), float(low), float(high), float(min(1.0, 2 * tail)))
