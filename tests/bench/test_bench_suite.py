"""The suite's parts that need no peer: covariances, the papers' table, merged results, tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.suite import papers, run, tables
from benchmarks.suite.covariances import Covariances
from engine.bench import data
from engine.bench.cells import FORMAT, Cell, write
from engine.bench.machine import machine


@pytest.fixture(params=data.DATA)
def made(request: pytest.FixtureRequest) -> Covariances:
    """Over 50 rows of 32 numbers."""
    rows = np.concatenate(list(data.DATA[request.param](50, np.random.default_rng(0), 32)))
    return Covariances(request.param, rows, 0)


def test_a_models_covariance_depends_on_its_number_alone(made: Covariances) -> None:
    first = made.covariance(7)
    made.covariance(8)
    assert np.array_equal(made.covariance(7), first)
    assert not np.allclose(made.covariance(8), first)


def test_covariances_are_those_of_unit_features(made: Covariances) -> None:
    covariance = made.covariance(3).astype(np.float64)
    assert np.allclose(covariance, covariance.T, atol=1e-6)
    assert np.linalg.eigvalsh(covariance)[0] > 0
    assert np.trace(covariance) == pytest.approx(1 - data.CLOSE**2, rel=0.02)
    assert np.linalg.norm(made.mean(3)) == pytest.approx(data.CLOSE, rel=1e-5)


def test_queries_lie_at_that_cosine(made: Covariances) -> None:
    query = made.query(3, np.random.default_rng(0))
    assert np.linalg.norm(query) == pytest.approx(1, rel=1e-5)
    assert query @ made.vectors[3] == pytest.approx(data.CLOSE, rel=1e-5)


def test_the_papers_floors_by_hand() -> None:
    assert papers.must_read(papers.FM, 1_000_000) == 2_048_000_000
    assert papers.floor_ms(papers.FM, 1_000_000) == pytest.approx(2048 / 768)
    assert papers.must_read(papers.GD, 10_000) == 10_000 * 512 * 512 * 4
    counted, below, most, _ = papers.below_floor()
    assert counted == sum(value is not None for row in papers.THEIRS.values() for value in row)
    assert 0 < below < counted
    assert most == pytest.approx(papers.floor_ms(papers.GD, 10_000) / 0.49)


def result(cell: Cell, **more: Any) -> dict[str, Any]:
    """What a finished cell's file holds."""
    return {"format": 1, "cell": vars(cell), "bandwidth": [{"best": 10.0, "median": 9.0, "bytes": 1.0}], **more}


def test_our_figures_stand_beside_theirs() -> None:
    cell = Cell("", "collection", "", "simulated", 1_000_000)
    rows = [{"step": "search_vectors", "p50_ms": 100.0}]
    table = papers.papers_table([result(cell, rows=rows)], "simulated")
    (row,) = (
        row for row in table.data if (row["query"], row["method"], row["models"]) == ("text", "1st moment", 10**6)
    )
    assert (row["theirs_ms"], row["ours_ms"]) == (0.21, 100.0)
    assert row["ours_over_floor"] == pytest.approx(100.0 / 204.8)
    assert all(row["ours_ms"] is None for row in table.data if row["models"] != 10**6)


def test_earlier_cells_stay_in_the_report(tmp_path: Path) -> None:
    plan = run.planned([300], ["clustered"], dimension=64, queries=20, seed=0)
    assert {"engine approximate", "FAISS Flat", "pgvector HNSW", *run.TASKS} <= {cell.title for cell in plan}
    write(tmp_path / plan[0].name, result(plan[0], rows=[1]))
    write(tmp_path / plan[1].name, result(plan[1], missing="it is gone"))
    merged = run.merged(plan, [result(plan[2], rows=[3])], tmp_path)
    assert [found["rows"] for found in merged] == [[1], [3]]


def test_published_results_stay_where_no_cell_is_kept(tmp_path: Path) -> None:
    """A part of the suite does not wipe the rest of the report, and another processor's figures do not mix with it."""
    plan = run.planned([300], ["clustered"], dimension=64, queries=20, seed=0)
    own = {"machine": {"cpu": "ours"}}
    other = {**result(plan[1], rows=["of another format"], **own), "format": FORMAT + 1}
    foreign = result(plan[4], rows=["elsewhere"], machine={"cpu": "theirs"})
    before = [result(cell, rows=["published"], **own) for cell in (plan[0], plan[2], plan[3])]
    write(tmp_path / "suite.json", {"results": [*before, other, foreign]})
    write(tmp_path / plan[2].name, result(plan[2], rows=["kept cell"]))
    earlier = run.published(tmp_path / "suite.json", "ours")
    merged = run.merged(plan, [result(plan[3], rows=["measured now"])], tmp_path, earlier)
    assert [found["rows"] for found in merged] == [["published"], ["kept cell"], ["measured now"]]
    assert run.published(tmp_path / "none.json", "ours") == []


def test_a_part_is_written_into_the_whole_report(tmp_path: Path) -> None:
    ours = result(run.planned([10_000], ["clustered"], dimension=64, queries=20, seed=0)[0], rows=[], machine=machine())
    write(tmp_path / "suite.json", {"results": [ours]})
    given = ["--sizes", "300", "--dimension", "64", "--queries", "20", "--report"]
    done = CliRunner().invoke(run.main, [*given, "--out", str(tmp_path), "--scratch", str(tmp_path / "scratch")])
    assert done.exit_code == 0, done.output
    assert [found["cell"] for found in json.loads((tmp_path / "suite.json").read_text())["results"]] == [ours["cell"]]


def searched(title: str, found: dict[str, list[tuple[float, float]]], name: str = "recall") -> dict[str, object]:
    """A cell of 300 clustered models: by family, recalls and milliseconds."""
    rows = [
        {"over_flat": 0.5, "flat_ms": 9.0, "resident_bytes": 1e6, "setting": {name: recall}, "family": family,
         "recall": recall, "p50_ms": ms}
        for family, pairs in found.items()
        for recall, ms in pairs
    ]  # fmt: skip
    return result(Cell("", title, "", "clustered", 300), rows=rows, exact=title == "exact", yardstick={})


def test_recall_table_names_the_fastest_sufficient_setting() -> None:
    """For the kindest queries, and those that leave approximate methods the lowest recall."""
    found = {data.KINDEST: [(0.93, 1.0), (0.97, 2.0)], "easy": [(0.95, 1.0)], "hard": [(0.8, 1.0), (0.92, 3.0)]}
    table = tables.recall_table([searched("hnswlib", found), searched("exact", {data.KINDEST: [(1.0, 7.0)]})])
    assert table.rows == [
        ["clustered", "300", "hnswlib", data.KINDEST, "1 (0.5)", "2 (0.5)", "–", "–", "1"],
        ["clustered", "300", "hnswlib", "hard", "3 (0.5)", "–", "–", "–", "1"],
        ["clustered", "300", "exact", data.KINDEST, *4 * ["7 (0.5)"], "1"],
    ]


def test_families_are_compared_at_the_same_measured_recall() -> None:
    ours = searched("engine approximate", {"a": [(0.9, 0.5), (0.95, 1.0), (0.98, 2.0), (0.99, 3.0)]})
    theirs = searched("FAISS IVF9", {"a": [(0.94, 1.0), (0.96, 2.0), (0.985, 5.0)]}, "nprobe")
    table = tables.families_table([ours, theirs])
    assert [row[:4] + row[5:] for row in table.rows] == [
        ["a", "0.95", "1 (0.950)", "2 (0.960)", "0.5", "9"],
        ["a", "0.98", "2 (0.980)", "5 (0.985)", "0.4", "9"],
        ["a", "0.99", "3 (0.990)", "–", "–", "9"],
    ]
    promised = tables.promise_table([ours, theirs])
    assert promised.rows == [["a", "0.900 in 0.5", "0.950 in 1", "0.980 in 2", "0.990 in 3", "9"]]
