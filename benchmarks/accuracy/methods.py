"""Scores ``(queries, models)`` of every method, for all queries and models at once.

The papers' rules first, as ``engine.scores`` has them (a test compares them), then what goes beyond. Everything takes
unit-norm queries ``(q, d)`` float32 and returns float32; higher is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from benchmarks.accuracy.load import Float32
from engine.scores import unit

Float64 = NDArray[np.float64]
EPSILON = 1e-4


@dataclass(frozen=True)
class Moments:
    """``mean`` ``(n, d)``, ``covariance`` ``(n, d, d)`` without ε, float64, and the number of samples ``(n,)``."""

    mean: Float64
    covariance: Float64
    samples: NDArray[np.int64]

    @property
    def pooled(self) -> Float64:
        """The within-model covariance of the collection ``(d, d)``: each model by its degrees of freedom."""
        weights = (self.samples - 1) / (self.samples - 1).sum()
        return np.asarray(np.tensordot(weights, self.covariance, axes=1))


def features_to_moments(features: tuple[Float32, ...], first: int | None = None) -> Moments:
    """Moments of each model's first ``first`` samples (default: of all)."""
    chosen = [rows[:first].astype(np.float64) for rows in features]
    return Moments(
        np.stack([rows.mean(axis=0) for rows in chosen]),
        np.stack([np.cov(rows, rowvar=False) for rows in chosen]),
        np.array([len(rows) for rows in chosen]),
    )


# --- the papers' rules


def first_moment(queries: Float32, moments: Moments) -> Float32:
    """μ̃ᵀh̃."""
    return queries @ unit(moments.mean).T


def first_second_moment(queries: Float32, moments: Moments, scale: float) -> Float32:
    """μᵀh̃/τ + h̃ᵀΣh̃/(2τ²), Σ = S + εI; ``scale`` is 1/τ."""
    result = np.empty((len(queries), len(moments.mean)), np.float32)
    for i, (mean, covariance) in enumerate(zip(moments.mean, moments.covariance, strict=True)):
        quadratic = np.einsum("qd,qd->q", queries @ covariance.astype(np.float32), queries) + EPSILON
        result[:, i] = scale * (queries @ mean.astype(np.float32)) + 0.5 * scale**2 * quadratic
    return result


def gaussian_density(queries: Float32, mean: Float64, covariance: Float64) -> Float32:
    """log N(h̃; μ, Σ) with Σ ``(n, d, d)`` as given (ε or a shrinkage already inside)."""
    result = np.empty((len(queries), len(mean)), np.float32)
    for i in range(len(mean)):
        lower = np.linalg.cholesky(covariance[i])
        inverse = solve_triangular(lower, np.eye(len(lower)), lower=True).astype(np.float32)
        z = (queries - mean[i].astype(np.float32)) @ inverse.T
        constant = 2 * np.log(np.diag(lower)).sum() + len(lower) * np.log(2 * np.pi)
        result[:, i] = -0.5 * (np.einsum("qd,qd->q", z, z) + constant)
    return result


def with_epsilon(covariance: Float64, epsilon: float = EPSILON) -> Float64:
    """Σ = S + εI."""
    return covariance + epsilon * np.eye(covariance.shape[-1])


def from_samples(
    queries: Float32, features: tuple[Float32, ...], reduce: Callable[[Float32], Float32], first: int | None = None
) -> Float32:
    """A rule that reads a model's similarities ``(q, samples)`` and gives ``(q,)``."""
    return np.stack([reduce(queries @ rows[:first].T) for rows in features], axis=1)


def monte_carlo(scale: float) -> Callable[[Float32], Float32]:
    """log mean exp(h̃_xᵀh̃/τ)."""
    return lambda cosines: logsumexp(scale * cosines, axis=1) - np.log(cosines.shape[1])


def best_k(k: int) -> Callable[[Float32], Float32]:
    """The mean of the k largest."""
    return lambda cosines: np.partition(cosines, -min(k, cosines.shape[1]), axis=1)[:, -k:].mean(axis=1)
