"""Exact search by FAISS's flat inner-product index: every vector is read for every query."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from engine.index.base import MISSING, FirstMomentIndex, Float32, Int64, RowsById

BLOCK = 65_536  # vectors at a time, where float64 copies are made
VECTORS = "vectors.npy"
IDS = "ids.npy"


class FlatIndex(FirstMomentIndex):
    """``faiss.IndexFlatIP`` with a row → id map beside it.

    FAISS releases the interpreter lock while it searches and only reads the index, so threads may share one.
    """

    kind: ClassVar[str] = "flat"
    exact: ClassVar[bool] = True
    files: ClassVar[tuple[str, ...]] = (VECTORS, IDS)

    def __init__(self, ids: Int64, vectors: Float32, dimension: int) -> None:
        import faiss

        assert vectors.shape == (len(ids), dimension), "one vector an id"
        self._ids = np.ascontiguousarray(ids, np.int64)
        self._index: Any = faiss.IndexFlatIP(dimension)
        self._index.add(np.ascontiguousarray(vectors, np.float32))
        self._dimension = dimension
        self._faiss: Any = faiss

    @classmethod
    def build(cls, ids: Int64, vectors: Float32, *, dimension: int) -> FlatIndex:
        """See the base class."""
        return cls(ids, vectors, dimension)

    @property
    def ids(self) -> Int64:
        """Ids in row order."""
        return self._ids

    @property
    def dimension(self) -> int:
        """See the base class."""
        return self._dimension

    @property
    def matrix(self) -> Float32:
        """What FAISS holds, the vectors ``(n, d)`` in row order: no copy, and good for as long as the index lives."""
        if not len(self._ids):
            return np.empty((0, self._dimension), np.float32)
        flat = self._faiss.rev_swig_ptr(self._index.get_xb(), self._index.ntotal * self._dimension)
        return np.asarray(flat, np.float32).reshape(-1, self._dimension)

    @cached_property
    def _by_id(self) -> RowsById:
        return RowsById(self._ids)

    def updated(self, ids: Int64, vectors: Float32, removed: Int64) -> FlatIndex:
        """See the base class. Costs one copy of the vectors."""
        keep = np.flatnonzero(~np.isin(self._ids, np.concatenate([np.asarray(removed, np.int64), ids])))
        rows = np.concatenate([self.matrix[keep], vectors])
        return FlatIndex(np.concatenate([self._ids[keep], ids]), rows, self._dimension)

    def search(
        self, queries: Float32, k: int, *, allowed: Int64 | None = None, recall: float = 1.0
    ) -> tuple[Float32, Int64]:
        """See the base class."""
        parameters = None
        if allowed is not None:
            admitted = np.isin(self._ids, allowed)
            # The selector keeps a pointer into the bitmap: both must outlive the call.
            bitmap = np.packbits(admitted, bitorder="little")
            selector = self._faiss.IDSelectorBitmap(len(admitted), self._faiss.swig_ptr(bitmap))
            parameters = self._faiss.SearchParameters(sel=selector)
        # One query is fastest on one thread (a second one only adds jitter); the setting is this thread's own.
        self._faiss.omp_set_num_threads(1 if len(queries) == 1 else max(os.cpu_count() or 1, 1))
        scores, rows = self._index.search(queries, k, params=parameters)
        # What is missing comes last; one query's last answer is looked at without a reduction.
        if rows.size and (rows.item(-1) if len(rows) == 1 else rows[:, -1].min()) >= 0:
            return scores, self._ids[rows]
        found = rows >= 0
        ids = np.full(rows.shape, MISSING, np.int64)
        ids[found] = self._ids[rows[found]]
        scores[~found] = -np.inf
        return scores, ids

    def vectors(self, ids: Int64) -> Float32:
        """See the base class."""
        result = np.full((len(ids), self._dimension), np.nan, np.float32)
        rows = self._by_id.find(ids)
        there = rows >= 0
        if there.any():
            result[there] = self.matrix[rows[there]]
        return result

    def blocks(self) -> Iterator[Float32]:
        """All vectors in row order, some at a time."""
        for start in range(0, len(self._ids), BLOCK):
            yield self.matrix[start : start + BLOCK]

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean = np.zeros(self._dimension)
        second = np.zeros((self._dimension, self._dimension))
        for rows in self.blocks():
            block = rows.astype(np.float64)
            mean += block.sum(axis=0)
            second += block.T @ block
        total = max(len(self._ids), 1)
        return mean / total, second / total

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See the base class."""
        return self._moments

    def save(self, folder: Path) -> None:
        """See the base class."""
        array_to_file(self.matrix, folder / VECTORS)
        array_to_file(self._ids, folder / IDS)

    @classmethod
    def load(cls, folder: Path, *, dimension: int) -> FlatIndex:
        """See the base class."""
        return cls(*read_rows(folder, dimension), dimension)


def read_rows(folder: Path, dimension: int) -> tuple[Int64, Float32]:
    """Ids ``(n,)`` and vectors ``(n, d)`` as they were saved.

    Raises:
        OSError, ValueError: they are not what was saved.
    """
    vectors = file_to_array(folder / VECTORS, np.dtype("<f4"))
    ids = file_to_array(folder / IDS, np.dtype("<i8"))
    if ids.ndim != 1 or vectors.shape != (len(ids), dimension):
        raise ValueError(f"ids of shape {ids.shape} do not go with vectors of shape {vectors.shape}")
    if len(np.unique(ids)) != len(ids) or (ids < 0).any():
        raise ValueError("its ids are negative or not distinct")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector is not finite")
    return ids, vectors


def array_to_file(array: NDArray[Any], path: Path) -> None:
    """As ``np.save``, whose ``tofile`` forgets why it could not write.

    Raises:
        OSError
    """
    array = np.ascontiguousarray(array)
    with path.open("wb") as stream:
        npy.write_array_header_1_0(stream, npy.header_data_from_array_1_0(array))
        stream.write(array.reshape(-1).view(np.uint8).data)


def file_to_array(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array as it was saved.

    Raises:
        OSError, ValueError: it is not one, or of another dtype.
    """
    with path.open("rb") as stream:
        array = npy.read_array(stream, allow_pickle=False)
    if array.dtype != dtype:
        raise ValueError(f"{path.name} has dtype {array.dtype}, not {dtype}")
    return array
