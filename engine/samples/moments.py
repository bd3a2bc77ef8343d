"""Ready-made moments: an ``.npz`` with ``mu`` and ``sigma``, as FID tools write it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidStatistics
from engine.samples.labels import name_to_label
from engine.samples.npz import NpzFile

ASYMMETRY = 1e-4
"""Largest |Σ − Σᵀ| as a share of the largest |Σ|: float16 rounding passes, a matrix that is no covariance does not."""
INDEFINITE = 1e-4
"""How far below zero, as a share of the largest variance, an eigenvalue may always fall."""
COUNT_KEYS = ("n", "samples")


class MomentsSource:
    """Mean and covariance of one encoder's features.

    Attributes:
        mean: ``(d,)`` float64.
        covariance: ``(d, d)`` float64, exactly symmetric, without ε.
        samples: how many features went in, or None if the file does not say.
    """

    kind = "moments"

    def __init__(
        self, mean: NDArray[Any], covariance: NDArray[Any], samples: int | None = None, *, path: Path | None = None
    ) -> None:
        """Check the moments.

        Raises:
            InvalidStatistics: wrong shapes or dtypes, a NaN, asymmetry, a clearly negative eigenvalue, a bad count.
        """
        self.mean = _floats(mean, "mu", 1)
        sigma = _floats(covariance, "sigma", 2)
        if sigma.shape != (self.mean.size, self.mean.size) or not self.mean.size:
            raise InvalidStatistics(f"mu has shape {self.mean.shape}, so sigma cannot have shape {sigma.shape}")
        scale = float(np.abs(sigma).max())
        if np.abs(sigma - sigma.T).max() > ASYMMETRY * scale:
            raise InvalidStatistics("sigma is not symmetric")
        self.covariance = (sigma + sigma.T) / 2
        _check_definite(self.covariance, _rounding(covariance))
        if samples is not None and samples < 1:
            raise InvalidStatistics(f"the sample count must be at least 1, got {samples}")
        self.samples = samples
        self._path = path

    @classmethod
    def from_npz(cls, arrays: NpzFile, path: Path) -> MomentsSource:
        """Read ``mu``, ``sigma`` and, if it is there, the number of samples ``n`` or ``samples``.

        Raises:
            InvalidStatistics: these are no moments.
            InvalidInput: an array is larger than is allowed.
        """
        arrays.error = InvalidStatistics
        count = next((_whole(arrays.read(key), key) for key in COUNT_KEYS if key in arrays.shapes), None)
        return cls(arrays.read("mu"), arrays.read("sigma"), count, path=path)

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
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise InvalidStatistics(f"{name} must be float16, float32 or float64, got {array.dtype}")
    if array.ndim != dimensions:
        raise InvalidStatistics(f"{name} must have {dimensions} dimensions, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidStatistics(f"{name} has a NaN or an infinity")
    return array.astype(np.float64)


def _whole(array: NDArray[Any], name: str) -> int:
    if array.size != 1 or array.dtype.kind not in "iuf" or array.item() != int(array.item()):
        raise InvalidStatistics(f"{name} must be one whole number, got {array.dtype} of shape {array.shape}")
    return int(array.item())


def _rounding(covariance: NDArray[Any]) -> float:
    """How far rounding a ``(d, d)`` matrix to its dtype can move an eigenvalue, as a share of the largest entry.

    The spectral norm of a symmetric matrix of independent errors of size e is about 2 e √d (Wigner's semicircle law).
    """
    return float(2 * np.finfo(covariance.dtype).eps * np.sqrt(len(covariance)))


def _check_definite(covariance: NDArray[np.float64], rounding: float) -> None:
    """A Cholesky factor of Σ + δI exists just when every eigenvalue of Σ is above −δ; it is the cheapest proof."""
    largest = float(covariance.diagonal().max())
    slack = max(max(INDEFINITE, rounding) * largest, np.finfo(np.float64).tiny)
    try:
        np.linalg.cholesky(covariance + slack * np.eye(len(covariance)))
    except np.linalg.LinAlgError as exc:
        lowest = float(np.linalg.eigvalsh(covariance)[0])
        raise InvalidStatistics(
            f"sigma is indefinite: its lowest eigenvalue is {lowest:.3g}, its largest variance {largest:.3g}",
            hint="check how it was computed: a covariance has no negative eigenvalue",
        ) from exc
