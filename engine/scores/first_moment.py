"""First moment: μ̃_nᵀ h̃_q, the cosine between a model's mean and the query.

μ̃ = μ / ‖μ‖ ``(d,)``; h̃_q ``(d,)`` of unit norm. Source: Lu et al., "Content-Based Search for Deep Generative
Models" (2023), the point estimate of the Monte-Carlo score at the first moment.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def unit(vectors: Float32) -> Float32:
    """Vectors ``(…, d)`` to unit norm, float32; a zero or non-finite vector becomes NaN, which never ranks."""
    wide = np.asarray(vectors, np.float64)
    norms = np.linalg.norm(wide, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (wide / np.where(norms > 0, norms, np.nan)).astype(np.float32)


def first_moment(means: Float32, query: Float32) -> Float32:
    """Cosines of ``means`` ``(n, d)`` (any norm) with ``query`` ``(d,)`` of unit norm: ``(n,)`` float32."""
    return np.asarray(unit(means) @ query, np.float32)
