"""``engine ingest --statistics``: files of many models' moments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from engine.cli import app
from engine.ingest import statistics_parquet

D, N = 5, 30


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'some.db'}"
    assert run(url, "init", "--encoder", "external:x").exit_code == 0
    return url


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--database", url], prog_name="engine")


def content(n: int = N) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, 40, D)) + rng.normal(size=(n, 1, D))
    covariances = np.stack([np.cov(own, rowvar=False) for own in rows]).astype(np.float32)
    return {
        "names": np.array([f"m{i}" for i in range(n)]), "means": rows.mean(axis=1).astype(np.float32),
        "samples": np.full(n, 40), "covariances": covariances,
        "tags": np.array([json.dumps(["even"] if i % 2 == 0 else []) for i in range(n)]),
    }  # fmt: skip


def write(path: Path, given: dict[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **given)
        return path
    columns: dict[str, Any] = {"name": given["names"].tolist(), "samples": given["samples"].tolist()}
    columns["mean"] = pa.array(given["means"].tolist(), pa.list_(pa.float32()))
    if "covariances" in given:
        flat = given["covariances"].reshape(len(columns["name"]), -1)
        columns["covariance"] = pa.array(flat.tolist(), pa.list_(pa.float32()))
    if "tags" in given:
        columns["tags"] = [json.loads(text) for text in given["tags"]]
    parquet.write_table(pa.table(columns), path, row_group_size=7)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_file_comes_in_once(url: str, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics_parquet, "ROWS", 8)
    file = str(write(tmp_path / f"many{suffix}", content()))
    command = ("ingest", "--statistics", file, "--encoder", "external:x", "--json")
    first = run(url, *command)
    assert (first.exit_code, json.loads(first.stdout)) == (0, {"added": N, "replaced": 0, "unchanged": 0})
    again = run(url, *command)
    assert json.loads(again.stdout) == {"added": 0, "replaced": 0, "unchanged": N}
    shown = json.loads(run(url, "list", "--json", "--where", "tag=even").stdout)["models"]
    assert {model["name"] for model in shown} == {f"m{i}" for i in range(0, N, 2)}
    assert {model["samples"] for model in shown} == {40}
    hits = json.loads(run(url, "similar", "m3", "--json").stdout)["hits"]
    assert len(hits) == 10


def test_both_formats_say_the_same(url: str, tmp_path: Path) -> None:
    for name in ("many.npz", "many.parquet"):
        found = run(url, "ingest", "--statistics", str(write(tmp_path / name, content())), "--encoder", "external:x")
        assert found.exit_code == 0
    assert "0 added, 0 replaced, 30 unchanged" in found.stdout


def test_an_encoder_unknown_becomes_external(url: str, tmp_path: Path) -> None:
    given = content()
    del given["covariances"], given["tags"]
    file = str(write(tmp_path / "means.npz", given))
    found = run(url, "ingest", "--statistics", file, "--encoder", "mine", "--tag", "theirs")
    assert "30 added" in found.stdout
    assert json.loads(run(url, "show", "m1", "--json").stdout)["model"]["tags"] == ["theirs"]
    assert "external:mine" in run(url, "show", "m1", "--json").stdout


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("missing", ["names", "means", "samples"])
def test_what_a_file_lacks_is_named(url: str, tmp_path: Path, suffix: str, missing: str) -> None:
    file = tmp_path / f"many{suffix}"
    if suffix == ".npz":
        given = content()
        del given[missing]
        np.savez(file, **given)
    else:
        column = {"names": "name", "means": "mean"}.get(missing, missing)
        parquet.write_table(parquet.read_table(write(file, content())).drop_columns([column]), file)
        missing = column
    found = run(url, "ingest", "--statistics", str(file), "--encoder", "external:x", "--json")
    assert found.exit_code != 0
    assert missing in json.loads(found.stdout)["error"]["message"]


@pytest.mark.parametrize("name", ["many.npz", "many.parquet"])
def test_a_torn_file_is_refused(url: str, tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name, content())
    file.write_bytes(file.read_bytes()[:700])
    found = run(url, "ingest", "--statistics", str(file), "--encoder", "external:x", "--json")
    assert found.exit_code != 0
    assert "cannot be read" in json.loads(found.stdout)["error"]["message"]
    assert json.loads(run(url, "list", "--json").stdout)["models"] == []


def test_a_pickle_is_never_opened(url: str, tmp_path: Path) -> None:
    file = tmp_path / "evil.npz"
    np.savez(file, **{**content(), "names": np.array([f"m{i}" for i in range(N)], dtype=object)})
    found = run(url, "ingest", "--statistics", str(file), "--encoder", "external:x", "--json")
    assert found.exit_code != 0
    assert "cannot be read" in json.loads(found.stdout)["error"]["message"]


def test_rows_of_unequal_length_are_refused(url: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.parquet"
    means = pa.array([[1.0, 2.0, 3.0], [1.0]], pa.list_(pa.float64()))
    parquet.write_table(pa.table({"name": ["a", "b"], "mean": means, "samples": [3, 4]}), file)
    found = run(url, "ingest", "--statistics", str(file), "--encoder", "external:x", "--json")
    assert "equal length" in json.loads(found.stdout)["error"]["message"]


@pytest.mark.parametrize(
    "arguments",
    [("--statistics", "x.npz"), ("folder", "--statistics", "x.npz", "--encoder", "e"), (),
     ("--statistics", "x.npz", "--encoder", "e", "--samples", "3")],
)  # fmt: skip
def test_what_does_not_go_together(url: str, arguments: tuple[str, ...]) -> None:
    assert run(url, "ingest", *arguments).exit_code == 2
