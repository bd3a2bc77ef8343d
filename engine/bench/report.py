"""Cells to tables: Markdown for people, JSON for everything else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.bench.cells import Result
from engine.bench.data import KINDEST
from engine.bench.measure import BATCH, THREADS, YARDSTICK, K

Row = dict[str, Any]
NOTE = (
    "Milliseconds a query, one thread, {queries} queries, d = {dimension}, k = {k}, seed {seed}; competitors in turns "
    "with FAISS's flat index, each in a process of its own. *Must read*: the bytes that a query cannot do "
    "without (≥: what can be "
    "counted of them); *floor*: the time that reading them takes one thread at the bandwidth measured in the same "
    "process ({bandwidth} GB/s), below which a time can lie only if they stay in a cache; *÷ flat*: against the flat "
    "index in the same turns. Memory is what the process grew by. Batches of {batch} run on {threads} threads."
)
COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("method", lambda row: row["method"]),
    ("setting", lambda row: setting_to_text(row["setting"])),
    ("queries", lambda row: family_of(row)),
    ("p50", lambda row: number(row["p50_ms"])),
    ("p95", lambda row: number(row["p95_ms"])),
    ("p99", lambda row: number(row["p99_ms"])),
    ("recall@10", lambda row: f"{row['recall']:.3f}"),
    ("top-1", lambda row: f"{row['top1']:.3f}"),
    ("memory, MB", lambda row: megabytes(row.get("resident_bytes"))),
    ("disk, MB", lambda row: megabytes(row.get("disk_bytes") or None)),
    ("must read, MB", lambda row: ("≥ " if row["must_read"] != "all" else "") + megabytes(row["must_read_bytes"])),
    ("floor", lambda row: number(row["floor_ms"])),
    ("time ÷ floor", lambda row: number(row["over_floor"])),
    ("÷ flat", lambda row: number(row.get("over_flat"))),
    (f"{BATCH} at once, queries/s", lambda row: number(row["batch_per_s"])),
    ("build, s", lambda row: number(row.get("build_s"))),
)


def family_of(row: Row) -> str:
    """The family of queries that a row was measured with; rows that do not say were with the kindest."""
    return str(row.get("family", KINDEST))


def rows_of(results: Iterable[Result]) -> list[Row]:
    """One row a searcher and setting, with what its cell says."""
    rows = []
    for result in results:
        if "rows" not in result:
            continue
        cell = result["cell"]
        for row in result["rows"]:
            method = f"{cell['title']} {cell['variant']}".strip()
            about = {"data": cell["data"], "models": cell["models"], "method": method, "exact": result["exact"]}
            rows.append({**about, **row, "yardstick": result["yardstick"]})
    return rows


def missing(results: Iterable[Result]) -> dict[str, str]:
    """What was not measured, and why."""
    return {
        f"{cell['title']} {cell['variant']}".strip() + f", {cell['data']}, {cell['models']}": result["missing"]
        for result in results
        if "missing" in result
        for cell in (result["cell"],)
    }


def searches_to_markdown(results: Sequence[Result]) -> str:
    """A table for each collection and size, then what is missing."""
    rows = rows_of(results)
    parts = []
    if rows:
        cell = next(result["cell"] for result in results if "rows" in result)
        rates = [row["bandwidth_gb_s"] for row in rows]
        parts.append(
            NOTE.format(
                queries=cell["queries"], dimension=cell["dimension"], seed=cell["seed"], k=K, batch=BATCH,
                threads=THREADS, bandwidth=f"{min(rates):.1f}–{max(rates):.1f}",
            )
        )  # fmt: skip
        where = next(result["machine"] for result in results if "rows" in result)
        parts.append(machine_to_text(where, results))
    for data, models in dict.fromkeys((row["data"], row["models"]) for row in rows):
        own = [row for row in rows if (row["data"], row["models"]) == (data, models)]
        parts.append(f"#### {data}, {models:,} models")
        parts.append(table([name for name, _ in COLUMNS], [[cell(row) for _, cell in COLUMNS] for row in own]))
    absent = missing(results)
    if absent:
        grouped: dict[str, list[str]] = {}
        for what, why in absent.items():
            grouped.setdefault(why, []).append(what)
        parts.append("Not measured:\n\n" + "\n".join(f"- {'; '.join(what)}: {why}" for why, what in grouped.items()))
    return "\n\n".join(parts) + "\n"


def machine_to_text(where: Mapping[str, Any], results: Iterable[Result] = ()) -> str:
    """One sentence on the machine, and the versions."""
    versions: dict[str, str] = {}
    for result in results:
        versions |= result.get("machine", {}).get("versions", {})
    listed = ", ".join(f"{name} {number}" for name, number in sorted((versions or where["versions"]).items()))
    cache = f", last-level cache {where['last_level_cache']}" if where.get("last_level_cache") else ""
    graphics = where["gpu"] or "no GPU: rows that need one are absent"
    return (
        f"{where['cores']} cores of {where['cpu']}, {megabytes(where['memory_bytes'])} MB{cache}; {graphics}; "
        f"Python {where['python']}, {listed}."
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; every column but the first two is of figures."""
    marks = ["---" if place < 2 else "--:" for place in range(len(header))]
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(marks)}|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def write_report(results: Sequence[Result], out: Path, name: str) -> list[Path]:
    """``NAME.json`` and ``NAME.md`` in ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    found = {"yardstick": YARDSTICK, "results": list(results)}
    (out / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(searches_to_markdown(results), encoding="utf-8")
    return [out / f"{name}.json", out / f"{name}.md"]


def setting_to_text(setting: Mapping[str, Any]) -> str:
    """``nprobe 64, k_factor 16``."""
    return ", ".join(f"{name} {value}" for name, value in setting.items()) or "–"


def number(value: float | None) -> str:
    """Three digits that count, never in powers of ten; – for None."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def megabytes(count: float | None) -> str:
    """Of 10⁶ bytes."""
    return "–" if count is None else number(count / 1e6)
