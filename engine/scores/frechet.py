"""Fréchet distance: ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2(Σ_a^½ Σ_b Σ_a^½)^½), lower is nearer.

With Σ = L Lᵀ the last trace is the nuclear norm of L_aᵀ L_b: the eigenvalues of Σ_a^½ Σ_b Σ_a^½ are those of
(L_aᵀ L_b)(L_aᵀ L_b)ᵀ, so no matrix square root is taken. Source: Dowson & Landau (1982).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidStatistics
from engine.records import Statistics
from engine.scores.gaussian_density import shrunk_covariance

Float64 = NDArray[np.float64]


def statistics_to_cholesky(statistics: Statistics) -> Float64:
    """L ``(d, d)`` float64 lower, of Σ = S + εI.

    Raises:
        InvalidStatistics: there is no covariance, or it is not positive definite.
    """
    if statistics.covariance is None:
        raise InvalidStatistics("a Fréchet distance needs covariances")
    try:
        return np.asarray(np.linalg.cholesky(shrunk_covariance(statistics, None)), np.float64)
    except np.linalg.LinAlgError as exc:
        raise InvalidStatistics("the covariance is not positive definite") from exc


def frechet_distance(
    mean_a: NDArray[np.float32], cholesky_a: Float64, mean_b: NDArray[np.float32], cholesky_b: Float64
) -> float:
    """Squared Fréchet distance of two Gaussians given by mean ``(d,)`` and Cholesky factor ``(d, d)``."""
    difference = mean_a.astype(np.float64) - mean_b.astype(np.float64)
    traces = float((cholesky_a**2).sum() + (cholesky_b**2).sum())
    product = cholesky_a.T @ cholesky_b
    # NumPy's solver: SciPy's default driver took four times as long on two cores (its threads wait for one another).
    eigenvalues = np.linalg.eigvalsh(product @ product.T)
    cross = float(np.sqrt(np.clip(eigenvalues, 0, None)).sum())
    return max(float(difference @ difference) + traces - 2 * cross, 0.0)
