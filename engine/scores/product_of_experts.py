"""Several queries at once: the weighted sum of each query's log-likelihood, tempered or plain.

s(n) = Σ_p w_p · ℓ_p(n) / σ_p, where ℓ_p(n) is part p's log-likelihood of model n and σ_p the standard deviation of
ℓ_p over the collection (tempered) or 1 (plain). The papers' renormalisation subtracts a constant a query and cannot
change the ranking. Source: Lu et al. (2023), after Hinton (2002).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

SMALLEST_SPREAD = 1e-6
"""A spread below this is rounding: cosines are of float32 vectors, and the spread itself is a difference in float64."""


def product_of_experts(parts: Float64, weights: Sequence[float], *, spreads: Sequence[float] | None = None) -> Float64:
    """Log-likelihoods ``(p, n)`` of p parts for n models to combined scores ``(n,)``.

    A part whose spread is zero cannot tell models apart and adds nothing. ``spreads=None`` is the plain sum.
    """
    scaled = np.asarray(weights, np.float64)
    if spreads is not None:
        spread = np.asarray(spreads, np.float64)
        scaled = np.where(spread > SMALLEST_SPREAD, scaled / np.maximum(spread, SMALLEST_SPREAD), 0.0)
    return np.asarray(scaled @ parts, np.float64)


def cosine_spread(second_moment: Float64, centre: Float64, query: Float32) -> float:
    """Standard deviation over the collection of μ̃ᵀh̃, in O(d²) whatever the collection's size.

    Args:
        second_moment: ``(d, d)`` mean of μ̃ μ̃ᵀ.
        centre: ``(d,)`` mean of μ̃.
        query: ``(d,)`` h̃.
    """
    h = query.astype(np.float64)
    variance = float(h @ second_moment @ h) - float(centre @ h) ** 2
    return float(np.sqrt(max(variance, 0.0)))
