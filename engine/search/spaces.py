"""Spaces: what is done to means and queries before the inner product that the index searches by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.records import Transform
from engine.scores import Whitening, transformed

Float32 = NDArray[np.float32]
Map = Callable[[Float32], Float32]

FIRST_MOMENT = "first_moment"
WHITENED = "whitened_first_moment"
GAUSSIAN = "gaussian_density"


@dataclass(frozen=True, eq=False)
class Space:
    """A map of means and of queries; a model's score in it is the inner product of the two.

    Attributes:
        key: names its index among an encoder's.
        version: SHA-256 of the arrays behind it; an index of another version is not used. "" when it has none.
        transform: the stored transform that it is made of, by name.
        means_to_vectors: unit-norm means μ̃ ``(n, d)`` to the index's vectors ``(n, d + extra)``; NaN rows stay NaN.
        queries_to_vectors: unit-norm features h̃ ``(m, d)`` to queries ``(m, d + extra)``.
        extra: coordinates that it adds.
    """

    key: str
    version: str
    transform: str | None
    means_to_vectors: Map
    queries_to_vectors: Map
    extra: int = 0


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
        whitening = Whitening(arrays["whiten"], arrays["centre"])
        return Space(
            transform_to_key(transform), transform.checksum, transform.name,
            whitening.means_to_vectors, whitening.queries_to_vectors,
        )  # fmt: skip
    assert transform.method == FIRST_MOMENT, "densities are not searched by an index"
    matrix = arrays_to_matrix(arrays)

    def through(vectors: Float32) -> Float32:
        return transformed(matrix, vectors)

    return Space(transform_to_key(transform), transform.checksum, transform.name, through, through)
