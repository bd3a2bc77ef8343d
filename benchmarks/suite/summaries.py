"""What the suite's tables say of several figures, and what its searchers and tasks take on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from engine.bench.report import Row


def fastest(rows: Iterable[Row], least: float) -> Row | None:
    """The row with the least median among those whose recall is at least ``least``."""
    able = [row for row in rows if row["recall"] >= least]
    return min(able, key=lambda row: row["p50_ms"]) if able else None


def spread(values: Sequence[float]) -> dict[str, float]:
    """The least, the median and the most."""
    return {"least": float(min(values)), "median": float(np.median(values)), "most": float(max(values))}


def folder_bytes(folder: Path) -> int:
    """The sizes of all files under a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
