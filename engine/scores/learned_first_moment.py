"""Learned first moment: cos(A μ̃_n, A h̃_q), with A ``(d, d)`` trained on judged queries (see ``engine.learning``).

Source: Lu et al. (2023), the transform A_ψ of the first moment.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.scores.first_moment import unit

Float32 = NDArray[np.float32]


def transformed(matrix: Float32, vectors: Float32) -> Float32:
    """Means or queries ``(n, d)`` of any norm to A-transformed ones ``(n, d)`` of unit norm; products in float64."""
    return unit(vectors.astype(np.float64) @ matrix.T.astype(np.float64))


def learned_first_moment(matrix: Float32, means: Float32, query: Float32) -> Float32:
    """Scores ``(n,)`` of ``means`` ``(n, d)`` for ``query`` ``(d,)``."""
    return np.asarray(transformed(matrix, means) @ transformed(matrix, query[None])[0], np.float32)
