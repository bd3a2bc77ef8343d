"""Three plots: latency against N, recall against latency, memory against N. As SVG, the same bytes every time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot

from benchmarks.suite.summaries import fastest
from benchmarks.suite.tables import figures
from engine.bench.cells import Result
from engine.bench.report import Row

MARKS = "osv^<>DPX*hpd"
ENOUGH = 0.95
"""Recall@10 that a setting must reach to stand in the plots against N."""


def draw(results: Sequence[Result], out: Path) -> list[Path]:
    """The files written; none without searches."""
    pyplot.switch_backend("Agg")
    pyplot.rcParams["svg.hashsalt"] = "engine"
    rows = figures(results)
    data = list(dict.fromkeys(row["data"] for row in rows))
    if not data:
        return []
    names = list(dict.fromkeys(row["method"] for row in rows))
    style = {
        name: {"marker": MARKS[i % len(MARKS)], "color": f"C{i % 10}", "linestyle": "-" if "engine" in name else ":"}
        for i, name in enumerate(names)
    }
    written = [
        _against_n(rows, data, style, out / "suite_latency.svg", "p50_ms", f"ms, fastest at recall ≥ {ENOUGH}"),
        _against_n(rows, data, style, out / "suite_memory.svg", "resident_bytes", "memory, bytes"),
    ]
    sizes = sorted({row["models"] for row in rows})
    figure, panels = pyplot.subplots(
        len(data), len(sizes), figsize=(max(3.4 * len(sizes), 9), 3.4 * len(data) + 1), squeeze=False
    )
    for line, kind in zip(panels, data, strict=True):
        for axes, n in zip(line, sizes, strict=True):
            for name in names:
                own = [r for r in rows if (r["data"], r["models"], r["method"]) == (kind, n, name)]
                own.sort(key=lambda row: row["p50_ms"])
                axes.plot(
                    [r["p50_ms"] for r in own], [r["recall"] for r in own], label=name, markersize=4, **style[name]
                )
            axes.set_xscale("log")
            axes.set_title(f"{kind}, {n:,}", fontsize=9)
            axes.set_xlabel("ms a query")
            axes.grid(alpha=0.3)
        line[0].set_ylabel("recall@10")
    _save(figure, panels[0][0], out / "suite_recall.svg")
    return [*written, out / "suite_recall.svg"]


def _against_n(
    rows: Sequence[Row], data: Sequence[str], style: dict[str, dict[str, Any]], path: Path, key: str, label: str
) -> Path:
    figure, panels = pyplot.subplots(1, len(data), figsize=(max(5.2 * len(data), 9), 5), squeeze=False)
    for axes, kind in zip(panels[0], data, strict=True):
        for name, look in style.items():
            points = []
            for n in sorted({row["models"] for row in rows}):
                best = fastest(
                    [r for r in rows if (r["data"], r["models"], r["method"]) == (kind, n, name)],
                    ENOUGH if key == "p50_ms" else 0.0,
                )
                if best is not None and best[key]:
                    points.append((n, best[key]))
            axes.plot([n for n, _ in points], [value for _, value in points], label=name, markersize=4, **look)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(kind, fontsize=9)
        axes.set_xlabel("models")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel(label)
    _save(figure, panels[0][0], path)
    return path


def _save(figure: Any, axes: Any, path: Path) -> None:
    figure.tight_layout(rect=(0, 0.24, 1, 1))
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=7)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
