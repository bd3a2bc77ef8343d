"""``FlatIndex`` by NumPy alone: what stands beside the card where FAISS is not installed. Exact, and slow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
BLOCK = 65_536


class PlainIndex:
    """What ``GpuIndex`` and its proof ask of ``FlatIndex``."""

    refused = ""

    def __init__(self, ids: Int64, matrix: Float32) -> None:
        self.ids, self.matrix = ids, matrix
        self.dimension = matrix.shape[1]

    def __len__(self) -> int:
        return len(self.ids)

    def blocks(self) -> Iterator[Float32]:
        """All vectors in row order, some at a time."""
        for start in range(0, len(self.matrix), BLOCK):
            yield self.matrix[start : start + BLOCK]

    def search(self, queries: Float32, k: int, **others: Any) -> tuple[Float32, Int64]:
        """See ``FirstMomentIndex``; filters are not for here."""
        scores, rows = best_rows(self.matrix, queries, k)
        return scores, self.ids[rows]


def best_rows(matrix: Float32, queries: Float32, k: int) -> tuple[Float32, Int64]:
    """The k ≤ n largest inner products ``(m, k)`` and their rows, best first."""
    scores, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(matrix), BLOCK):
        own = queries @ matrix[start : start + BLOCK].T
        some = min(k, own.shape[1])
        best = np.argpartition(own, own.shape[1] - some, axis=1)[:, own.shape[1] - some :]
        scores = np.concatenate([scores, np.take_along_axis(own, best, axis=1)], axis=1)
        rows = np.concatenate([rows, best + start], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
    return scores, rows
