"""Features or moments? The names in an ``.npz`` decide, and what they leave in doubt is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.samples.labels import name_to_label
from engine.samples.npz import NpzFile

FEATURES = "features"
MU_SIGMA = ("mu", "sigma")
PAIRS = {
    MU_SIGMA, ("mu", "cov"), ("mu", "covariance"), ("mean", "cov"), ("mean", "covariance"), ("mean", "sigma"),
    ("means", "covariances"), ("mu_s", "sigma_s"),
}  # fmt: skip
"""Names of a mean and its covariance, in any case."""
MANY = {"names", "means", "samples"}
"""What a file of many models' statistics holds."""
RENAME = f"name moments 'mu' and 'sigma', and features '{FEATURES}'"
ASYMMETRY = 1e-4
"""Largest |Σ − Σᵀ| as a share of the largest |Σ|: float16 rounding passes, a matrix that is no covariance does not."""
ROWS = 256


def names_of_moments(arrays: NpzFile, path: Path) -> tuple[str, str] | None:
    """What the mean ``(d,)`` and the covariance ``(d, d)`` are called; None if the file holds features.

    ``mu`` and ``sigma`` come first: guided-diffusion saves moments of spatial features, ``mu_s`` and ``sigma_s``,
    beside them.

    Raises:
        InvalidInput: there are several pairs.
    """
    pairs = [(mean, sigma) for mean in arrays.shapes for sigma in arrays.shapes if _lower(mean, sigma) in PAIRS]
    found = [pair for pair in pairs if _lower(*pair) == MU_SIGMA]
    if not found and FEATURES not in arrays.shapes:
        found = [pair for pair in pairs if (len(arrays.shapes[pair[0]]), len(arrays.shapes[pair[1]])) == (1, 2)]
    if len(found) > 1:
        raise InvalidInput(
            f"{name_to_label(path.name)} holds several moments: {', '.join(' and '.join(pair) for pair in found)}",
            hint="keep one mean and one covariance in a file",
        )
    return found[0] if found else None


def name_of_features(arrays: NpzFile, path: Path) -> str:
    """What the features ``(n, d)`` are called: ``features``, or the only matrix.

    Raises:
        InvalidInput: there is not one matrix, or it may be a covariance.
    """
    label = name_to_label(path.name)
    if FEATURES in arrays.shapes:
        return FEATURES
    if arrays.shapes.keys() >= MANY:
        raise InvalidInput(
            f"{label} holds statistics of many models", hint="engine ingest --statistics FILE --encoder NAME"
        )
    matrices = [name for name, shape in arrays.shapes.items() if len(shape) == 2]
    if len(matrices) != 1:
        raise InvalidInput(
            f"{label} holds {', '.join(sorted(arrays.shapes)) or 'nothing'}; which array the features are is unclear",
            hint=RENAME,
        )
    rows, columns = arrays.shapes[matrices[0]]
    vector = next(
        (name for name, shape in arrays.shapes.items() if shape == (columns,) and arrays.dtypes[name].kind == "f"), None
    )
    if rows == columns and vector is not None:
        raise InvalidInput(
            f"{label} holds a vector and a square matrix, {vector!r} and {matrices[0]!r}: "
            "moments or features is unclear",
            hint=RENAME,
        )
    return matrices[0]


def refuse_covariance(array: NDArray[Any], label: str, hint: str) -> None:
    """A symmetric matrix is a covariance without its mean.

    Raises:
        InvalidInput: ``array`` is one.
    """
    if array.ndim == 2 and len(array) > 1 and array.dtype.kind == "f" and _is_symmetric(array):
        raise InvalidInput(
            f"{label} is a symmetric {len(array)} × {len(array)} matrix, as a covariance is and features are not",
            hint=hint,
        )


def _is_symmetric(matrix: NDArray[Any]) -> bool:
    """Whether a matrix is symmetric up to rounding; of a large one that is not, little is read."""
    if matrix.shape[0] != matrix.shape[1]:
        return False
    scale = 0.0
    for start in range(0, len(matrix), ROWS):
        rows = matrix[start : start + ROWS].astype(np.float64)
        scale = max(scale, float(np.abs(rows).max()))
        with np.errstate(invalid="ignore"):
            difference = np.abs(rows - matrix[:, start : start + ROWS].T).max()
        if not difference <= ASYMMETRY * scale:  # a NaN compares as false
            return False
    return True


def _lower(mean: str, sigma: str) -> tuple[str, str]:
    return mean.lower(), sigma.lower()
