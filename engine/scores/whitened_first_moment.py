"""Whitened first moment: cos(W(μ̃_n − m), W(h̃_q − m)).

A direction along which the samples of one and the same model scatter says little of which model drew a picture, yet
the plain cosine gives it full weight. Whitening divides by that scatter:

    S_w = Σ_n (k_n − 1) S_n / Σ_n (k_n − 1)                   pooled covariance within models
    L Lᵀ = (1 − λ) S_w + λ · tr(S_w)/d · I,   W = L⁻¹         shrunk towards a multiple of the identity
    m = mean_n μ̃_n

S_n ``(d, d)`` is model n's sample covariance without ε, k_n its number of samples, λ the shrinkage. It is the metric of
linear discriminant analysis; source of the shrinkage: Ledoit & Wolf (2004), with λ fixed instead of estimated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from engine.errors import InvalidStatistics
from engine.records import Statistics

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

SHRINKAGE = 0.05
ARRAYS = ("whiten", "centre", "average", "between")
"""What a whitening is stored as."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """``whiten`` W ``(d, d)`` and ``centre`` m ``(d,)``, float32.

    Besides, of the means as they are: their own mean ``average`` ``(d,)`` and covariance ``between`` ``(d, d)``.
    """

    whiten: Float32
    centre: Float32
    average: Float32
    between: Float32

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Float32]) -> Whitening:
        """From what ``arrays`` gives."""
        return cls(**{name: arrays[name] for name in ARRAYS})

    def arrays(self) -> dict[str, Float32]:
        """What is stored of it, by name."""
        return {name: getattr(self, name) for name in ARRAYS}

    def means_to_vectors(self, means: Float32) -> Float32:
        """Unit-norm means μ̃ ``(n, d)`` to what is indexed: ``(n, d)`` float32 of unit norm."""
        return self._mapped(means)

    def queries_to_vectors(self, queries: Float32) -> Float32:
        """Unit-norm features h̃ ``(n, d)`` to what is searched by: ``(n, d)`` float32 of unit norm."""
        return self._mapped(queries)

    def covariance(self) -> Float64:
        """The shrunk S_w ``(d, d)`` float64 that it whitens: (WᵀW)⁻¹."""
        lower = solve_triangular(self.whiten.astype(np.float64), np.eye(len(self.whiten)), lower=True)
        return np.asarray(lower @ lower.T)

    def total(self) -> Float64:
        """How samples scatter over all models, T = S_w + the covariance of the means ``(d, d)`` float64."""
        return np.asarray(self.covariance() + self.between)

    def _mapped(self, vectors: Float32) -> Float32:
        """Unit norm, except that the centre itself stays zero: it is as near to one model as to any other."""
        wide = (vectors.astype(np.float64) - self.centre) @ self.whiten.T.astype(np.float64)
        norms = np.linalg.norm(wide, axis=-1, keepdims=True)
        return np.asarray(wide / np.where(norms == 0, 1.0, norms), np.float32)


def fit_whitening(models: Iterable[Statistics], shrinkage: float = SHRINKAGE) -> Whitening:
    """Fit W and m in one pass over the models' statistics, in float64.

    Every mean counts once towards m; models without a covariance add nothing to S_w.

    Raises:
        ValueError: λ is not above 0 and at most 1.
        InvalidStatistics: there are fewer than two models, or no model's samples scatter.
    """
    if not 0 < shrinkage <= 1:
        raise ValueError(f"the shrinkage must be above 0 and at most 1, got {shrinkage!r}")
    centre, average = np.zeros(0), np.zeros(0)
    scatter, second = np.zeros((0, 0)), np.zeros((0, 0))
    count = freedom = 0
    for model in models:
        if not count:
            size = len(model.mean)
            centre, average = np.zeros(size), np.zeros(size)
            scatter, second = np.zeros((size, size)), np.zeros((size, size))
        mean = model.mean.astype(np.float64)
        centre += mean / np.linalg.norm(mean)
        average += mean
        second += np.outer(mean, mean)
        count += 1
        if model.covariance is not None:
            scatter += (model.samples - 1) * model.covariance.astype(np.float64)
            freedom += model.samples - 1
    if count < 2:
        raise InvalidStatistics(f"a whitening needs at least 2 models, got {count}")
    pooled = scatter / max(freedom, 1)
    level = float(np.trace(pooled)) / len(pooled)
    if not (np.isfinite(pooled).all() and level > 0):
        raise InvalidStatistics("a whitening needs covariances, and none of these models' samples scatter")
    shrunk = (1 - shrinkage) * pooled
    shrunk[np.diag_indices_from(shrunk)] += shrinkage * level
    try:
        lower = np.linalg.cholesky(shrunk)
    except np.linalg.LinAlgError as error:
        raise InvalidStatistics("the pooled covariance is not positive definite") from error
    whiten = solve_triangular(lower, np.eye(len(lower)), lower=True)
    average /= count
    between = second / count - np.outer(average, average)
    return Whitening(*(x.astype(np.float32) for x in (whiten, centre / count, average, between)))
