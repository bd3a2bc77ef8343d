"""Turns, percentiles, recall, and a cell from building to its row."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.suite import summaries
from engine.bench import data, kinds, machine, measure, peers, timing
from engine.bench.searcher import Searcher, missing, named, path_of


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> data.Drawn:
    """300 vectors of 64 numbers, 20 queries."""
    folder = tmp_path_factory.mktemp("drawn")
    data.draw(folder, "clustered", 300, dimension=64, queries=20)
    return data.read(folder)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not read a gigabyte, nor run batches for seconds."""
    monkeypatch.setattr(measure, "bandwidth", lambda: {"best": 10.0, "median": 9.0, "bytes": 1.0})
    monkeypatch.setattr(measure, "rate", lambda work, items: (work(), 1.0)[1])


def test_percentiles_by_hand() -> None:
    found = timing.percentiles([i / 1000 for i in range(101)])
    assert found == pytest.approx({"p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "timed": 101})
    assert summaries.spread([3.0, 1.0, 2.0]) == {"least": 1.0, "median": 2.0, "most": 3.0}


def test_turns_change_who_begins_and_keep_the_order_of_queries() -> None:
    heard: list[str] = []
    entrants = [
        timing.Entrant(name, lambda i, name=name: (name, i), lambda name=name: heard.append(name)) for name in "ab"
    ]
    timing.in_turns(entrants, 4, stretch=2)
    assert heard == ["a", "b", "a", "b", "b", "a"]
    assert [entrant.answers for entrant in entrants] == [[(name, i) for i in range(4)] for name in "ab"]
    assert all(len(entrant.seconds) == 4 for entrant in entrants)


def test_what_warms_up_is_not_timed() -> None:
    asked: list[int] = []
    entrant = timing.Entrant("", asked.append)
    timing.in_turns([entrant], 3, stretch=2, warm=1)
    assert asked == [0, 2, 0, 1, 1, 2]
    assert len(entrant.seconds) == 3


def test_recall_by_hand() -> None:
    truth = np.array([[1, 2, 3], [4, 5, 6]])
    assert measure.recall(np.array([[2, 1], [4, -1]]), truth, 2) == 0.75
    assert measure.recall(np.array([[1, 2, 3, -1], [6, 5, 4, -1]]), truth, 4) == 1.0


@pytest.mark.parametrize("kind", [kinds.Flat, kinds.Live, peers.FaissFlat])
@pytest.mark.usefixtures("quick")
def test_exact_kinds_find_everything(kind: type[Searcher], drawn: data.Drawn, tmp_path: Path) -> None:
    found = measure.measured(kind, "", drawn, tmp_path)
    row, *others = found["rows"]
    assert len(others) == (0 if kind.exact else len(data.FAMILIES) - 1)
    assert all(other["recall"] == 1 for other in others)
    assert row["recall"] == row["top1"] == found["yardstick"]["recall"] == 1.0
    assert row["timed"] == 20
    assert row["over_floor"] == pytest.approx(row["p50_ms"] / row["floor_ms"])
    assert row["over_flat"] == pytest.approx(row["p50_ms"] / found["yardstick"]["p50_ms"])
    assert row["floor_ms"] == pytest.approx(row["must_read_bytes"] / 10e9 * 1e3)
    assert found["machine"]["versions"]["numpy"] == np.__version__


@pytest.mark.usefixtures("quick")
def test_every_setting_of_a_grid_has_its_row(drawn: data.Drawn, tmp_path: Path) -> None:
    (variant,) = peers.FaissFactory.variants(300)
    found = measure.measured(peers.FaissFactory, variant, drawn, tmp_path)
    asked = [(row["setting"]["k_factor"], row["family"]) for row in found["rows"]]
    assert asked == [(factor, family) for factor in peers.REFINED for family in data.FAMILIES]
    assert found["rows"][-1]["recall"] > 0.95
    bytes_read = [row["must_read_bytes"] for row in found["rows"]]
    assert bytes_read == sorted(bytes_read)


@pytest.mark.parametrize("title", ["hnswlib", "usearch", "ScaNN"])
@pytest.mark.usefixtures("quick")
def test_peers_that_are_installed_find_nearly_everything(title: str, drawn: data.Drawn, tmp_path: Path) -> None:
    kind = peers.PEERS[title]
    if (reason := kind.absent()) is not None:
        pytest.skip(reason)
    assert measure.measured(kind, "", drawn, tmp_path)["rows"][-1]["recall"] > 0.9


def test_lists_of_a_million() -> None:
    assert peers.lists(1_000_000) == 4096
    assert 10_000 / peers.lists(10_000) >= 39


def test_what_is_not_there_says_so() -> None:
    assert "no_such_module" in (missing("numpy", "no_such_module") or "")
    assert missing("numpy") is None
    assert named(path_of(kinds.Flat)) is kinds.Flat


def test_the_bandwidth_is_of_this_world() -> None:
    assert 0.1 < machine.bandwidth(2**24, 2)["best"] < 10_000


def test_fastest_at_a_recall() -> None:
    rows = [{"recall": 0.9, "p50_ms": 1.0}, {"recall": 0.96, "p50_ms": 3.0}, {"recall": 0.99, "p50_ms": 2.0}]
    assert summaries.fastest(rows, 0.95) == rows[2]
    assert summaries.fastest(rows, 0.999) is None


@pytest.mark.parametrize("driver", [False, True])
def test_torch_is_asked_for_a_gpu_only_where_there_may_be_one(driver: bool) -> None:
    code = (
        "import sys; from engine.bench import machine; "
        f"machine._cuda_driver = lambda: {driver}; machine.gpu(); print('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(driver)
