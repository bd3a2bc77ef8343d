"""Spaces: what is done to means and queries before the inner product that the index searches by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.records import Statistics, Transform
from engine.scores import LinearDensity, Shrinkage, Whitening, transformed

Float32 = NDArray[np.float32]
Map = Callable[[Float32], Float32]

FIRST_MOMENT = "first_moment"
WHITENED = "whitened_first_moment"
GAUSSIAN = "gaussian_density"
BLEND = "blend"
LINEAR = "linear_density"
LEAST_WEIGHT = 0.3
"""Of the pooled covariance in a linear density: far from a model, its own covariance is not to be trusted alone."""


@dataclass(frozen=True, eq=False)
class Space:
    """A map of models and of queries; a model's score in it is the inner product of the two.

    Attributes:
        key: names its index among an encoder's.
        version: SHA-256 of the arrays behind it; an index of another version is not used. "" when it has none.
        transform: the stored transform that it is made of, by name.
        means_to_vectors: unit-norm means μ̃ ``(n, d)`` to the index's vectors ``(n, d + extra)``; NaN rows stay NaN.
        queries_to_vectors: unit-norm features h̃ ``(m, d)`` to queries ``(m, d + extra)``.
        extra: coordinates that it adds.
        statistics_to_vectors: where means do not suffice: models' statistics to vectors ``(n, d + extra)``, NaN rows
            for those that have none.
    """

    key: str
    version: str
    transform: str | None
    means_to_vectors: Map
    queries_to_vectors: Map
    extra: int = 0
    statistics_to_vectors: Callable[[Sequence[Statistics]], Float32] | None = None


def _unchanged(vectors: Float32) -> Float32:
    return vectors


IDENTITY = Space(FIRST_MOMENT, "", None, _unchanged, _unchanged)
"""The space of the plain first moment."""


def arrays_to_matrix(arrays: Mapping[str, Float32]) -> Float32:
    """A learned transform's A ``(d, d)``, from its stored arrays."""
    return np.diag(arrays["diagonal"]) if "diagonal" in arrays else arrays["matrix"]


def transform_to_key(transform: Transform) -> str:
    """The key of a transform's space: a collection has one whitening, and as many learned maps as were made."""
    return WHITENED if transform.method == WHITENED else transform.name


def arrays_to_space(transform: Transform, arrays: Mapping[str, Float32]) -> Space:
    """The space of a stored transform of first moments."""
    if transform.method == WHITENED:
        whitening = Whitening.from_arrays(arrays)
        return Space(
            transform_to_key(transform), transform.checksum, transform.name,
            whitening.means_to_vectors, whitening.queries_to_vectors,
        )  # fmt: skip
    assert transform.method == FIRST_MOMENT, "densities are not searched by an index"
    matrix = arrays_to_matrix(arrays)

    def through(vectors: Float32) -> Float32:
        return transformed(matrix, vectors)

    return Space(transform_to_key(transform), transform.checksum, transform.name, through, through)


def linear_version(transform: Transform, shrinkage: float) -> str:
    """The version of the linear density's space over a whitening."""
    return hashlib.sha256(f"{transform.checksum} {max(shrinkage, LEAST_WEIGHT)!r}".encode()).hexdigest()


def whitening_to_linear(transform: Transform, whitening: Whitening, shrinkage: float) -> Space:
    """The space in which a Gaussian density, its covariances shrunk by that weight, is an inner product."""
    weight = max(shrinkage, LEAST_WEIGHT)
    linear = LinearDensity(
        whitening.average.astype(np.float64), whitening.total(),
        Shrinkage(whitening.covariance(), weight, transform.checksum),
    )  # fmt: skip
    return Space(
        LINEAR,
        linear_version(transform, shrinkage),
        transform.name,
        _unchanged,
        linear.queries_to_vectors,
        1,
        linear.statistics_to_vectors,
    )
