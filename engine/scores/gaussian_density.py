"""Gaussian density: log N(h̃_q; μ_n, Σ_n) = −½(‖L⁻¹(h̃_q − μ)‖² + log det Σ + d log 2π), Σ = S + εI = L Lᵀ.

A covariance of d² numbers from some hundred samples is mostly noise. Shrunk toward what the collection's models have
in common, Σ = (1 − w)S + w·S_w + εI with S_w the pooled within-model covariance, it also admits pictures that are a
little unlike the model's samples (regularised discriminant analysis, Friedman 1989).

The papers print the constant (2π·|Σ|)^(−½); the right one is (2π)^(−d/2) |Σ|^(−½). The factor is taken in float64
and its inverse kept in float32: one triangular matrix-vector product a candidate. Source: Lu et al. (2023), Eq. 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from engine.errors import InvalidStatistics
from engine.records import Statistics

Float32 = NDArray[np.float32]
LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, eq=False)
class GaussianFactor:
    """What one density needs: ``mean`` ``(d,)`` and ``inverse`` L⁻¹ ``(d, d)`` lower, float32; ``log_det`` of Σ."""

    mean: Float32
    inverse: Float32
    log_det: float

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return self.mean.nbytes + self.inverse.nbytes


@dataclass(frozen=True, eq=False)
class Shrinkage:
    """``target`` S_w ``(d, d)`` float64, and its ``weight`` w in (0, 1); ``version`` names the target's contents."""

    target: NDArray[np.float64]
    weight: float
    version: str


def shrunk_covariance(statistics: Statistics, shrinkage: Shrinkage | None) -> NDArray[np.float64]:
    """Σ ``(d, d)`` float64: S + εI, or (1 − w)S + w·S_w + εI, or S_w + εI for a model that has no S."""
    own = statistics.covariance
    if shrinkage is None:
        assert own is not None, "there is nothing to fall back on"
        sigma = own.astype(np.float64)
    elif own is None:
        sigma = shrinkage.target.copy()
    else:
        sigma = (1 - shrinkage.weight) * own.astype(np.float64) + shrinkage.weight * shrinkage.target
    sigma[np.diag_indices_from(sigma)] += statistics.epsilon
    return sigma


def covariance_to_cholesky(sigma: NDArray[np.float64], epsilon: float) -> NDArray[np.float64]:
    """L ``(d, d)`` float64 lower, of Σ with ``epsilon`` already inside.

    Raises:
        InvalidStatistics: Σ is not positive definite.
    """
    lower, failed = lapack.dpotrf(sigma, lower=1, clean=1)
    if failed:
        raise InvalidStatistics(
            f"the covariance plus epsilon {epsilon:g} is not positive definite",
            hint="ingest the model again, or use a larger epsilon",
        )
    return np.asarray(lower, np.float64)


def cholesky_to_inverse(lower: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """L⁻¹ ``(d, d)`` float64 lower, and log det Σ."""
    inverse, singular = lapack.dtrtri(lower, lower=1)
    assert not singular, "a Cholesky factor has a positive diagonal"
    return np.asarray(inverse, np.float64), 2.0 * float(np.log(np.diag(lower)).sum())


def statistics_to_factor(statistics: Statistics, shrinkage: Shrinkage | None = None) -> GaussianFactor:
    """Factorise Σ = S + εI once, or (1 − w)S + w·S_w + εI.

    Raises:
        ValueError: the statistics have no covariance.
        InvalidStatistics: Σ is not positive definite.
    """
    if statistics.covariance is None:
        raise ValueError("gaussian_density needs a covariance")
    lower = covariance_to_cholesky(shrunk_covariance(statistics, shrinkage), statistics.epsilon)
    inverse, log_det = cholesky_to_inverse(lower)
    return GaussianFactor(statistics.mean, np.ascontiguousarray(inverse, np.float32), log_det)


def gaussian_density(factor: GaussianFactor, query: Float32) -> float:
    """log N(h̃_q; μ, Σ) of one model for ``query`` ``(d,)`` float32 of unit norm, in nats."""
    z = factor.inverse @ (query - factor.mean)
    squared = float(np.dot(z, z))
    return -0.5 * (squared + factor.log_det + len(query) * LOG_2PI)
