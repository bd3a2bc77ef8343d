"""Ready-made moments: a mean and a covariance, as FID tools save them in an ``.npz``."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.covariances import covariance_to_epsilon
from engine.errors import InvalidInput, InvalidStatistics
from engine.numbers import checked_whole
from engine.records import MOST_SAMPLES
from engine.samples.labels import name_to_label
from engine.samples.moment_names import ASYMMETRY
from engine.samples.npz import NpzFile, is_float

COUNT_KEYS = ("n", "samples")


class MomentsSource:
    """Mean and covariance of one encoder's features.

    Attributes:
        mean: ``(d,)`` float64.
        covariance: ``(d, d)`` float64, exactly symmetric, without ε.
        samples: how many features went in, 1 to ``MOST_SAMPLES``, or None if the file does not say.
        rounded_to: the float type that the covariance came in.
    """

    kind = "moments"

    def __init__(
        self, mean: NDArray[Any], covariance: NDArray[Any], samples: int | None = None, *, path: Path | None = None
    ) -> None:
        """Check the moments.

        Raises:
            InvalidStatistics: wrong shapes or dtypes, a NaN, asymmetry, an eigenvalue further below zero than rounding
                explains, a bad count.
        """
        self.mean = _floats(mean, "mu", 1)
        sigma = _floats(covariance, "sigma", 2)
        if sigma.shape != (self.mean.size, self.mean.size) or not self.mean.size:
            raise InvalidStatistics(f"mu has shape {self.mean.shape}, so sigma cannot have shape {sigma.shape}")
        if np.abs(sigma - sigma.T).max() > ASYMMETRY * float(np.abs(sigma).max()):
            raise InvalidStatistics("sigma is not symmetric")
        self.covariance = (sigma + sigma.T) / 2
        self.rounded_to = np.asarray(covariance).dtype
        covariance_to_epsilon(self.covariance, math.inf, rounded_to=self.rounded_to, name="sigma")
        self.samples = None if samples is None else _checked_count(samples)
        self._path = path

    @classmethod
    def from_npz(cls, arrays: NpzFile, names: tuple[str, str], path: Path) -> MomentsSource:
        """Read a mean and a covariance by their names, and the number of samples ``n`` or ``samples`` if it is there.

        Raises:
            InvalidStatistics: these are no moments.
            InvalidInput: an array is larger than is allowed.
        """
        arrays.error = InvalidStatistics
        for name in names:
            side = max(arrays.shapes[name], default=0)
            arrays.bounds.check(f"{name!r} in {name_to_label(path.name)}", side, arrays.bounds.dimension, "dimensions")
        spelled = {name.lower(): name for name in arrays.shapes}
        key = next((spelled[key] for key in COUNT_KEYS if key in spelled), None)
        if key is not None and math.prod(arrays.shapes[key]) != 1:
            raise InvalidStatistics(f"{key} must be one whole number, got shape {arrays.shapes[key]}")
        count = None if key is None else _whole(arrays.read(key), key)
        return cls(arrays.read(names[0]), arrays.read(names[1]), count, path=path)

    def with_samples(self, samples: int) -> MomentsSource:
        """The same moments, of that many samples.

        Raises:
            InvalidInput: the file says that there were others.
            InvalidStatistics: the number is out of range.
        """
        if self.samples not in (None, samples):
            raise InvalidInput(
                f"the moments are of {self.samples} samples, as their source says, not {samples}",
                hint="leave the number of samples out",
            )
        found = object.__new__(MomentsSource)
        found.__dict__ = {**self.__dict__, "samples": _checked_count(samples)}
        return found

    def digest(self) -> str:
        """SHA-256 of the moments themselves."""
        total = hashlib.sha256(f"moments {self.mean.size} {self.samples}".encode())
        total.update(self.mean.tobytes())
        total.update(self.covariance.tobytes())
        return total.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Type, dimension, count, and the file if there is one."""
        path = {} if self._path is None else {"path": name_to_label(str(self._path.absolute()))}
        return {"type": self.kind, **path, "dimension": self.mean.size, "samples": self.samples}

    def close(self) -> None:
        """Nothing is held open."""


def _floats(array: NDArray[Any], name: str, dimensions: int) -> NDArray[np.float64]:
    array = np.asarray(array)
    if not is_float(array.dtype):
        raise InvalidStatistics(f"{name} must be float16, float32 or float64, got {array.dtype}")
    if array.ndim != dimensions:
        raise InvalidStatistics(f"{name} must have {dimensions} dimensions, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidStatistics(f"{name} has a NaN or an infinity")
    return array.astype(np.float64)


def _whole(array: NDArray[Any], name: str) -> int:
    value = array.item() if array.size == 1 and array.dtype.kind in "iuf" else None
    if value is None or not np.isfinite(value) or value != int(value):
        raise InvalidStatistics(f"{name} must be one whole number, got {array.dtype} of shape {array.shape}")
    return int(value)


def _checked_count(samples: int) -> int:
    return checked_whole(samples, "the sample count", 1, MOST_SAMPLES, error=InvalidStatistics)
