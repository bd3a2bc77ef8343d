"""Whether a matrix is a covariance, judged by its own scale, and the ε that makes it positive definite.

A sample covariance S ``(d, d)`` of n ≤ d samples has n − 1 positive eigenvalues, and the others are zero. Rounded to
a float type with unit roundoff u, they become ± what rounding adds: the spectral norm of a symmetric matrix of
independent errors of size e is about 2 e √d (Wigner's semicircle law), with e at most 2u times the largest variance.

Σ = S + εI must be positive definite whatever the scale of S. At the scale of unit-norm features the setting's ε is
thousands of times what rounding takes away. Where it is not, ε is multiplied by ten until it is at least twice that: in
steps this coarse, models of one scale have one ε, as a ranking by density needs and as factors are shared by.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidStatistics

Float64 = NDArray[np.float64]
INDEFINITE = 1e-4
"""How far below zero, as a share of the largest variance, an eigenvalue may always fall."""


def covariance_to_epsilon(
    covariance: Float64, epsilon: float, *, rounded_to: np.dtype[Any] | None = None, name: str = "the covariance"
) -> float:
    """Check that S ``(d, d)`` float64, exactly symmetric and finite, is a covariance up to rounding.

    Args:
        epsilon: the least ε wanted, above 0.
        rounded_to: the float type that S went through, if it was coarser than float32.
        name: what the error calls S.

    Returns:
        ε times a power of ten, mostly 1, so that no eigenvalue of S is below −ε/2.

    Raises:
        InvalidStatistics: an eigenvalue is further below zero than rounding explains.
    """
    largest = float(covariance.diagonal().max())
    slack = max(max(INDEFINITE, _rounding(rounded_to, len(covariance))) * largest, float(np.finfo(np.float64).tiny))
    lifted = covariance.copy()
    lifted[np.diag_indices_from(lifted)] += min(epsilon / 2, slack)
    try:
        np.linalg.cholesky(lifted)  # exists just when no eigenvalue is below what was added; the cheapest proof
    except np.linalg.LinAlgError:
        lowest = float(np.linalg.eigvalsh(covariance)[0])
        if lowest < -slack:
            raise InvalidStatistics(
                f"{name} is indefinite: its lowest eigenvalue is {lowest:.3g}, its largest variance {largest:.3g}",
                hint=_hint(rounded_to, largest),
            ) from None
        return epsilon * 10.0 ** math.ceil(math.log10(max(-2 * lowest / epsilon, 1.0)))
    return epsilon


def may_round_below_zero(covariance: Float64, epsilon: float) -> bool:
    """Whether rounding S ``(d, d)`` to float32 may take an eigenvalue below −ε/2: by Weyl, at most 2⁻²⁴ ‖S‖_F."""
    return float(np.linalg.norm(covariance)) * 2.0**-24 > epsilon / 2


def _rounding(dtype: np.dtype[Any] | None, dimension: int) -> float:
    return 0.0 if dtype is None else float(2 * np.finfo(dtype).eps * math.sqrt(dimension))


def _hint(dtype: np.dtype[Any] | None, largest: float) -> str:
    if dtype is not None and largest < np.finfo(dtype).tiny:
        return f"{dtype} holds few digits of numbers this small: save the covariance as float32"
    return "check how it was computed: a covariance has no negative eigenvalue"
