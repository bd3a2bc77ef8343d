"""A partition of vectors into cells of near ones: k-means in the directions that hold most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engine.index.flat import BLOCK

Float32 = NDArray[np.float32]
MODELS = 128
"""Of a cell, on average. With 256, three times the codes must be read for nine tenths of the best, among a million
clustered models; 64 leave too much of the last block of each cell empty."""
SAMPLE = 32
"""Vectors a cell that it is trained on."""
HELD = 0.9
"""Of the second moments, by the directions that distances are measured in: the leading ones. 0.8 is too little: twice
as many cells must be searched for the same recall."""
ROUNDS = 6
SEED = 20
TOGETHER = 8192
"""Vectors whose distances to all centroids are in memory at a time."""


def vectors_to_cells(vectors: Float32, count: int | None = None) -> NDArray[np.int64]:
    """The cell of each vector ``(n,)``, of ``count``, by default one for each ``MODELS`` vectors.

    Vectors ``(n, d)`` float32. The same vectors give the same cells.
    """
    import faiss

    n = len(vectors)
    count = max(n // MODELS, 1) if count is None else count
    if count == 1:
        return np.zeros(n, np.int64)
    sample = vectors[np.sort(np.random.default_rng(SEED).choice(n, min(n, SAMPLE * count), replace=False))]
    basis = leading_directions(sample)
    kmeans = faiss.Kmeans(
        basis.shape[1], count, niter=ROUNDS, seed=SEED, max_points_per_centroid=SAMPLE, min_points_per_centroid=1
    )
    kmeans.train(np.ascontiguousarray(sample @ basis))
    centroids = np.asarray(kmeans.centroids, np.float32)
    return np.concatenate([nearest(block @ basis, centroids) for block in blocks(vectors)])


def nearest(vectors: Float32, centroids: Float32) -> NDArray[np.int64]:
    """The nearest of ``centroids`` ``(cells, d)`` to each vector ``(n,)``. (Twice as fast as asking FAISS.)"""
    halves = 0.5 * np.einsum("cd,cd->c", centroids, centroids)
    found = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), TOGETHER):
        found[start : start + TOGETHER] = np.argmax(vectors[start : start + TOGETHER] @ centroids.T - halves, axis=1)
    return found


def leading_directions(sample: Float32) -> Float32:
    """The eigenvectors ``(d, directions)`` of the second moments that hold ``HELD`` of them, largest first."""
    wide = sample.astype(np.float64)
    values, vectors = np.linalg.eigh(wide.T @ wide)
    share = np.cumsum(values[::-1]) / max(values.sum(), 1e-30)
    count = min(int(np.searchsorted(share, HELD)) + 1, len(values))
    return np.ascontiguousarray(vectors[:, ::-1][:, :count], np.float32)


def blocks(vectors: Float32) -> Iterator[Float32]:
    """Some rows at a time."""
    for start in range(0, len(vectors), BLOCK):
        yield vectors[start : start + BLOCK]
