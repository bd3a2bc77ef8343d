"""The vectors of a quantized index, row by row, and how they are put there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.index.base import MISSING, Float32, Int64
from engine.index.checked import Checked
from engine.index.flat import BLOCK
from engine.index.partition import Partition
from engine.index.quantized.codes import LANES, Bytes, interleaved, packed, separated

Int16 = NDArray[np.int16]
LARGEST = 32_767


@dataclass(frozen=True, eq=False)
class Rows:
    """The vectors, by row: cells follow one another, each filled up to whole blocks of 16. Rows of no model have id −1.

    Attributes:
        ids: ``(rows,)`` int64.
        sizes: models of each cell ``(cells,)`` int64.
        codes: ``(blocks, groups, 64)`` uint8.
        errors: ``(blocks, 5, 16)`` float32: lengths of the long codes' errors, and their own (``Partition.lengths``).
        long: the long codes ``(blocks, long groups, 64)`` uint8.
        fine: ``(rows, d)`` int16, in units of the partition's ``fine_steps``.
        vectors: ``(rows, d)`` float32, as they were given.
        long_checked, fine_checked, vectors_checked: where these are mapped, what of them has been verified.
    """

    ids: Int64
    sizes: Int64
    codes: Bytes
    errors: Float32
    long: Bytes
    fine: Int16
    vectors: Float32
    long_checked: Checked | None = None
    fine_checked: Checked | None = None
    vectors_checked: Checked | None = None

    def all_long(self) -> Bytes:
        """``long``, of which all will be read. Raises: CorruptData."""
        if self.long_checked is not None:
            self.long_checked.ensure_all()
        return self.long

    def fine_of(self, places: Int64) -> Int16:
        """``fine``, of which the rows ``places`` will be read. Raises: CorruptData."""
        if self.fine_checked is not None:
            self.fine_checked.ensure(places)
        return self.fine

    def all_fine(self) -> Int16:
        """``fine``, of which all will be read. Raises: CorruptData."""
        if self.fine_checked is not None:
            self.fine_checked.ensure_all()
        return self.fine

    def vectors_of(self, places: Int64) -> Float32:
        """The vectors ``(n, d)`` of some rows. Raises: CorruptData."""
        if self.vectors_checked is not None:
            self.vectors_checked.ensure(places)
        return self.vectors[places]

    def all_vectors(self) -> Float32:
        """``vectors``, of which all will be read. Raises: CorruptData."""
        if self.vectors_checked is not None:
            self.vectors_checked.ensure_all()
        return self.vectors

    @cached_property
    def starts(self) -> Int64:
        """The first block of each cell, and the end ``(cells + 1,)``."""
        return np.concatenate([[0], np.cumsum(-(-self.sizes // LANES))]).astype(np.int64)

    @cached_property
    def cell_of(self) -> Int64:
        """The cell of each row ``(rows,)``."""
        return np.repeat(np.arange(len(self.sizes)), LANES * np.diff(self.starts))


def check_rows(rows: Rows, partition: Partition) -> None:
    """Raises: ValueError: their shapes do not go together, or an id is there twice."""
    n, d = len(rows.ids), partition.centroids.shape[1]
    if rows.sizes.shape != (len(partition.centroids),) or (rows.sizes < 0).any() or n != LANES * rows.starts[-1]:
        raise ValueError(f"{n} rows do not go with cells of {rows.sizes.sum()} models")
    shapes = {
        "ids": (rows.ids.shape, (n,)),
        "codes": (rows.codes.shape, (n // LANES, partition.layout.groups, 4 * LANES)),
        "errors": (rows.errors.shape, (n // LANES, len(partition.cuts) + 1, LANES)),
        "long": (rows.long.shape, (n // LANES, partition.long.groups, 4 * LANES)),
        "fine": (rows.fine.shape, (n, d)),
        "vectors": (rows.vectors.shape, (n, d)),
    }
    for name, (shape, expected) in shapes.items():
        if shape != expected:
            raise ValueError(f"{name} has shape {shape}, not {expected}")
    taken = np.sort(rows.ids[rows.ids != MISSING])
    if len(taken) != rows.sizes.sum() or (taken < 0).any() or (np.diff(taken) == 0).any():
        raise ValueError("its ids are negative or not distinct")


class Filling:
    """The rows of cells whose sizes are known, put in piece by piece."""

    def __init__(self, partition: Partition, sizes: Int64) -> None:
        d = partition.centroids.shape[1]
        self.partition = partition
        self._sizes = np.asarray(sizes, np.int64)
        self._next = LANES * np.concatenate([[0], np.cumsum(-(-self._sizes // LANES))]).astype(np.int64)
        n = int(self._next[-1])
        self._ids = np.full(n, MISSING, np.int64)
        self._groups = np.zeros((n, partition.layout.groups, 4), np.uint8)
        self._long = np.zeros((n, partition.long.groups, 4), np.uint8)
        self._errors = np.zeros((n, len(partition.cuts) + 1), np.float32)
        self._fine = np.zeros((n, d), np.int16)
        self._vectors = np.zeros((n, d), np.float32)

    def put(self, ids: Int64, vectors: Float32, cells: Int64) -> Float32 | None:
        """Put vectors in. Where their numbers are beyond the rows' range, say how large these are ``(d,)``, or None."""
        if not len(ids):
            return None
        partition, layout = self.partition, self.partition.layout
        rotated = partition.rotated(vectors)
        fine = np.rint(rotated / partition.fine_steps)
        residuals = rotated - partition.centroids[cells]
        codes, long = layout.codes(residuals), partition.long.codes(residuals)
        rows = self._rows(cells)
        self._ids[rows] = ids
        self._groups[rows] = packed(codes, layout.counts)
        self._long[rows] = packed(long, partition.long.counts)
        self._errors[rows] = partition.lengths(residuals, long)
        self._fine[rows] = np.clip(fine, -LARGEST, LARGEST)
        self._vectors[rows] = vectors
        return None if np.abs(fine).max() <= LARGEST else np.abs(rotated).max(axis=0)

    def copy(self, old: Rows, kept: Int64, cells: Int64) -> None:
        """Take rows of another index with the same partition."""
        old.all_long(), old.all_fine(), old.all_vectors()
        for some in np.array_split(np.arange(len(kept)), 1 + len(kept) // BLOCK):
            rows, source = self._rows(cells[some]), kept[some]
            if not len(some):
                continue
            first, last = source[0] // LANES, source[-1] // LANES + 1
            self._ids[rows] = old.ids[source]
            self._groups[rows] = separated(old.codes[first:last])[source - LANES * first]
            self._long[rows] = separated(old.long[first:last])[source - LANES * first]
            self._errors[rows] = old.errors[source // LANES, :, source % LANES]
            self._fine[rows] = old.fine[source]
            self._vectors[rows] = old.vectors[source]

    def done(self) -> Rows:
        """All of them."""
        errors = self._errors.reshape(-1, LANES, self._errors.shape[1]).transpose(0, 2, 1)
        return Rows(
            self._ids, self._sizes, interleaved(self._groups), np.ascontiguousarray(errors), interleaved(self._long),
            self._fine, self._vectors,
        )  # fmt: skip

    def _rows(self, cells: Int64) -> Int64:
        """The next free row of each one's cell."""
        order = np.argsort(cells, kind="stable")
        sorted_cells = cells[order]
        within = np.arange(len(cells)) - np.searchsorted(sorted_cells, sorted_cells)
        rows = np.empty(len(cells), np.int64)
        rows[order] = self._next[sorted_cells] + within
        np.add.at(self._next, cells, 1)
        return rows
