"""Families of queries that an approximate index is tuned on: what a collection may be asked, as far as it can tell.

A promised recall holds for queries like those it was measured on, so it is measured on several kinds and chosen for the
hardest. Noise in random directions, as benchmarks like to draw it, is the kindest: it is nearly orthogonal to whatever
tells models apart. A real picture differs from its model's mean in the directions in which pictures vary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.index.base import FirstMomentIndex

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
RealQueries = Callable[[], Float32]
"""Gives queries ``(m, d)`` drawn from what the collection holds, m ≥ 0. Asked only when an index is tuned."""

ISOTROPIC = 0.8
"""Cosine of a query with its model where the rest is noise in a random direction."""
VARYING = {
    "varying": (0.8, 1.0), "varying, far": (0.6, 1.0), "varying, steep": (0.6, 1.5), "varying, text": (0.3, 1.0),
}  # fmt: skip
"""The same where the noise varies as models do, and the power of their covariance that it has: samples of some
collections vary in fewer directions. Texts lie at such a small cosine from pictures (CLIP: 0.2 to 0.35)."""
FEWEST = 40
"""Real queries below which there are too few to say anything."""


@dataclass(frozen=True, eq=False)
class QueryFamily:
    """Queries of one kind.

    Attributes:
        name: in words.
        queries: ``(m, d)`` float32.
        own: the model that each query is the mean of and must not find ``(m,)`` int64, or ``MISSING``.
    """

    name: str
    queries: Float32
    own: Int64


def query_families(
    index: FirstMomentIndex, count: int, rng: np.random.Generator, real: Float32 | None = None
) -> list[QueryFamily]:
    """``count`` queries of each family; of ``real`` ones at most that many, and none if they are fewer than ``FEWEST``.

    Families: noise in random directions, noise with the covariance of the stored vectors at several cosines, stored
    vectors that must not find themselves (as if each had not been indexed), and ``real`` queries.
    """
    nobody = np.full(count, -1, np.int64)
    families = [QueryFamily("isotropic", noisy(index, count, ISOTROPIC, rng), nobody)]
    families += [
        QueryFamily(name, noisy(index, count, cosine, rng, vectors_to_shape(index, power)), nobody)
        for name, (cosine, power) in VARYING.items()
    ]
    chosen = rng.choice(index.ids, count)
    families.append(QueryFamily("models held out", index.vectors(chosen), chosen))
    if real is not None and len(real) >= FEWEST:
        families.append(QueryFamily("the collection's own", real[:count], nobody[: len(real)]))
    return families


def vectors_to_shape(index: FirstMomentIndex, power: float = 1.0) -> NDArray[np.float64]:
    """S ``(d, d)`` with Sᵀ S a power of the stored vectors' covariance: g S has that covariance for g ~ N(0, I)."""
    mean, second = index.moments()
    values, directions = np.linalg.eigh(second - np.outer(mean, mean))
    return np.asarray((np.maximum(values, 0) ** (power / 2))[:, None] * directions.T)


def noisy(
    index: FirstMomentIndex, count: int, cosine: float, rng: np.random.Generator,
    shape: NDArray[np.float64] | None = None,
) -> Float32:  # fmt: skip
    """Queries ``(count, d)`` at a cosine from random models; what is orthogonal to these is noise, of that shape."""
    own = index.vectors(rng.choice(index.ids, count)).astype(np.float64)
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)
    noise = rng.standard_normal(own.shape)
    if shape is not None:
        noise = noise @ shape
    noise -= np.einsum("qd,qd->q", noise, own)[:, None] * own
    noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-12)
    return np.ascontiguousarray(cosine * own + np.sqrt(1 - cosine**2) * noise, np.float32)
