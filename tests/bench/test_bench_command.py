"""``engine bench``: cells in processes of their own, resumed, and reported in full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.bench import cells, report
from engine.bench.kinds import KINDS
from engine.bench.peers import FaissFlat
from engine.cli import app

SHAPE = ["--sizes", "300", "--data", "clustered", "--queries", "20", "--dimension", "64"]


def bench(out: Path, *more: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["bench", *SHAPE, "--out", str(out), *more], prog_name="engine")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything was measured once."""
    folder = tmp_path_factory.mktemp("bench")
    result = bench(folder)
    assert result.exit_code == 0, result.output
    assert str(folder / "bench.md") in result.stdout
    return folder


def test_every_kind_has_a_row_or_a_reason(out: Path) -> None:
    found = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    titles = [result["cell"]["title"] for result in found["results"]]
    assert titles == [*KINDS, "FAISS Flat"]
    for result in found["results"]:
        assert ("rows" in result) != ("missing" in result)
        assert "said" not in result, result["said"]


def test_the_table_has_all_columns(out: Path) -> None:
    text = (out / "bench.md").read_text(encoding="utf-8")
    header = next(line for line in text.splitlines() if line.startswith("| method"))
    assert [name.strip() for name in header.strip("|").split("|")] == [name for name, _ in report.COLUMNS]
    wanted = {"p50", "p95", "p99", "recall@10", "top-1", "memory, MB", "must read, MB", "floor", "time ÷ floor"}
    assert wanted <= {name for name, _ in report.COLUMNS}
    assert "20 queries, d = 64, k = 10, seed 0" in text
    assert "faiss-cpu" in text


def test_what_was_measured_is_not_measured_again(out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    absent = {path for path in before if "missing" in json.loads(path.read_text(encoding="utf-8"))}
    result = bench(out, "--json")
    assert result.exit_code == 0
    assert result.stderr.count("measured before") == len(before) - len(absent)
    after = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert {path for path in before if after[path] != before[path]} == absent
    printed = json.loads(result.stdout)
    assert {row["method"] for row in printed["rows"]} >= {"engine flat", "engine approximate", "FAISS Flat"}


def test_it_is_measured_again_when_that_is_asked_for(tmp_path: Path) -> None:
    (cell,) = cells.cells({"FAISS Flat": FaissFlat}, [300], ["simulated"], dimension=64, queries=20, seed=0)
    said: list[str] = []
    for again in (False, False, True):
        cells.measure_all([cell], tmp_path / "cells", tmp_path / "scratch", again=again, say=said.append)
    assert [" s" in line[-4:] for line in said] == [True, False, True]


def test_a_cell_that_fails_says_why_and_is_tried_again(tmp_path: Path) -> None:
    cell = cells.Cell("engine.bench.peers:FaissFlat", "FAISS Flat", "", "no-such-data", 300, 64, 20)
    for _ in range(2):
        (result,) = cells.measure_all([cell], tmp_path / "cells", tmp_path / "scratch", again=False, say=lambda _: None)
        assert "KeyError" in result["missing"]
    assert cells.finished(cell, tmp_path / "cells") is None


def test_a_cell_that_hangs_is_ended(tmp_path: Path) -> None:
    cell = cells.Cell("engine.bench.peers:FaissFlat", "FAISS Flat", "", "simulated", 300, 64, 20)
    (result,) = cells.measure_all(
        [cell], tmp_path / "cells", tmp_path / "scratch", again=False, say=lambda _: None, timeout=0.05
    )
    assert "not done after" in result["missing"]


@pytest.mark.parametrize("sizes", ["many", "5"])
def test_sizes_that_are_none_are_refused(sizes: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "--sizes", sizes, "--out", str(tmp_path / "x")], prog_name="engine")
    assert result.exit_code == 2
    assert not (tmp_path / "x").exists()
