"""Linear density: the Gaussian log-density as one inner product.

log N(h; μ_n, Σ_n) is quadratic in h. Over what a collection is asked, h ~ (g, T), its best affine approximation in the
mean square is, for Gaussian h, the mean gradient with the mean value (Stein's lemma):

    a_n = Σ_n⁻¹(μ_n − g)
    b_n = −½((μ_n − g)ᵀΣ_n⁻¹(μ_n − g) + tr(Σ_n⁻¹T) + log det Σ_n)
    log N(h; μ_n, Σ_n) ≈ a_nᵀ(h − g) + b_n + const

g ``(d,)`` is the mean of the models' means and T ``(d, d)`` = S_w + their covariance: how samples of any model scatter.
So d + 1 numbers a model carry what d²/2 do nearly as well, and an inner-product index finds what the density would
rank first. Σ_n is the density's own, (1 − w)S_n + w·S_w + εI; a model without a covariance takes S_w + εI for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from engine.errors import InvalidStatistics
from engine.records import Statistics
from engine.scores.gaussian_density import Shrinkage, covariance_to_cholesky, shrunk_covariance

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearDensity:
    """``centre`` g ``(d,)`` and ``total`` T ``(d, d)`` float64; ``shrinkage`` as for ``statistics_to_factor``."""

    centre: Float64
    total: Float64
    shrinkage: Shrinkage

    def statistics_to_vectors(self, models: Sequence[Statistics]) -> Float32:
        """(a_n, b_n) of each model: ``(n, d + 1)`` float32; rows of NaN where Σ_n is not positive definite."""
        root: Float64 = np.asarray(np.linalg.cholesky(self.total), np.float64)
        vectors = np.full((len(models), len(self.centre) + 1), np.nan, np.float32)
        for row, model in enumerate(models):
            try:
                vectors[row] = self._vector(model, root)
            except InvalidStatistics:
                continue
        return vectors

    def queries_to_vectors(self, queries: Float32) -> Float32:
        """Unit-norm features h̃ ``(n, d)`` to (h̃ − g, 1) ``(n, d + 1)`` float32."""
        centred = queries.astype(np.float64) - self.centre
        return np.concatenate([centred, np.ones((len(queries), 1))], axis=1).astype(np.float32)

    def _vector(self, model: Statistics, root: Float64) -> Float64:
        lower = covariance_to_cholesky(shrunk_covariance(model, self.shrinkage), model.epsilon)
        away = model.mean.astype(np.float64) - self.centre
        both = solve_triangular(lower, np.column_stack([away, root]), lower=True, check_finite=False)
        reached, spread = both[:, 0], both[:, 1:]
        log_det = 2 * np.log(np.diag(lower)).sum()
        bias = -0.5 * (reached @ reached + np.einsum("ij,ij->", spread, spread) + log_det)
        return np.append(solve_triangular(lower, reached, lower=True, trans="T", check_finite=False), bias)
