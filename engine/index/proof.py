"""What a card must show before it answers anybody: 64 probes, answered as the exact index answers them.

A 16-bit score is off by at most ``rounding``, ε. If every score that a card gives lies within ε of its row's true one,
and its j-th best within ε of the j-th best there is, then it has found the right rows, up to those that 16 bits cannot
tell apart: sorting moves no value farther than the farthest of them moved.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.index.base import FirstMomentIndex, Float32, Int64
from engine.index.device import BATCH, LARGEST_K

PROBES = 64
REPEATED = 8
"""Of the probes, so many are asked twice in one batch."""
DEEP = 100
"""Answers to most of them."""
SEED = 0


Ask = Callable[[Float32, int], tuple[Float32, Int64]]
"""As ``Device.search``."""


def rounding(longest: float) -> float:
    """ε: how far a card's score of a query of unit norm may be from the true one, for vectors up to ``longest``.

    Half a unit in the last place of vector and query, 2⁻¹¹ each of Σ|qᵢvᵢ| ≤ ‖v‖; 2⁻¹⁴ for the sums, which are in
    float32, and for numbers below 2⁻¹⁴, which have fewer bits.
    """
    return (2.0**-10 + 2.0**-14) * longest + 2.0**-20


def matrix_to_probes(matrix: Float32) -> Float32:
    """Probes ``(64, d)`` of unit norm: stored vectors, random directions, and some of both a second time."""
    random = np.random.default_rng(SEED)
    single = PROBES - REPEATED
    stored = matrix[random.integers(0, len(matrix), single // 2)]
    rows = np.concatenate([stored, random.standard_normal((single - len(stored), matrix.shape[1]))])
    rows = np.concatenate([rows, rows[:: single // REPEATED][:REPEATED]])[random.permutation(PROBES)]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)


def find_fault(ask: Ask, exact: FirstMomentIndex, matrix: Float32, longest: float) -> str:
    """What is wrong with the answers to the probes, in words; nothing where they are right.

    Four are asked singly for their best, four times three for ten, three for as many as a card is ever asked for, then
    all together for a hundred, and at last four times over, as many at once as ever: a lack of memory is to show now.

    Raises:
        Exception: whatever the card raises.
    """
    probes = matrix_to_probes(matrix)
    most = len(matrix) - 1
    best, deepest = exact.search(probes, min(DEEP, most))[0], exact.search(probes[:3], min(LARGEST_K, most))[0]
    turns = [(best[:, :1], start, 1, 1) for start in range(4)]
    turns += [(best[:, :10], start, 3, 1) for start in range(4, 16, 3)]
    turns += [(deepest, 0, 3, 1), (best, 0, PROBES, 1), (best, 0, PROBES, BATCH // PROBES)]
    for answers, start, count, times in turns:
        asked = np.tile(probes[start : start + count], (times, 1))
        wanted = np.tile(answers[start : start + count], (times, 1))
        scores, rows = ask(asked, wanted.shape[1])
        fault = (
            malformed(scores, rows, wanted.shape, len(matrix))
            or mistaken(scores, rows_to_scores(matrix, rows, asked), rounding(longest))
            or mistaken(scores, wanted, rounding(longest))
        )
        if fault:
            return fault
    return ""


def mistaken(scores: Float32, true: Float32, allowed: float | Float32) -> str:
    """By how much scores ``(m, k)`` are farther from what they should be than is allowed; nothing where none is."""
    off = np.abs(scores - true)
    worst = np.unravel_index(np.argmax(off - allowed), off.shape)
    if not off[worst] > np.broadcast_to(allowed, off.shape)[worst]:
        return ""
    return f"a score is off by {off[worst]:.2g}, where 16 bits allow {np.broadcast_to(allowed, off.shape)[worst]:.2g}"


def malformed(scores: Float32, rows: Int64, shape: tuple[int, int], count: int) -> str:
    """What cannot be an answer of ``shape`` from ``count`` rows; nothing where it can."""
    if scores.shape != shape or rows.shape != shape:
        return f"answers have shape {scores.shape} and {rows.shape}, not {shape}"
    if not np.isfinite(scores).all():
        return "a score is not finite"
    if rows.min() < 0 or rows.max() >= count:
        return "an answer is missing or no row"
    ordered = np.sort(rows, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        return "a row is answered twice"
    return ""


def rows_to_scores(matrix: Float32, rows: Int64, queries: Float32) -> Float32:
    """The inner product of each query ``(m, d)`` with the vectors that it is answered by ``(m, k)``."""
    found = matrix[rows.ravel()].reshape(*rows.shape, -1)
    return np.asarray(np.matmul(found, queries[:, :, None])[..., 0], np.float32)
