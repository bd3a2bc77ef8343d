"""Features that somebody else encoded: ``.npy``, ``.npz`` and arrays in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidFeatures
from engine.samples.bounds import GENEROUS, Bounds
from engine.samples.folder import file_to_digest
from engine.samples.labels import name_to_label
from engine.samples.members import MAX_ARCHIVE_BYTES
from engine.samples.moment_names import FEATURES, RENAME, name_of_features, names_of_moments, refuse_covariance
from engine.samples.moments import MomentsSource
from engine.samples.npz import ZippedRows, is_float, open_npz, read_header

ROWS = 4096
NUMBERS = 2**23
"""Rows and numbers in a block; of wide features fewer rows make one."""
Rows = NDArray[Any] | ZippedRows


class FeatureSource:
    """Rows ``(n, d)`` of one encoder's features, not necessarily of unit norm; each row is one sample."""

    kind = "features"

    def __init__(self, features: Rows, *, path: Path | None = None, bounds: Bounds = GENEROUS) -> None:
        """Take an array.

        Args:
            features: ``(n, d)`` float16, float32 or float64 of either byte order; may be memory-mapped.
            path: the file it came from, if any.
            bounds: how many there may be, and how wide.

        Raises:
            InvalidFeatures: another shape or dtype, or no rows.
            InvalidInput: more than ``bounds`` allow.
        """
        if not is_float(features.dtype):
            raise InvalidFeatures(f"features must be float16, float32 or float64, got {features.dtype}")
        if features.ndim != 2 or 0 in features.shape:
            raise InvalidFeatures(
                f"features must be a 2-D array (n, d) with rows, got shape {features.shape}",
                hint="one row a sample; flatten or pool spatial features first",
            )
        bounds.check_shape(f"the array in {name_to_label(path.name)}" if path else "the array", *features.shape)
        self._array = features
        self._path = path
        self._digest: str | None = None

    @property
    def dimension(self) -> int:
        """d."""
        return int(self._array.shape[1])

    def count(self) -> int:
        """n."""
        return int(self._array.shape[0])

    def chunks(self, start: int = 0, size: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Rows from number ``start`` on, in blocks of at most ``size``: ``(m, d)`` float32.

        Raises:
            InvalidFeatures: a row has a NaN or an infinity, or is zero.
        """
        size = size or max(min(ROWS, NUMBERS // self.dimension), 1)
        for first in range(start, self.count(), size):
            with np.errstate(over="ignore", invalid="ignore"):  # signalling NaNs, from a damaged file
                block: NDArray[np.float32] = np.array(self._array[first : first + size], np.float32, order="C")
                finite = np.isfinite(block).min(axis=1)
                bad = np.flatnonzero(~finite | ~block.any(axis=1))
            if bad.size:
                row = int(bad[0])
                what = "is zero" if finite[row] else "is not finite in float32"
                raise InvalidFeatures(f"feature row {first + row} {what}", hint="remove such rows and try again")
            yield block

    def digest(self) -> str:
        """SHA-256 of the file, or of the array's dtype, shape and values."""
        if self._digest is None:
            if self._path is not None:
                self._digest = file_to_digest(self._path)
            else:
                total = hashlib.sha256(f"{self._array.dtype.str}{self._array.shape}".encode())
                for first in range(0, self.count(), ROWS):
                    total.update(self._array[first : first + ROWS].tobytes())
                self._digest = total.hexdigest()
        return self._digest

    def describe(self) -> dict[str, Any]:
        """Type, shape, and the file if there is one."""
        path = {} if self._path is None else {"path": name_to_label(str(self._path.absolute()))}
        return {"type": self.kind, **path, "rows": self.count(), "dimension": self.dimension}

    def close(self) -> None:
        """Let go of the array, and so of its file."""
        if isinstance(self._array, ZippedRows):
            self._array.close()
        self._array = np.empty((0, self.dimension), np.float32)


def npy_to_features(path: Path, *, bounds: Bounds = GENEROUS) -> FeatureSource:
    """A ``.npy`` file, memory-mapped.

    Raises:
        InvalidFeatures: it is broken, or holds Python objects or no features.
        InvalidInput: it holds a covariance, or more than ``bounds`` allow.
    """
    label = name_to_label(path.name)
    try:
        with open(path, "rb") as stream:
            header = read_header(stream, label)
        if header.dtype.hasobject:
            raise ValueError("it holds Python objects, not numbers")
        order: Literal["C", "F"] = "F" if header.by_columns else "C"
        array = np.memmap(path, header.dtype, "r", header.size, header.shape, order)
    except Exception as exc:  # numpy lets ValueError, EOFError, SyntaxError and OSError through
        raise InvalidFeatures(f"{label} cannot be read: {name_to_label(str(exc))}") from exc
    if array.ndim == 2:
        bounds.check_shape(f"the array in {label}", *array.shape)
    refuse_covariance(array, label, f"save it as .npz with its mean: {RENAME}")
    return FeatureSource(array, path=path)


def array_to_features(array: NDArray[Any]) -> FeatureSource:
    """An array in memory.

    Raises:
        InvalidFeatures: it holds no features.
        InvalidInput: it is a covariance.
    """
    refuse_covariance(array, "the array", "MomentsSource(mean, covariance) are moments, FeatureSource(array) features")
    return FeatureSource(array)


def npz_to_source(
    path: Path, *, max_archive_bytes: int = MAX_ARCHIVE_BYTES, bounds: Bounds = GENEROUS
) -> FeatureSource | MomentsSource:
    """A ``.npz`` file: moments if its names say so (see ``moment_names``), else the features, or its only 2-D array.

    Features are unpacked as they are read.

    Raises:
        InvalidFeatures: it is broken or holds no features.
        InvalidStatistics: its names are those of moments, but these are none.
        InvalidInput: what is meant is unclear, an array has more than ``max_archive_bytes``, or more than ``bounds``
            allow.
    """
    with open_npz(path, max_bytes=max_archive_bytes, error=InvalidFeatures, bounds=bounds) as arrays:
        moments = names_of_moments(arrays, path)
        if moments is not None:
            return MomentsSource.from_npz(arrays, moments, path)
        name = name_of_features(arrays, path)
        shape, what = arrays.shapes[name], f"{name!r} in {name_to_label(path.name)}"
        if len(shape) == 2:
            bounds.check_shape(what, *shape)
        if name != FEATURES and len(shape) == 2 and shape[0] == shape[1]:
            array = arrays.read(name)
            refuse_covariance(array, what, f"give its mean, too: {RENAME}")
            return FeatureSource(array, path=path)
        return FeatureSource(arrays.rows(name), path=path)
