"""Best-k: the mean cosine of the k samples of a model that lie nearest to the query.

h̃_x ``(m, d)`` of unit norm, k ≤ m (a model with fewer samples uses all it has). Source: Lu et al. (2023).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best_k(samples: NDArray[np.float32], query: NDArray[np.float32], k: int) -> float:
    """Score of one model from its sample features ``(m, d)`` float32; ``query`` ``(d,)`` of unit norm."""
    cosines = samples @ query
    k = min(k, len(cosines))
    return float(np.partition(cosines, len(cosines) - k)[-k:].mean())
