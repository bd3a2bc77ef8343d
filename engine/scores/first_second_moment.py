"""First and second moment: μ_nᵀh̃_q/τ + h̃_qᵀ Σ_n h̃_q / (2τ²).

The log of the Gaussian's expectation of exp(h̃ᵀh̃_q/τ): the moment-generating function of N(μ, Σ) at h̃_q/τ.
μ ``(d,)`` is not normalised; Σ = S + εI ``(d, d)``; 1/τ is the encoder's logit scale. Source: Lu et al. (2023).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.records import Statistics

Float32 = NDArray[np.float32]


def first_second_moment(statistics: Statistics, query: Float32, logit_scale: float) -> float:
    """Score of one model for ``query`` ``(d,)`` float32 of unit norm; computed in float64.

    Raises:
        ValueError: the statistics have no covariance.
    """
    if statistics.covariance is None:
        raise ValueError("first_second_moment needs a covariance")
    h = query.astype(np.float64)
    mean_part = float(statistics.mean.astype(np.float64) @ h)
    spread = float(h @ (statistics.covariance @ query).astype(np.float64))
    spread += statistics.epsilon * float(h @ h)
    return logit_scale * mean_part + 0.5 * logit_scale**2 * spread
