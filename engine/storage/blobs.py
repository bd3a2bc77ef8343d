"""Arrays to stored bytes and back, each with its SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from engine.errors import CorruptData
from engine.records import Statistics
from engine.statistics import are_usable, pack_symmetric, unpack_symmetric

FLOAT32 = np.dtype("<f4")
FLOAT16 = np.dtype("<f2")


def checksum(*blobs: bytes) -> str:
    """SHA-256 of the blobs, one after the other, as hex."""
    digest = hashlib.sha256()
    for blob in blobs:
        digest.update(blob)
    return digest.hexdigest()


def mean_to_blob(mean: NDArray[np.float32]) -> bytes:
    """``(d,)`` float32 to bytes."""
    return np.ascontiguousarray(mean, FLOAT32).tobytes()


def covariance_to_blob(covariance: NDArray[np.float32] | None) -> bytes | None:
    """``(d, d)`` float32 to its packed lower triangle's bytes."""
    return None if covariance is None else pack_symmetric(covariance).astype(FLOAT32, copy=False).tobytes()


def features_to_blob(features: NDArray[np.float16]) -> bytes:
    """``(n, d)`` float16 to bytes."""
    return np.ascontiguousarray(features, FLOAT16).tobytes()


def blob_to_mean(data: bytes, expected: str, *, dimension: int) -> NDArray[np.float32]:
    """A stored mean ``(d,)``, not to be written to.

    Raises:
        CorruptData: the checksum or the size does not hold, a number is none of a feature's, or all are zero.
    """
    if checksum(data) != expected:
        raise CorruptData("the mean does not match its checksum")
    return _numbers_of_mean(data, dimension)


def _numbers_of_mean(data: bytes, dimension: int) -> NDArray[np.float32]:
    if len(data) != 4 * dimension:
        raise CorruptData(f"the mean does not have {dimension} dimensions")
    mean = np.frombuffer(data, FLOAT32)
    if not mean.any() or not are_usable(mean):
        raise CorruptData("the mean is zero, or holds what is no number of a feature's")
    return mean


def check_moments(
    mean: bytes, covariance: bytes | None, expected: str, *, dimension: int, epsilon: float
) -> None:  # fmt: skip
    """What a density can be made of, and nothing else.

    Raises:
        CorruptData: the checksum or the sizes do not hold, a number is not finite or far beyond any
            feature's, the mean is zero, or a variance is negative.
    """
    if checksum(mean, covariance or b"") != expected:
        raise CorruptData("stored statistics do not match their checksum")
    _numbers_of_mean(mean, dimension)
    if covariance is None:
        return
    if len(covariance) != 2 * dimension * (dimension + 1):
        raise CorruptData(f"the covariance does not have {dimension} dimensions")
    packed = np.frombuffer(covariance, FLOAT32)
    if not are_usable(packed):
        raise CorruptData("the covariance holds what is no number of a feature's")
    rows = np.arange(dimension)
    if packed[rows * (rows + 3) // 2].min() < -epsilon:
        raise CorruptData("the covariance has a negative variance")


def blobs_to_statistics(
    mean: bytes, covariance: bytes | None, expected: str, *, dimension: int, epsilon: float, samples: int
) -> Statistics:
    """Stored moments to ``Statistics``.

    Raises:
        CorruptData: as ``check_moments``.
    """
    check_moments(mean, covariance, expected, dimension=dimension, epsilon=epsilon)
    matrix = None
    if covariance is not None:
        matrix = unpack_symmetric(np.frombuffer(covariance, FLOAT32), dimension)
    return Statistics(np.frombuffer(mean, FLOAT32).copy(), matrix, epsilon, samples)


def blob_to_features(data: bytes, expected: str, *, dimension: int, count: int) -> NDArray[np.float32]:
    """Stored sample features to ``(count, d)`` float32.

    Raises:
        CorruptData: the checksum or the size does not hold, or a number is not finite.
    """
    if checksum(data) != expected:
        raise CorruptData("stored sample features do not match their checksum")
    if len(data) != 2 * dimension * count:
        raise CorruptData(f"stored sample features are not {count} of {dimension} dimensions")
    features = np.frombuffer(data, FLOAT16).reshape(-1, dimension).astype(np.float32)
    if not np.isfinite(features).all():
        raise CorruptData("stored sample features are not finite")
    return features


def arrays_to_blob(arrays: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Named float32 arrays to one safetensors file's bytes."""
    return safetensors.save({name: np.ascontiguousarray(array, FLOAT32) for name, array in arrays.items()})


def blob_to_arrays(
    data: bytes, expected: str, *, axes: Mapping[str, int], dimension: int
) -> dict[str, NDArray[np.float32]]:
    """What ``arrays_to_blob`` made: ``axes`` names the arrays and says how many axes of ``dimension`` each has.

    Raises:
        CorruptData: the checksum, a name, a shape or a dtype does not hold, or a number is not finite.
    """
    if checksum(data) != expected:
        raise CorruptData("stored arrays do not match their checksum")
    try:
        arrays: dict[str, NDArray[np.float32]] = safetensors.load(data)
    except SafetensorError as error:
        raise CorruptData(f"stored arrays cannot be read: {error}") from error
    shapes = {name: (dimension,) * count for name, count in axes.items()}
    if {name: array.shape for name, array in arrays.items()} != shapes:
        raise CorruptData(f"stored arrays must be {shapes}")
    if any(array.dtype != FLOAT32 or not np.isfinite(array).all() for array in arrays.values()):
        raise CorruptData("stored arrays are not finite float32 numbers")
    return arrays
