"""What every first-moment index offers: inner products of queries with the models' normalised means.

Rows are the index's own affair; models are known by their integer ids. An index is immutable once built:
``updated`` gives a new one, so that a search never sees half a change and needs no lock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

MISSING = -1
"""The id that pads answers when fewer than k models exist; its score is −inf."""
SPARSE = 4
"""Numbers between the lowest id and the highest, for each id, beyond which a table of them all is not worth it."""


class FirstMomentIndex(ABC):
    """Inner-product search over μ̃ ``(n, d)`` float32.

    Class attributes say what a kind can do: ``kind`` names it in snapshots and settings; ``exact`` whether every
    answer equals a full scan's, whatever recall is asked for; ``files`` names what ``save`` writes, and ``mapped``
    those of them that ``load`` verifies as they are read, and not before.
    """

    kind: ClassVar[str]
    exact: ClassVar[bool]
    files: ClassVar[tuple[str, ...]]
    mapped: ClassVar[tuple[str, ...]] = ()
    refused: str = ""
    """Why a GPU that should serve these vectors does not, in words; nothing where none should, or where one does."""

    @classmethod
    @abstractmethod
    def build(cls, ids: Int64, vectors: Float32, *, dimension: int) -> FirstMomentIndex:
        """Index ``vectors`` ``(n, d)`` of unit norm under ``ids`` ``(n,)``, which are distinct."""

    @abstractmethod
    def updated(self, ids: Int64, vectors: Float32, removed: Int64) -> FirstMomentIndex:
        """A new index with ``removed`` gone and ``ids`` added or replaced. This one stays valid."""

    @abstractmethod
    def search(
        self, queries: Float32, k: int, *, allowed: Int64 | None = None, recall: float = 1.0
    ) -> tuple[Float32, Int64]:
        """The k best models of each query.

        Args:
            queries: ``(m, d)`` float32, C-contiguous.
            k: at least 1.
            allowed: ids that may be answered, or None for all; k answers come back whenever k of them exist.
            recall: the share of the k best that is found, on average; 1 means all. Exact kinds find all.

        Returns:
            ``(scores (m, k) float32, ids (m, k) int64)``, best first, padded with −inf and ``MISSING``.
        """

    @abstractmethod
    def vectors(self, ids: Int64) -> Float32:
        """Stored vectors ``(len(ids), d)``; NaN rows for ids that are not there."""

    @abstractmethod
    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``(mean (d,), second moment (d, d))`` of the stored vectors, float64: the spread of any query's cosines."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the index's files into ``folder``.

        Raises:
            OSError: they could not be written; on a full disk its ``errno`` says so.
        """

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, *, dimension: int) -> FirstMomentIndex:
        """Read what ``save`` wrote. Checksums of all but the ``mapped`` files have been verified by the caller.

        Raises:
            OSError, ValueError: it is not what ``save`` writes.
        """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """d, of the vectors."""

    @property
    @abstractmethod
    def ids(self) -> Int64:
        """Ids in row order."""

    def __len__(self) -> int:
        return len(self.ids)


class RowsById:
    """Where each id lies among ``stored``: one row each, or ``MISSING``, which is no id.

    Ids are given out one after the other, so that a table of all between the lowest and the highest has few gaps: among
    a million it is made in a fifth of the time of sorting them, for which the first write after opening would wait.
    """

    def __init__(self, stored: Int64) -> None:
        rows = np.flatnonzero(stored != MISSING)
        ids = stored[rows]
        self._low, self._high = (int(ids.min()), int(ids.max())) if len(ids) else (0, -1)
        self._sorted: Int64 | None = None
        self._rows: NDArray[np.signedinteger[Any]]
        span = self._high - self._low + 1
        if span <= SPARSE * max(len(ids), 1):
            self._rows = np.full(span, -1, np.int32 if len(stored) < 2**31 else np.int64)
            self._rows[ids - self._low] = rows
        else:
            order = np.argsort(ids)
            self._sorted, self._rows = ids[order], rows[order]

    def find(self, ids: Int64) -> Int64:
        """The row of each id ``(n,)``, −1 for those that are not there."""
        wanted = np.asarray(ids, np.int64)
        found = np.full(len(wanted), -1, np.int64)
        within = np.flatnonzero((wanted >= self._low) & (wanted <= self._high))
        if self._sorted is None:
            found[within] = self._rows[wanted[within] - self._low]
        else:
            places = np.searchsorted(self._sorted, wanted[within])
            found[within] = np.where(self._sorted[places] == wanted[within], self._rows[places], -1)
        return found
