"""A Parquet file of statistics is read right, or refused whole: wherever in it something is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from engine import Engine
from engine.errors import DuplicateName, InvalidInput, InvalidStatistics
from engine.ingest import statistics_parquet
from engine.ingest.statistics_file import read_statistics

N, D = 7, 3
RNG = np.random.default_rng(0)
MEANS = RNG.normal(size=(N, D)).astype(np.float32)
NAMES = [f"m{i}" for i in range(N)]
TAGS = [["a"], ["b", "c"], None, [], ["a"], None, ["d"]]
COVARIANCES = np.tile(np.eye(D, dtype=np.float32), (N, 1, 1)).reshape(N, -1)
FLOATS = pa.list_(pa.float32())


@pytest.fixture(autouse=True)
def batches_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics_parquet, "ROWS", 2)


def columns(**changed: Any) -> dict[str, Any]:
    usual = {"name": pa.array(NAMES), "mean": pa.array(MEANS.tolist(), FLOATS), "samples": pa.array([10] * N)}
    return {**usual, **changed}


def write(path: Path, given: dict[str, Any]) -> Path:
    parquet.write_table(pa.table(given), path / "s.parquet", row_group_size=3)
    return path / "s.parquet"


def tags_of(path: Path) -> list[Any]:
    return [own for table in read_statistics(path) for own in table.tags or []]


@pytest.mark.parametrize(
    "tags",
    [
        pa.array(TAGS, pa.list_(pa.string())),
        pa.array(TAGS, pa.large_list(pa.large_string())),
        pa.array(TAGS, pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.array([None if own is None else str(own).replace("'", '"') for own in TAGS]),
        pa.array([None if own is None else str(own).replace("'", '"') for own in TAGS]).dictionary_encode(),
    ],
    ids=["lists", "large lists", "dictionaries", "JSON", "JSON dictionary"],
)
def test_each_model_has_its_own_tags(tmp_path: Path, tags: pa.Array) -> None:
    path = write(tmp_path, columns(tags=tags))
    assert tags_of(path) == TAGS
    with Engine.open(f"sqlite:///{tmp_path}/z.db", create=True) as engine:
        ingest(engine, path)
        assert [list(engine.get(name).tags) for name in NAMES] == [own or [] for own in TAGS]


def test_a_column_of_no_tags(tmp_path: Path) -> None:
    assert tags_of(write(tmp_path, columns(tags=pa.nulls(N)))) == [None] * N


@pytest.mark.parametrize(
    "kind", [pa.large_list(pa.float64()), pa.list_(pa.float16()), pa.list_(pa.float32(), D)], ids=str
)
def test_means_and_names_of_other_arrow_types(tmp_path: Path, kind: pa.DataType) -> None:
    means = pa.array(MEANS.astype(kind.value_type.to_pandas_dtype()).tolist(), pa.list_(kind.value_type)).cast(kind)
    names = pa.array(NAMES).dictionary_encode()
    tables = list(read_statistics(write(tmp_path, columns(mean=means, name=names))))
    np.testing.assert_allclose(np.concatenate([table.means for table in tables]), MEANS, rtol=1e-3)
    assert [name for table in tables for name in table.names] == NAMES


def last(values: list[Any], value: Any) -> list[Any]:
    return [*values[:-1], value]


WRONG = {
    "plain tags": {"tags": pa.array(["red", "green"] * 3 + ["blue"])},
    "a plain tag at the end": {"tags": pa.array(last(['["a"]'] * N, "blue"))},
    "tags in a dictionary": {"tags": pa.array(["red"] * N).dictionary_encode()},
    "numbers for tags": {"tags": pa.array(range(N))},
    "lists of numbers for tags": {"tags": pa.array([[1]] * N)},
    "a null in a list of tags": {"tags": pa.array(last(TAGS, ["a", None]))},
    "an empty tag": {"tags": pa.array(last(TAGS, [""]))},
    "a null name": {"name": pa.array(last(NAMES, None))},
    "an empty name": {"name": pa.array(last(NAMES, ""))},
    "numbers for names": {"name": pa.array(range(N))},
    "bytes for names": {"name": pa.array([name.encode() for name in NAMES])},
    "a null mean": {"mean": pa.array(last(MEANS.tolist(), None), FLOATS)},
    "a null in a mean": {"mean": pa.array(last(MEANS.tolist(), [1.0, None, 1.0]), FLOATS)},
    "a longer mean": {"mean": pa.array(last(MEANS.tolist(), [1.0] * (D + 1)), FLOATS)},
    "longer means in a batch of their own": {"mean": pa.array([*MEANS[:6].tolist(), [1.0] * (D + 1)], FLOATS)},
    "means of no numbers": {"mean": pa.array([[]] * N, FLOATS)},
    "a mean of zeros": {"mean": pa.array(last(MEANS.tolist(), [0.0] * D), FLOATS)},
    "a mean of a NaN": {"mean": pa.array(last(MEANS.tolist(), [np.nan] * D), FLOATS)},
    "whole numbers for means": {"mean": pa.array([[1] * D] * N)},
    "numbers for means": {"mean": pa.array([1.0] * N)},
    "a null count": {"samples": pa.array(last([10] * N, None))},
    "a count of zero": {"samples": pa.array(last([10] * N, 0))},
    "a count beyond the largest": {"samples": pa.array(last([10] * N, 2**31))},
    "a count of 2^63": {"samples": pa.array(last([10] * N, 2**63), pa.uint64())},
    "fractions for counts": {"samples": pa.array([10.5] * N)},
    "text for counts": {"samples": pa.array(["10"] * N)},
    "decimals for counts": {"samples": pa.array([10] * N, pa.decimal128(30))},
    "a null covariance": {"covariance": pa.array(last(COVARIANCES.tolist(), None), FLOATS)},
    "a null in a covariance": {"covariance": pa.array(last(COVARIANCES.tolist(), [None] * D * D), FLOATS)},
    "a short covariance": {"covariance": pa.array(last(COVARIANCES.tolist(), [1.0] * D), FLOATS)},
    "whole numbers for covariances": {"covariance": pa.array(COVARIANCES.astype(int).tolist())},
    "text for covariances": {"covariance": pa.array(["1"] * N)},
}


def ingest(engine: Engine, path: Path) -> None:
    for table in read_statistics(path):
        engine.ingest_statistics(
            table.names, table.means, table.covariances, encoder="external:e", samples=table.samples, tags=table.tags
        )


def refused(path: Path, tmp_path: Path, error: type[Exception]) -> str:
    """What is said of a file of which nothing is written."""
    with Engine.open(f"sqlite:///{tmp_path}/z.db", create=True) as engine:
        with pytest.raises(error) as caught:
            ingest(engine, path)
        assert engine.models() == []
    return str(caught.value)


@pytest.mark.parametrize("changed", WRONG.values(), ids=WRONG)
def test_what_is_wrong_anywhere_refuses_all(tmp_path: Path, changed: dict[str, Any]) -> None:
    refused(write(tmp_path, columns(**changed)), tmp_path, InvalidInput)


@pytest.mark.parametrize("encoded", [False, True])
def test_a_name_that_is_there_twice(tmp_path: Path, encoded: bool) -> None:
    names = pa.array(last(NAMES, NAMES[0]))
    path = write(tmp_path, columns(name=names.dictionary_encode() if encoded else names))
    assert "'m0' is in s.parquet 2 times" in refused(path, tmp_path, DuplicateName)


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    given = columns()
    table = pa.Table.from_arrays([*given.values(), given["name"]], [*given, "name"])
    parquet.write_table(table, tmp_path / "s.parquet")
    with pytest.raises(InvalidStatistics, match="several columns name"):
        list(read_statistics(tmp_path / "s.parquet"))


def test_an_empty_file_has_no_models(tmp_path: Path) -> None:
    parquet.write_table(pa.table(columns()).slice(0, 0), tmp_path / "s.parquet")
    assert list(read_statistics(tmp_path / "s.parquet")) == []


@pytest.mark.parametrize("name", ["Tags", "tag", "Covariance", "covariances", "cov", "sigma"])
def test_a_misspelled_column_is_not_passed_over(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, columns(**{name: pa.array(["x"] * N)}))
    right = "tags" if name.lower().startswith("tag") else "covariance"
    assert f"has '{name}': did you mean '{right}'?" in refused(path, tmp_path, InvalidStatistics)
    right_one = pa.array(TAGS) if right == "tags" else pa.array(COVARIANCES.tolist(), FLOATS)
    list(
        read_statistics(write(tmp_path, columns(**{name: pa.array(["x"] * N), right: right_one, "stage": pa.nulls(N)})))
    )


# --- the same of arrays


@pytest.mark.parametrize("name", ["TAGS", "covariance", "cov"])
def test_a_misspelled_array_is_not_passed_over(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "s.npz", names=NAMES, means=MEANS, samples=10, **{name: MEANS})
    with pytest.raises(InvalidStatistics, match=r"did you mean '(tags|covariances)'"):
        list(read_statistics(tmp_path / "s.npz"))


@pytest.mark.parametrize(
    "tags", [[["a"], "b"], [["a"], 5], [["a"], b"b"], [["a"], {"b": 1}], [["a"]], 5, "a", [["a"], [None]]], ids=repr
)
def test_tags_of_arrays_are_lists(tmp_path: Path, tags: Any) -> None:
    with Engine.open(f"sqlite:///{tmp_path}/z.db", create=True) as engine:
        with pytest.raises(InvalidInput):
            engine.ingest_statistics(["a", "b"], MEANS[:2], encoder="external:e", samples=5, tags=tags)
        assert engine.models() == []


def test_none_leaves_the_tags_of_a_model(tmp_path: Path) -> None:
    with Engine.open(f"sqlite:///{tmp_path}/z.db", create=True) as engine:
        for tags in ([["x"], ["y"]], [None, {"z"}]):
            engine.ingest_statistics(["a", "b"], MEANS[:2], encoder="external:e", samples=5, tags=tags)
        assert [engine.get(name).tags for name in ("a", "b")] == [("x",), ("z",)]
