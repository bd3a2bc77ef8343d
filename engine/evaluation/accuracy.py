"""Top-k accuracy: A@k = 1/Q · Σ_q [r_q ≤ k], r_q the rank, from 1, of the first right answer to query q.

Where no right model is found it is ∞. Source: Lu et al., "Content-Based Search for Deep Generative Models" (2023).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _rank(ids: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    places = np.flatnonzero(np.isin(ids, right))
    return float(places[0]) + 1 if places.size else np.inf


def found_within(ids: NDArray[np.int64], right: NDArray[np.int64], k: int) -> float:
    """One query's [r ≤ k], 1.0 or 0.0: ``ids`` ``(n,)`` are the answers, best first, ``right`` ``(r,)`` the right."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return float(_rank(ids, right) <= k)
