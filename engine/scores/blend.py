"""Blend: Gaussian density and the nearest samples together.

A density knows in which directions a model's samples vary, and is the surest on the models' own pictures; the mean
similarity of the ten nearest samples forgives a picture that no model drew. Their scales have nothing in common, so
each is taken in units of its spread over the candidates:

    (z(log N(h̃_q; μ_n, Σ_n)) + 2 · z(best-10)) / 3,        z(x) = (x − mean x) / std x

The weight 2 was chosen on the part of the zoo that is not tested on (``benchmarks/accuracy``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

NEAREST = 10
"""Samples of best-k."""
WEIGHT = 2.0
"""Of best-k against the density's 1."""
SMALLEST = 1e-12
"""Of the largest score: a spread below it is none."""


def blend(densities: Float64, similarities: Float64, weight: float = WEIGHT) -> Float64:
    """Log densities ``(n,)`` and best-k similarities ``(n,)`` of one query's candidates to one score each ``(n,)``.

    NaN says that a model lacks what the rule needs: it is scored by the other rule alone, and is NaN if it lacks both.
    """
    z = np.stack([standardised(densities), standardised(similarities)])
    weights = np.where(np.isnan(z), 0.0, [[1.0], [weight]])
    total = weights.sum(axis=0)
    return np.asarray(np.where(total > 0, np.nansum(weights * z, axis=0) / np.where(total > 0, total, 1.0), np.nan))


def standardised(scores: Float64) -> Float64:
    """Scores ``(n,)`` less their mean, in units of their spread (0 if there is none); NaN for non-finite ones."""
    finite = np.isfinite(scores)
    result = np.full(scores.shape, np.nan)
    if finite.any():
        known = scores[finite]
        spread = known.std()
        rounding = SMALLEST * float(np.abs(known).max())  # the mean of equal numbers need not be one of them
        result[finite] = (known - known.mean()) / (spread if spread > rounding else 1.0)
    return result
