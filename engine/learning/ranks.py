"""Scores to ranks, top-k accuracy, and intervals that resample models rather than queries."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

TOP = (1, 5, 10)
RESAMPLES = 2000
CONFIDENCE = 0.95


def scores_to_ranks(scores: NDArray[np.float32], owners: Int64) -> Int64:
    """Ranks, from 1, of each query's own model among all ``(q, n)``; of equals, and with NaN, it counts as the last."""
    own = np.take_along_axis(scores, owners[:, None], axis=1)
    return np.asarray((~(scores < own)).sum(axis=1), np.int64)


def ranks_to_top(ranks: Int64) -> dict[int, float]:
    """Top-k accuracy for each k of ``TOP``."""
    return {k: float((ranks <= k).mean()) for k in TOP}


def chance_top(models: int) -> dict[int, float]:
    """Top-k accuracy of a ranking at random."""
    return {k: min(k / models, 1.0) for k in TOP}


def resampled_top(ranks: Mapping[str, Int64], owners: Int64, k: int, seed: int) -> dict[str, Float64]:
    """Top-k accuracy of each ranking under the same resamplings of models ``(RESAMPLES,)``: a paired bootstrap.

    Queries of one model stand or fall together, so it is models that are drawn with replacement.
    """
    rng = np.random.default_rng(seed)
    _, group = np.unique(owners, return_inverse=True)
    sizes = np.bincount(group)
    draws = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=RESAMPLES)
    return {
        name: draws @ np.bincount(group, weights=own <= k, minlength=len(sizes)) / (draws @ sizes)
        for name, own in ranks.items()
    }


def interval(values: Float64) -> tuple[float, float]:
    """The middle ``CONFIDENCE`` of resampled values."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
