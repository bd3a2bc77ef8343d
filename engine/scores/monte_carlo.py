"""Monte-Carlo: log mean_x exp(h̃_xᵀ h̃_q / τ) over a model's stored sample features, by log-sum-exp.

h̃_x ``(m, d)`` of unit norm; 1/τ the encoder's logit scale. Source: Lu et al. (2023), the baseline.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp


def monte_carlo(samples: NDArray[np.float32], query: NDArray[np.float32], logit_scale: float) -> float:
    """Score of one model from its sample features ``(m, d)`` float32; ``query`` ``(d,)`` of unit norm."""
    logits = (samples @ query).astype(np.float64) * logit_scale
    return float(logsumexp(logits) - np.log(len(logits)))
