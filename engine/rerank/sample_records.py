"""Best-k of many candidates for one query: the mean cosine of the k nearest samples, most of them dropped unread.

As in ``best_k``, of sample features h̃_i packed in two bytes a number. With the rotation R ``(d, d)`` that all models
share, μ the mean of the model's samples and q = R(h̃_q − μ),

    h̃_iᵀh̃_q = h̃_iᵀμ + (Rμ)ᵀq + r_iᵀq,        r_i = R(h̃_i − μ),   r_ij = s_j · (256·hi_ij + lo_ij)

where s_j is a model's own unit of coordinate j, ``hi`` a signed byte and ``lo`` one without a sign. R puts the largest
variance first, so the high bytes of the first quarter of coordinates, and Cauchy and Schwarz on the rest, bound each
cosine well; what could still be among the k nearest is read on, first its other high bytes, then its low ones. What
is dropped is certainly not among the k: the answer is that of reading everything. A number is rounded by at most
max_i |r_ij| / 65534, which moves a cosine by some 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.rerank.density_layout import ALIGNED

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Addresses = NDArray[np.uint64]
HEAD = 4
"""One coordinate in so many is read of every sample."""
STEPS = 32767
"""Of a coordinate's unit to its largest number."""
ROUNDING = 1e-5
"""What float32 sums may be off by: added to every bound."""


@dataclass(frozen=True, eq=False)
class PackedSamples:
    """One model's samples. Numbers in ``record``, uint8, one after the other:

    count (float64), Rμ ``(d,)`` float64, s ``(d,)`` float32, h̃ᵀμ ``(n,)`` float32, the norms of the coordinates of
    each r_i beyond the first h ``(n,)`` float32, hi of the first h coordinates ``(h, n)``, hi of the others
    ``(n, d − h)``, lo ``(n, d)``, and zeros up to a whole cache line.
    """

    record: NDArray[np.uint8]
    dimension: int

    @property
    def count(self) -> int:
        """n."""
        return int(self.record[:8].view(np.float64)[0])

    def rows(self) -> tuple[Float64, Float32, Float64]:
        """Rμ ``(d,)``, h̃ᵀμ ``(n,)``, and all r_i ``(n, d)``."""
        n, d, h = self.count, self.dimension, head(self.dimension)
        place = 8 * (d + 1)
        mean = self.record[8:place].view(np.float64)
        scales = self.record[place : place + 4 * d].view(np.float32).astype(np.float64)
        place += 4 * d
        own = self.record[place : place + 4 * n].view(np.float32)
        place += 8 * n
        high = np.empty((n, d))
        high[:, :h] = self.record[place : place + n * h].view(np.int8).reshape(h, n).T
        place += n * h
        high[:, h:] = self.record[place : place + n * (d - h)].view(np.int8).reshape(n, d - h)
        place += n * (d - h)
        low = self.record[place : place + n * d].reshape(n, d)
        return mean, own, scales * (256 * high + low)


def head(dimension: int) -> int:
    """How many coordinates are read of every sample."""
    return max(dimension // HEAD, 1)


def samples_bytes(count: int, dimension: int) -> int:
    """Bytes of a record of so many samples, in whole cache lines."""
    exact = 8 * (dimension + 1) + 4 * dimension + 8 * count + 2 * count * dimension
    return -(-exact // ALIGNED) * ALIGNED


def features_to_packed(features: Float32, rotation: Float32) -> NDArray[np.uint8]:
    """Sample features ``(n, d)`` of unit norm, n ≥ 1, to their record; ``rotation`` is R ``(d, d)``."""
    count, dimension = features.shape
    h = head(dimension)
    centre = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    steps = (features - centre) @ rotation.T
    scales = np.abs(steps).max(axis=0) / np.float32(STEPS)
    scales[scales == 0] = 1
    steps /= scales
    np.rint(steps, out=steps)
    halves = steps.astype("<i2").view(np.uint8).reshape(count, dimension, 2)
    high, low = halves[:, :, 1], halves[:, :, 0]
    beyond = np.sqrt(np.square(steps[:, h:]) @ np.square(scales[h:]))
    parts = (
        np.array([count], np.float64), rotation.astype(np.float64) @ centre.astype(np.float64), scales,
        features @ centre, beyond * np.float32(1 + ROUNDING),
        np.ascontiguousarray(high[:, :h].T), np.ascontiguousarray(high[:, h:]), np.ascontiguousarray(low),
    )  # fmt: skip
    record = np.zeros(samples_bytes(count, dimension), np.uint8)
    place = 0
    for part in parts:
        record[place : place + part.nbytes] = part.ravel().view(np.uint8)
        place += part.nbytes
    return record


def best_k_at(addresses: Addresses, query: Float64, k: int) -> Float64:
    """The rule's score of each record ``(n,)`` float64, by address; ``query`` is R h̃_q ``(d,)`` float64.

    Whoever asks keeps the records alive meanwhile.
    """
    from engine.rerank import sample_kernel

    wide = np.ascontiguousarray(query, np.float64)
    scores: Float64 = sample_kernel.nearest(addresses, wide, int(k), head(len(wide)), ROUNDING)
    return scores
