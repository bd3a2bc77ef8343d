"""Scores to ranks, ranks to accuracies with intervals, and paired comparisons: resampled over models, not queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.load import Bool, Float32
from engine.evaluation.bootstrap import Difference, Estimate, estimate, paired_difference

Int64 = NDArray[np.int64]


def scores_to_ranks(scores: Float32, targets: Bool) -> Int64:
    """The rank from 0 of each query's best right answer ``(q,)``; ties count against it, as does a non-finite score."""
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    best = np.where(targets, scores, -np.inf).max(axis=1, keepdims=True)
    return np.asarray(((scores >= best) & ~targets).sum(axis=1), np.int64)


def accuracy(ranks: Int64, owners: Sequence[str], k: int) -> Estimate:
    """Top-k accuracy; ``owners`` (models, concepts) are what is resampled."""
    return estimate((ranks < k).astype(np.float64), owners_to_numbers(owners))


def compare(one: Int64, other: Int64, owners: Sequence[str], k: int = 1) -> Difference:
    """Top-k of one method less another's on the same queries."""
    return paired_difference(
        (one < k).astype(np.float64), (other < k).astype(np.float64), owners_to_numbers(owners)
    )  # fmt: skip


def owners_to_numbers(owners: Sequence[str]) -> Int64:
    """Each owner's number ``(q,)``, as the bootstrap takes them."""
    return np.asarray(np.unique(np.asarray(owners), return_inverse=True)[1], np.int64)
