"""Cards for tests: one that answers as a real one should, in main memory, and ways in which others do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Answer = tuple[np.ndarray, np.ndarray]


class HonestCard:
    """16-bit vectors and queries, products summed in float32."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.rows = matrix.astype(np.float16).astype(np.float32)
        self.asked: list[tuple[int, int]] = []

    def search(self, queries: np.ndarray, k: int) -> Answer:
        """As ``Device.search``."""
        self.asked.append((len(queries), k))
        scores = queries.astype(np.float16).astype(np.float32) @ self.rows.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1), order


def _raises(error: Exception) -> Callable[[np.ndarray, np.ndarray], Answer]:
    def fail(scores: np.ndarray, rows: np.ndarray) -> Answer:
        raise error

    return fail


def _repeats(scores: np.ndarray, rows: np.ndarray) -> Answer:
    """The last answer is the first once more, where there are several."""
    if rows.shape[1] > 1:
        rows[:, -1], scores[:, -1] = rows[:, 0], scores[:, 0]
    return scores, rows


def _one_missing(scores: np.ndarray, rows: np.ndarray) -> Answer:
    rows[-1, -1] = -1
    return scores, rows


def _not_a_number(scores: np.ndarray, rows: np.ndarray) -> Answer:
    scores[-1, 0] = np.nan
    return scores, rows


def _only_when_many(scores: np.ndarray, rows: np.ndarray) -> Answer:
    """Right for a few queries; of a batch, the second half gets the first half's answers."""
    if len(rows) > 8:
        half = len(rows) // 2
        scores[-half:], rows[-half:] = scores[:half].copy(), rows[:half].copy()
    return scores, rows


FAULTS: dict[str, tuple[Callable[[np.ndarray, np.ndarray], Answer], str]] = {
    "other rows": (lambda scores, rows: (scores, (rows + 1) % 200), "a score is off by"),
    "other scores": (lambda scores, rows: (scores + 0.01, rows), "a score is off by"),
    "the worst first": (lambda scores, rows: (scores[:, ::-1], rows[:, ::-1]), "a score is off by"),
    "not the best": (lambda scores, rows: (scores[:, -1:].repeat(rows.shape[1], 1), rows), "a score is off by"),
    "only when many": (_only_when_many, "a score is off by"),
    "nan": (_not_a_number, "a score is not finite"),
    "missing": (_one_missing, "an answer is missing"),
    "no row": (lambda scores, rows: (scores, rows + 10**6), "an answer is missing"),
    "twice": (_repeats, "a row is answered twice"),
    "too few": (lambda scores, rows: (scores[:, :-1], rows[:, :-1]), "answers have shape"),
    "an error": (
        _raises(RuntimeError("CUDA error: an illegal\nmemory access")),
        "RuntimeError: CUDA error: an illegal",
    ),
    "no memory": (_raises(MemoryError()), "MemoryError"),
}
"""What is done to an honest answer, and what is said of it."""


class FaultyCard(HonestCard):
    """Honest until ``broken``, then as the fault has it."""

    def __init__(self, matrix: np.ndarray, fault: str, *, broken: bool = True) -> None:
        super().__init__(matrix)
        self.fault, self.broken = FAULTS[fault][0], broken

    def search(self, queries: np.ndarray, k: int) -> Answer:
        """As ``Device.search``."""
        scores, rows = super().search(queries, k)
        return self.fault(scores.copy(), rows.copy()) if self.broken else (scores, rows)
