"""Score drop-off: D_q(j) = (s_q(j) − s_q(1)) / σ_q for the ten best answers, σ_q the spread of the whole ranking.

s_q(j) is the j-th best score. A curve that falls at once says that one model stands out; a flat one that the method
can hardly tell models apart. Being in units of σ_q, methods can be compared whose scores have other scales.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
BEST = 10
ROUNDING = 1e-12
"""A spread below this share of the largest score is the rounding of equal scores."""


def drop_off(scores: Float64, best: int = BEST) -> Float64:
    """One query's curve ``(best,)`` from its scores ``(n,)``, best first.

    NaN where there are fewer answers, and everywhere when all scores are equal.
    """
    curve = np.full(best, np.nan)
    spread = float(scores.std()) if len(scores) else 0.0
    if len(scores) and spread > ROUNDING * float(np.abs(scores).max()):
        curve[: min(best, len(scores))] = (scores[:best] - scores[0]) / spread
    return curve
