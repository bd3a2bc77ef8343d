"""Files of many models' moments: ``.npz``, and Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.errors import InvalidInput, InvalidStatistics, SourceNotFound
from engine.ingest.statistics_parquet import parquet_to_tables
from engine.ingest.statistics_table import StatisticsTable, check_spelling, json_to_tags
from engine.samples.members import MAX_ARCHIVE_BYTES
from engine.samples.npz import open_npz

REQUIRED = ("names", "means", "samples")
OPTIONAL = ("covariances", "tags")


def read_statistics(path: Path) -> Iterator[StatisticsTable]:
    """A file's models, in order.

    Raises:
        SourceNotFound, InvalidInput: there is no such file, or it is neither of the two.
        InvalidStatistics, DuplicateName: an array, a column or a row is missing, or is not what it should be. Of a
            Parquet file this is said before the first table, whatever row is wrong.
        MissingDependency: Parquet is read by pyarrow.
    """
    if not path.is_file():
        raise SourceNotFound(f"there is no file {path}", hint="give an .npz or a .parquet of statistics")
    if path.suffix == ".npz":
        return iter([_npz(path)])
    if path.suffix == ".parquet":
        return parquet_to_tables(path)
    raise InvalidInput(f"{path.name} is neither .npz nor .parquet", hint="docs/formats.md has both formats")


def _npz(path: Path) -> StatisticsTable:
    with open_npz(path, max_bytes=MAX_ARCHIVE_BYTES, error=InvalidStatistics) as file:
        check_spelling(path, file.shapes, (*REQUIRED, *OPTIONAL))
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
        None if tags is None else [json_to_tags(path, text) for text in tags.tolist()], len(names),
    )  # fmt: skip
