"""Learned Gaussian density: log N(h̃_q; μ_n, A Σ_n Aᵀ), with A ``(d, d)`` trained on judged queries.

Only the covariance is transformed. Transforming the query and the mean too would cancel:
log N(Ah̃; Aμ, AΣAᵀ) = log N(h̃; μ, Σ) − log|det A|, the same ranking for every A.

With Σ = L Lᵀ a factor of AΣAᵀ is A·L, so the squared distance is ‖(AL)⁻¹(h̃ − μ)‖² = ‖L⁻¹ · A⁻¹(h̃ − μ)‖². The
factor L⁻¹ that is there already serves every A, triangular or not: nothing is factorised again, and nothing is kept
twice. Source: Lu et al. (2023), the transform A_ψ of the density.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from engine.errors import InvalidInput
from engine.scores.gaussian_density import LOG_2PI, GaussianFactor

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CovarianceMap:
    """A map of covariances, Σ → AΣAᵀ: ``inverse`` A⁻¹ ``(d, d)`` float32, ``log_det`` log|det A|."""

    inverse: Float32
    log_det: float


def matrix_to_covariance_map(matrix: Float32) -> CovarianceMap:
    """Invert A ``(d, d)``, finite, once, in float64.

    Raises:
        InvalidInput: A is singular: AΣAᵀ would have no density.
    """
    wide = matrix.astype(np.float64)
    sign, log_det = np.linalg.slogdet(wide)
    if sign == 0 or not np.isfinite(log_det):
        raise InvalidInput("the transform is singular, so a density cannot be transformed by it")
    if not np.triu(wide, 1).any():
        inverse, _ = lapack.dtrtri(wide, lower=1)  # stays triangular, to the bit
    else:
        inverse = np.linalg.inv(wide)
    return CovarianceMap(np.ascontiguousarray(inverse, np.float32), float(log_det))


def learned_gaussian_density(factor: GaussianFactor, covariance_map: CovarianceMap, query: Float32) -> float:
    """Score of one model for ``query`` ``(d,)`` float32 of unit norm, in nats."""
    z = factor.inverse @ (covariance_map.inverse @ (query - factor.mean))
    log_det = factor.log_det + 2 * covariance_map.log_det
    return -0.5 * (float(np.dot(z, z)) + log_det + len(query) * LOG_2PI)
