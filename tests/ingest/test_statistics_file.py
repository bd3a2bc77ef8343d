"""Files of statistics that zip, NumPy or Arrow stumble over: refused in our own words, whatever they raise."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from engine.errors import InvalidStatistics
from engine.ingest.statistics_file import read_statistics

MEANS = np.eye(3, dtype=np.float32)


def npz() -> bytearray:
    stream = io.BytesIO()
    np.savez(stream, names=np.array(["a", "b", "c"]), means=MEANS, samples=np.array([3, 4, 5]))
    return bytearray(stream.getvalue())


@pytest.mark.parametrize(
    ("field", "value"), [(6, 99), (8, 32), (10, 98)], ids=["zip version 9.9", "patched data", "unknown compression"]
)
def test_a_zip_of_another_kind_is_refused(tmp_path: Path, field: int, value: int) -> None:
    data = npz()
    data[data.index(b"PK\x01\x02") + field] = value
    (tmp_path / "s.npz").write_bytes(data)
    with pytest.raises(InvalidStatistics, match=r"s\.npz cannot be read"):
        list(read_statistics(tmp_path / "s.npz"))


def test_a_header_that_cannot_be_parsed_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, names=np.array(["a"]))
    whole = stream.getvalue()
    (tmp_path / "s.npz").write_bytes(whole.replace(b"{'descr'", b"('descr'"))
    with pytest.raises(InvalidStatistics, match=r"s\.npz cannot be read"):
        list(read_statistics(tmp_path / "s.npz"))


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    table = pa.table({"name": ["name-a", "b", "c"], "mean": MEANS.tolist(), "samples": [3, 4, 5]})
    parquet.write_table(table, tmp_path / "s.parquet", compression="NONE", use_dictionary=False, write_statistics=False)
    data = (tmp_path / "s.parquet").read_bytes()
    assert b"name-a" in data
    (tmp_path / "s.parquet").write_bytes(data.replace(b"name-a", b"name-\xff"))
    with pytest.raises(InvalidStatistics, match=r"s\.parquet cannot be read"):
        list(read_statistics(tmp_path / "s.parquet"))
