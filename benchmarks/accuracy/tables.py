"""A table of results: what it shows, its cells as text for Markdown, and the same figures as data for JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.evaluation.bootstrap import Difference, Estimate

RESULTS = Path(__file__).resolve().parents[1] / "results"


@dataclass
class Table:
    """``name`` is the file's name under ``benchmarks/results``; ``note`` stands above the table."""

    name: str
    title: str
    note: str
    header: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)

    def add(self, cells: Sequence[str], **data: Any) -> None:
        """One row, and its figures."""
        assert len(cells) == len(self.header), (cells, self.header)
        self.rows.append(list(cells))
        self.data.append(data)

    def to_markdown(self) -> str:
        """Note and table; columns whose cells are figures are right-aligned."""
        figures = [
            all(row[i].lstrip("*")[:1] in "0123456789-+−–" for row in self.rows) for i in range(len(self.header))
        ]
        lines = [
            *([self.note, ""] if self.note else []),
            f"| {' | '.join(self.header)} |",
            f"|{'|'.join('--:' if right else '---' for right in figures)}|",
            *(f"| {' | '.join(row)} |" for row in self.rows),
        ]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path = RESULTS) -> None:
        """``NAME.md`` and ``NAME.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.md").write_text(self.to_markdown(), encoding="utf-8")
        data = {"title": self.title, "note": self.note, "rows": self.data}
        (folder / f"{self.name}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read_rows(name: str) -> list[dict[str, Any]]:
    """The figures of a table that was written."""
    rows: list[dict[str, Any]] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    return rows


def to_data(found: Estimate | Difference) -> dict[str, float | None]:
    """The figures of an estimate, rounded to what they are worth; None where there is none."""
    return {key: None if math.isnan(value) else round(float(value), 5) for key, value in vars(found).items()}
