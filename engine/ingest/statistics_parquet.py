"""Many models' moments in a Parquet file: the whole file is checked, then read again, some rows at a time.

Each batch becomes a transaction of its own, so whatever can be wrong in a later one is looked for before the first: the
schema, nulls, lengths, names and tags. Only whether covariances are definite is found when they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DuplicateName, EngineError, InvalidStatistics, MissingDependency
from engine.ingest.bulk import arrays_to_blocks
from engine.ingest.statistics_table import StatisticsTable, check_spelling, json_to_tags

ROWS = 5_000
"""In memory at a time."""
COLUMNS = {
    "name": "text", "mean": "lists of floating numbers", "samples": "whole numbers",
    "covariance": "lists of floating numbers", "tags": "lists of texts, or text: a JSON list of texts a row",
}  # fmt: skip
"""One row a model, and what each column holds."""
REQUIRED = ("name", "mean", "samples")


def parquet_to_tables(path: Path) -> Iterator[StatisticsTable]:
    """A file's models, in order, once all of it has been checked.

    Raises:
        InvalidStatistics, InvalidInput, DuplicateName: a column or a row is not what it should be.
        MissingDependency: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependency("Parquet files need pyarrow", hint="pip install 'engine[parquet]'") from error
    try:
        with parquet.ParquetFile(path) as file:
            columns = _checked_columns(path, file.schema_arrow)
            _check_names(path, file)
            dimensions: set[int] = set()
            for table in _tables(path, file, columns):
                arrays_to_blocks(table.names, table.means, table.covariances, table.samples, table.tags, epsilon=1.0)
                dimensions.add(table.means.shape[1])
                if len(dimensions) > 1:
                    raise InvalidStatistics(f"means in {path.name} have different lengths: {sorted(dimensions)}")
            yield from _tables(path, file, columns)
    except EngineError:
        raise
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # ValueError: text that is not UTF-8
        raise InvalidStatistics(f"{path.name} cannot be read: {error}") from error


def _checked_columns(path: Path, schema: Any) -> list[str]:
    missing = [name for name in REQUIRED if name not in schema.names]
    if missing:
        raise InvalidStatistics(
            f"{path.name} has no column {', '.join(missing)}",
            hint=f"columns are {', '.join(COLUMNS)}; the last two may be left out",
        )
    check_spelling(path, schema.names, COLUMNS)
    found = [name for name in COLUMNS if name in schema.names]
    for name in found:
        if schema.names.count(name) > 1:
            raise InvalidStatistics(f"{path.name} has several columns {name}")
        if not _fits(name, schema.field(name).type):
            raise InvalidStatistics(
                f"the column {name} of {path.name} must hold {COLUMNS[name]}, got {schema.field(name).type}"
            )
    return found


def _fits(name: str, kind: Any) -> bool:
    from pyarrow import types

    if name == "name":
        return _is_text(kind)
    if name == "samples":
        return bool(types.is_integer(kind))
    inner = kind.value_type if _is_list(kind) else None
    if name == "tags":
        return any(one is not None and (_is_text(one) or types.is_null(one)) for one in (kind, inner))
    return inner is not None and bool(types.is_floating(inner))


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _check_names(path: Path, file: Any) -> None:
    """The names of the whole file are read first, and alone: they are a small part of it."""
    from pyarrow import compute

    counted = compute.value_counts(file.read(["name"]).column("name").cast("large_string"))
    twice = counted.filter(compute.greater(counted.field("counts"), 1))
    if len(twice):
        raise DuplicateName(
            f"the name {twice[0]['values'].as_py()!r} is in {path.name} {twice[0]['counts']} times",
            hint="give each model one row",
        )


def _tables(path: Path, file: Any, columns: list[str]) -> Iterator[StatisticsTable]:
    for batch in file.iter_batches(ROWS, columns=columns):
        if not batch.num_rows:
            continue
        given = {name: batch.column(name) for name in columns}
        for name in columns:
            if name != "tags" and given[name].null_count:
                raise InvalidStatistics(
                    f"a row of {path.name} has no {name}",
                    hint="put models without covariances in a file of their own" if name == "covariance" else None,
                )
        means = _rows(path, given["mean"])
        covariances = _rows(path, given["covariance"]) if "covariance" in given else None
        d = means.shape[1]
        if covariances is not None and covariances.shape[1] == d * d:
            covariances = covariances.reshape(-1, d, d)
        tags = None
        if "tags" in given:
            rows = given["tags"].to_pylist()
            tags = [json_to_tags(path, row) if isinstance(row, str) else row for row in rows]
        yield StatisticsTable(
            given["name"].to_pylist(), means, given["samples"].to_numpy(zero_copy_only=False), covariances, tags,
            file.metadata.num_rows,
        )  # fmt: skip


def _rows(path: Path, column: Any) -> NDArray[Any]:
    """A column of lists of equal length as an array ``(n, length)``."""
    from pyarrow import compute

    values = column.flatten()
    if values.null_count or len(compute.unique(compute.list_value_length(column))) > 1:
        raise InvalidStatistics(f"moments in {path.name} must be lists of equal length, without nulls")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(column), -1)
