"""Features to moments: one pass, float64, mergeable.

Symbols: h̃ a unit-norm feature ``(d,)``; n their number; μ the mean ``(d,)``;
M = Σ_i (h̃_i − μ)(h̃_i − μ)ᵀ the scatter ``(d, d)``; the sample covariance is M / (n − 1).

Merging two sets a, b (Chan, Golub & LeVeque 1979): δ = μ_b − μ_a, n = n_a + n_b,
μ = μ_a + δ n_b / n, M = M_a + M_b + δ δᵀ n_a n_b / n.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.covariances import covariance_to_epsilon, may_round_below_zero
from engine.errors import InvalidFeatures, InvalidStatistics, NotEnoughSamples
from engine.numbers import checked_whole
from engine.records import MOST_SAMPLES, Statistics

Float64 = NDArray[np.float64]
LARGEST = 1e9
"""Of a moment's numbers: far beyond any feature's, and small enough that squares and their sums stay in float32."""


def are_usable(moments: NDArray[np.generic]) -> bool:
    """Whether all numbers are finite and at most ``LARGEST``."""
    return not moments.size or bool(np.abs(moments).max() <= LARGEST)  # a NaN compares as false


def checked_features(features: NDArray[np.generic], *, dimension: int | None = None) -> NDArray[np.float32]:
    """Raw features to ``(n, d)`` float32 of unit norm.

    Raises:
        InvalidFeatures: not a 2-D floating array, another dimension, a NaN, an infinity or a zero row.
    """
    array = np.asarray(features)
    if array.ndim != 2 or array.dtype.kind != "f":
        raise InvalidFeatures(f"features must be a 2-D floating array (n, d), got {array.dtype} of shape {array.shape}")
    if dimension is not None and array.shape[1] != dimension:
        raise InvalidFeatures(
            f"features have {array.shape[1]} dimensions, the encoder has {dimension}",
            hint="use features of the same encoder, or ingest under another encoder name",
        )
    wide = array.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if bad.size:
        row = int(bad[0])
        what = "is zero" if norms[row] == 0 else "is not finite"
        raise InvalidFeatures(
            f"feature row {row} {what} ({bad.size} such rows of {len(array)})",
            hint="remove these rows and try again",
        )
    return np.asarray(wide / norms[:, None], np.float32)


class Moments:
    """Running mean and scatter, in float64.

    Attributes:
        count: n, features seen.
        mean: ``(d,)`` float64.
        scatter: ``(d, d)`` float64, M above.
    """

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self.mean: Float64 = np.zeros(dimension)
        self.scatter: Float64 = np.zeros((dimension, dimension))

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Moments:
        """Moments of one block ``(n, d)``, two-pass within the block."""
        block = np.asarray(features, np.float64)
        moments = cls(block.shape[1])
        if len(block):
            moments.count = len(block)
            moments.mean = block.mean(axis=0)
            centred = block - moments.mean
            moments.scatter = centred.T @ centred
        return moments

    def merge(self, other: Moments) -> None:
        """Take in another set's moments (Chan et al. 1979)."""
        if not other.count:
            return
        total = self.count + other.count
        delta = other.mean - self.mean
        between = np.outer(delta, delta)
        between *= self.count * other.count / total
        between += other.scatter
        self.scatter += between
        self.mean = self.mean + delta * (other.count / total)
        self.count = total

    def update(self, features: NDArray[np.float32]) -> None:
        """Take in a block ``(n, d)`` float32."""
        self.merge(Moments.of(features))

    def to_statistics(self, epsilon: float) -> Statistics:
        """Store-ready moments, float32, with ``epsilon`` or what ``covariance_to_epsilon`` makes of it.

        Raises:
            NotEnoughSamples: fewer than two features.
        """
        if self.count < 2:
            raise NotEnoughSamples(
                f"a covariance needs at least 2 good samples, got {self.count}",
                hint="add samples, or ask the generator for more",
            )
        covariance = self.scatter / (self.count - 1)
        rounded = np.asarray((covariance + covariance.T) / 2, np.float32)
        if may_round_below_zero(covariance, epsilon):
            epsilon = covariance_to_epsilon(rounded.astype(np.float64), epsilon)
        return Statistics(self.mean.astype(np.float32), rounded, float(epsilon), self.count)


def features_to_statistics(blocks: Iterable[NDArray[np.float32]], *, epsilon: float) -> Statistics:
    """Blocks ``(n_i, d)`` of unit-norm features to ``Statistics``, in one pass.

    Raises:
        NotEnoughSamples: fewer than two features in all.
    """
    moments: Moments | None = None
    for block in blocks:
        if moments is None:
            moments = Moments(block.shape[1])
        moments.update(block)
    if moments is None:
        raise NotEnoughSamples("there are no features at all", hint="add samples")
    return moments.to_statistics(epsilon)


def checked_statistics(
    mean: NDArray[np.generic],
    covariance: NDArray[np.generic] | None,
    *,
    epsilon: float,
    samples: int,
    rounded_to: np.dtype[Any] | None = None,
) -> Statistics:
    """Moments from elsewhere to ``Statistics``.

    Args:
        mean: ``(d,)`` floating.
        covariance: ``(d, d)`` floating, symmetric positive semi-definite, without ε; or None.
        epsilon: ε, which becomes larger where rounding takes more than half of it: see ``covariance_to_epsilon``.
        samples: 1 to ``MOST_SAMPLES``.
        rounded_to: the float type that the covariance was saved in; default: its own.

    Raises:
        InvalidStatistics: wrong shapes, non-finite values, a zero mean, asymmetry, an eigenvalue further below zero
            than rounding explains, or a sample count out of range. What is judged is what will be stored: the moments
            rounded to float32.
    """
    given = np.asarray(mean)
    if given.ndim != 1 or given.dtype.kind != "f":
        raise InvalidStatistics(f"mean must be a floating (d,) array, got {given.dtype} {given.shape}")
    mu = _rounded(given)
    if not are_usable(mu):
        raise InvalidStatistics(f"the mean has a NaN, or a number beyond {LARGEST:g}")
    if not np.any(mu):
        raise InvalidStatistics("the mean is zero, so it has no direction to search by")
    samples = checked_whole(samples, "the sample count", 1, MOST_SAMPLES, error=InvalidStatistics)
    if covariance is None:
        return Statistics(mu, None, float(epsilon), samples)
    sigma = np.asarray(covariance)
    if sigma.shape != (mu.size, mu.size) or sigma.dtype.kind != "f":
        raise InvalidStatistics(
            f"covariance must be floating of shape {(mu.size, mu.size)}, got {sigma.dtype} {sigma.shape}"
        )
    wide = sigma.astype(np.float64)
    if not are_usable(wide):
        raise InvalidStatistics(f"the covariance has a NaN, or a number beyond {LARGEST:g}")
    scale = max(float(np.abs(wide).max()), np.finfo(np.float64).tiny)
    if np.abs(wide - wide.T).max() > 1e-4 * scale:
        raise InvalidStatistics("the covariance is not symmetric")
    rounded = _rounded((wide + wide.T) / 2)
    lifted = covariance_to_epsilon(rounded.astype(np.float64), epsilon, rounded_to=rounded_to or sigma.dtype)
    return Statistics(mu, rounded, float(lifted), samples)


def _rounded(array: NDArray[np.generic]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def pack_symmetric(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lower triangle of a symmetric ``(d, d)`` matrix, row by row: ``(d (d + 1) / 2,)`` float32."""
    return np.ascontiguousarray(matrix[np.tril_indices(len(matrix))], np.float32)


def unpack_symmetric(packed: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Inverse of ``pack_symmetric``: ``(d, d)`` float32."""
    return np.asarray(packed[_places(dimension)], np.float32)


@lru_cache(maxsize=4)
def _places(dimension: int) -> NDArray[np.int32]:
    """Where each number of a symmetric matrix stands in its packed lower triangle, ``(d, d)``."""
    rows, columns = np.indices((dimension, dimension), np.int32)
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    return np.asarray(high * (high + 1) // 2 + low, np.int32)
