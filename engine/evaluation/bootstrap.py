"""Intervals and paired comparisons by a bootstrap over models, or over whatever owns the queries.

Queries of one model, or of one concept, are not independent: they stand or fall together. So models are drawn with
return, each with all its queries. Of M models with n_m queries whose values sum to t_m, a resample gives
w ~ Multinomial(M; 1/M, …) and the mean Σ w_m t_m / Σ w_m n_m. An interval is the middle 95 % of the resampled means.
Two methods share their w, so their difference is paired; its two-sided p is
2 · (1 + min(#{d ≤ 0}, #{d ≥ 0})) / (R + 1), at most 1.
Source: Davison & Hinkley, "Bootstrap Methods and their Application" (1997), sections 3.8 and 4.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
RESAMPLES = 2000
TAILS = (2.5, 97.5)
BLOCK = 2**22  # weights in memory at a time: 32 MiB


@dataclass(frozen=True)
class Estimate:
    """A mean over queries and its 95 % interval. NaN: there is no such query; no interval below two models."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The mean difference of two methods on the same queries, its 95 % interval and two-sided p."""

    value: float
    low: float
    high: float
    p: float


def resampled_means(values: Float64, owners: Int64, resamples: int = RESAMPLES, seed: int = 0) -> Float64:
    """Bootstrap means ``(resamples, m)`` of ``values`` ``(q, m)``; ``owners`` ``(q,)`` says whose each query is.

    NaN values count neither above nor below the line. A resample without any value of a column is NaN there.
    """
    _, group = np.unique(owners, return_inverse=True)
    models = int(group.max()) + 1
    known = ~np.isnan(values)
    totals = _sums(np.where(known, values, 0.0), group, models)
    counts = _sums(known.astype(np.float64), group, models)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, BLOCK // models)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        weights = rng.multinomial(models, np.full(models, 1 / models), size=size).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means[start : start + size] = (weights @ totals) / (weights @ counts)
    return means


def to_estimates(values: Float64, resampled: Float64, owners: Int64) -> list[Estimate]:
    """Each column of ``values`` ``(q, m)`` with the interval that its resampled means ``(resamples, m)`` give."""
    estimates = []
    for column, means in zip(values.T, resampled.T, strict=True):
        known = ~np.isnan(column)
        value = float(column[known].mean()) if known.any() else float("nan")
        low, high = _middle(means) if len(np.unique(owners[known])) > 1 else (float("nan"), float("nan"))
        estimates.append(Estimate(value, low, high))
    return estimates


def estimate(values: Float64, owners: Int64, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean of ``values`` ``(q,)`` with its interval."""
    columns = values[:, None]
    return to_estimates(columns, resampled_means(columns, owners, resamples, seed), owners)[0]


def to_difference(one: Float64, other: Float64, resampled: Float64, owners: Int64) -> Difference:
    """One method's values ``(q,)`` less another's, with their resampled means ``(resamples, 2)`` of the same draws."""
    gains = (one - other)[:, None]
    drawn = resampled[:, :1] - resampled[:, 1:]
    found = to_estimates(gains, drawn, owners)[0]
    known = drawn[~np.isnan(drawn)]
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    p = float("nan") if np.isnan(found.low) else min(1.0, 2 * (1 + tail) / (len(known) + 1))
    return Difference(found.value, found.low, found.high, p)


def paired_difference(
    one: Float64, other: Float64, owners: Int64, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """``one`` ``(q,)`` less ``other`` ``(q,)``, both on the same queries."""
    both = np.stack([one, other], axis=1)
    return to_difference(one, other, resampled_means(both, owners, resamples, seed), owners)


def _sums(values: Float64, group: NDArray[np.intp], models: int) -> Float64:
    sums = np.zeros((models, values.shape[1]))
    np.add.at(sums, group, values)
    return sums


def _middle(means: Float64) -> tuple[float, float]:
    low, high = np.percentile(means[~np.isnan(means)], TAILS)
    return float(low), float(high)
