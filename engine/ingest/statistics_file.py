"""Files of many models' moments: ``.npz``, and Parquet a few row groups at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput, InvalidStatistics, MissingDependency, SourceNotFound
from engine.samples.members import MAX_ARCHIVE_BYTES
from engine.samples.npz import open_npz

ROWS = 5_000
"""Of a Parquet file in memory at a time."""
REQUIRED = ("names", "means", "samples")
OPTIONAL = ("covariances", "tags")
PARQUET = {"names": "name", "means": "mean", "samples": "samples", "covariances": "covariance", "tags": "tags"}
"""Columns, one row a model."""


@dataclass(frozen=True)
class StatisticsTable:
    """The arguments of ``Engine.ingest_statistics``, for some or all rows of a file of ``total``."""

    names: list[str]
    means: NDArray[Any]
    samples: NDArray[Any]
    covariances: NDArray[Any] | None
    tags: list[list[str]] | None
    total: int


def read_statistics(path: Path) -> Iterator[StatisticsTable]:
    """A file's models, in order.

    Raises:
        SourceNotFound, InvalidInput: there is no such file, or it is neither of the two.
        InvalidStatistics: an array or a column is missing, or is not what it should be.
        MissingDependency: Parquet is read by pyarrow.
    """
    if not path.is_file():
        raise SourceNotFound(f"there is no file {path}", hint="give an .npz or a .parquet of statistics")
    if path.suffix == ".npz":
        return iter([_npz(path)])
    if path.suffix == ".parquet":
        return _parquet(path)
    raise InvalidInput(f"{path.name} is neither .npz nor .parquet", hint="docs/formats.md has both formats")


def _npz(path: Path) -> StatisticsTable:
    with open_npz(path, max_bytes=MAX_ARCHIVE_BYTES, error=InvalidStatistics) as file:
        arrays = {name: file.read(name) for name in file.shapes if name in (*REQUIRED, *OPTIONAL)}
    missing = [name for name in REQUIRED if name not in arrays]
    if missing:
        raise InvalidStatistics(f"{path.name} has no {', '.join(missing)}", hint=f"it must have {', '.join(REQUIRED)}")
    names, tags = arrays["names"], arrays.get("tags")
    for name, array in (("names", names), ("tags", tags)):
        if array is not None and (array.ndim != 1 or array.dtype.kind != "U"):
            raise InvalidStatistics(f"{name} in {path.name} must be texts, got {array.dtype} of shape {array.shape}")
    return StatisticsTable(
        names.tolist(), arrays["means"], arrays["samples"], arrays.get("covariances"),
        None if tags is None else [_tags(path, text) for text in tags.tolist()], len(names),
    )  # fmt: skip


def _tags(path: Path, text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(tag, str) for tag in found):
        raise InvalidStatistics(f"tags in {path.name} must be JSON lists of texts, got {text[:60]!r}")
    return found


def _parquet(path: Path) -> Iterator[StatisticsTable]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependency("Parquet files need pyarrow", hint="pip install 'engine[parquet]'") from error
    try:
        file = parquet.ParquetFile(path)
        there = set(file.schema_arrow.names)
    except (OSError, UnicodeError, pyarrow.ArrowException) as error:
        raise InvalidStatistics(f"{path.name} cannot be read: {error}") from error
    missing = [PARQUET[name] for name in REQUIRED if PARQUET[name] not in there]
    if missing:
        raise InvalidStatistics(
            f"{path.name} has no column {', '.join(missing)}",
            hint=f"columns are {', '.join(PARQUET.values())}; the last two may be left out",
        )
    return _batches(path, file, [column for column in PARQUET.values() if column in there])


def _batches(path: Path, file: Any, columns: list[str]) -> Iterator[StatisticsTable]:
    import pyarrow

    total = file.metadata.num_rows
    try:
        for batch in file.iter_batches(ROWS, columns=columns):
            told = {column: batch.column(place) for place, column in enumerate(batch.schema.names)}
            means = _rows(path, told["mean"])
            covariances = _rows(path, told["covariance"]) if "covariance" in told else None
            d = means.shape[1]
            if covariances is not None and covariances.shape[1] == d * d:
                covariances = covariances.reshape(-1, d, d)
            yield StatisticsTable(
                told["name"].to_pylist(), means, told["samples"].to_numpy(zero_copy_only=False), covariances,
                told["tags"].to_pylist() if "tags" in told else None, total,
            )  # fmt: skip
    except (OSError, UnicodeError, pyarrow.ArrowException) as error:
        raise InvalidStatistics(f"{path.name} cannot be read: {error}") from error


def _rows(path: Path, column: Any) -> NDArray[Any]:
    """A column of lists of equal length as an array ``(n, length)``."""
    if column.null_count:
        raise InvalidStatistics(
            f"a row of {path.name} has no moments", hint="put models without covariances in a file of their own"
        )
    from pyarrow import compute

    lengths = compute.unique(compute.list_value_length(column)).to_pylist()
    values = column.flatten().to_numpy(zero_copy_only=False)
    if len(lengths) > 1 or values.dtype.kind != "f":
        raise InvalidStatistics(f"moments in {path.name} must be lists of equal length of floating numbers")
    return np.asarray(values).reshape(len(column), -1)
