"""Exact search that leaves off early: FAISS's Panorama, over vectors rotated so that their first numbers say most.

Each vector is cut into slices. After each slice, Cauchy–Schwarz bounds what the rest can still add, and a vector that
can no longer be among the k best is dropped. In the eigenbasis of the second moments E[vvᵀ], largest first, little
is left to add after a few slices. A plain rotation keeps inner products; ``PCAMatrix`` would subtract the mean, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from engine.index.base import FirstMomentIndex, Float32, Int64
from engine.index.flat import BLOCK, IDS, VECTORS, FlatIndex, array_to_file, file_to_array, read_rows

ROTATION = "rotation.npy"
SLICE = 32
"""Numbers a slice."""
SAMPLE = 16_384
"""Vectors that structure is looked for in."""
BATCH = 512
"""Vectors that FAISS keeps together, slice by slice."""


class PanoramaIndex(FlatIndex):
    """``faiss.IndexFlatIPPanorama`` over rotated vectors; its answers are the flat index's, up to rounding."""

    kind: ClassVar[str] = "panorama"
    files: ClassVar[tuple[str, ...]] = (VECTORS, IDS, ROTATION)

    def __init__(self, ids: Int64, rotated: Float32, rotation: Float32) -> None:
        """``rotated`` ``(n, d)`` are the vectors times ``rotation`` ``(d, d)``, whose columns are orthonormal."""
        import faiss

        dimension = len(rotation)
        assert rotated.shape == (len(ids), dimension), "one vector an id"
        self._ids = np.ascontiguousarray(ids, np.int64)
        self._rotation = np.ascontiguousarray(rotation, np.float32)
        self._index = faiss.IndexFlatIPPanorama(dimension, max(dimension // SLICE, 1), BATCH)
        self._index.add(np.ascontiguousarray(rotated, np.float32))
        self._dimension = dimension
        self._faiss = faiss

    @classmethod
    def build(cls, ids: Int64, vectors: Float32, *, dimension: int) -> PanoramaIndex:
        """See the base class. The rotation is fitted to the vectors."""
        return cls.of(FlatIndex.build(ids, vectors, dimension=dimension))

    @classmethod
    def of(cls, flat: FlatIndex) -> PanoramaIndex:
        """The same vectors, rotated into the eigenbasis of their second-moment matrix."""
        rotation = np.linalg.eigh(flat.moments()[1])[1][:, ::-1].astype(np.float32)
        rotated = np.empty((len(flat), len(rotation)), np.float32)
        for place, block in enumerate(flat.blocks()):
            rotated[place * BLOCK : place * BLOCK + len(block)] = block @ rotation
        return cls(flat.ids, rotated, rotation)

    def _mapped(self, vectors: Float32) -> Float32:
        return np.ascontiguousarray(vectors @ self._rotation, np.float32)

    @property
    def _matrix(self) -> Float32:
        return self._stored(np.arange(len(self._ids)))

    def _of_stored(self, ids: Int64, stored: Float32) -> PanoramaIndex:
        return PanoramaIndex(ids, stored, self._rotation)  # what stays is not rotated anew: it does not drift

    def _stored(self, rows: Int64) -> Float32:
        if not len(rows):
            return np.empty((0, self._dimension), np.float32)
        return np.asarray(self._index.reconstruct_batch(rows), np.float32)

    def _rows_to_vectors(self, rows: Int64) -> Float32:
        return np.asarray(self._stored(rows) @ self._rotation.T, np.float32)

    def save(self, folder: Path) -> None:
        """See the base class."""
        super().save(folder)
        array_to_file(self._rotation, folder / ROTATION)

    @classmethod
    def load(cls, folder: Path, *, dimension: int) -> PanoramaIndex:
        """See the base class."""
        ids, rotated = read_rows(folder, dimension)
        rotation = file_to_array(folder / ROTATION, np.dtype("<f4"))
        if rotation.shape != (dimension, dimension):
            raise ValueError(f"a rotation of shape {rotation.shape} does not go with dimension {dimension}")
        if not np.allclose(rotation.T @ rotation, np.eye(dimension), atol=1e-4):
            raise ValueError("its rotation is none")
        return cls(ids, rotated, rotation)


def gathers(index: FirstMomentIndex) -> float:
    """The share of the vectors' second moment that an eighth of the directions hold: near 1/8, there is no pruning.

    Of many vectors, ``SAMPLE`` evenly spread ones are read: it is asked whenever writes are folded in.
    """
    rows = index.vectors(index.ids[:: -(-len(index) // SAMPLE)]).astype(np.float64)
    values = np.linalg.eigvalsh(rows.T @ rows)[::-1]
    return float(values[: max(len(values) // 8, 1)].sum() / max(values.sum(), 1e-30))
