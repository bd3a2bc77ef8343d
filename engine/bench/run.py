"""``engine bench``: the engine's kinds, and peers if they are wanted, over collections of some sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.bench import report
from engine.bench.cells import Result, Say, cells, measure_all
from engine.bench.kinds import KINDS
from engine.bench.peers import PEERS, FaissFlat
from engine.bench.searcher import Searcher

NAME = "bench"
missing = report.missing


def measure(
    sizes: Sequence[int],
    data: Sequence[str],
    *,
    queries: int,
    dimension: int,
    seed: int,
    out: Path,
    scratch: Path,
    peers: bool,
    again: bool,
    say: Say,
) -> list[Result]:
    """Every cell's result, in order of size."""
    others: dict[str, type[Searcher]] = PEERS if peers else {"FAISS Flat": FaissFlat}
    kinds = {**KINDS, **others}
    wanted = cells(kinds, sizes, data, dimension=dimension, queries=queries, seed=seed)
    return measure_all(wanted, out / "cells", scratch, again=again, say=say)


def write(results: Sequence[Result], out: Path) -> list[Path]:
    """``bench.json`` and ``bench.md``."""
    return report.write_report(results, out, NAME)


def rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The table's cells by column, with the collection that they are of."""
    return [
        {"data": row["data"], "models": row["models"], **{name: cell(row) for name, cell in report.COLUMNS}}
        for row in report.rows_of(results)
    ]
