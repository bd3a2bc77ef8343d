"""The suite's results as tables under ``benchmarks/results``, from which the docs are filled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.tables import Table
from benchmarks.suite.papers import papers_table
from benchmarks.suite.tasks import Loading
from engine.bench import report
from engine.bench.cells import Result
from engine.bench.report import fastest, megabytes, number

RECALLS = (0.9, 0.95, 0.99, 1.0)
Spread = dict[str, float]


def of(results: Sequence[Result], *titles: str) -> list[Result]:
    """The cells of some titles that were measured."""
    return [result for result in results if result["cell"]["title"] in titles and "rows" in result]


def write(results: Sequence[Result], tasks: Sequence[str], out: Path) -> list[Path]:
    """Everything that was measured; tables of which nothing was are left as they are."""
    searches = [result for result in results if result["cell"]["title"] not in tasks]
    written = []
    if any("rows" in result for result in searches):
        written += report.write_report(searches, out, "suite_search")
    loading = of(results, "loading")
    tables = [recall_table(searches), largest_table(searches), scale_table(results),
              density_table(of(results, "density")), collection_table(of(results, "collection")),
              moments_table(of(results, "moments")), *(loading_table(one) for one in loading)]  # fmt: skip
    data = [result["cell"]["data"] for result in of(results, "collection", "zoo", "density")]
    if data:
        tables.append(papers_table(results, "simulated" if "simulated" in data else data[0]))
    for table in tables:
        if table.rows:
            table.write(out)
            written += [out / f"{table.name}.{suffix}" for suffix in ("md", "json")]
    absent = report.missing([result for result in results if result["cell"]["title"] in tasks])
    if absent:
        lines = [f"- {what}: {why}" for what, why in absent.items()]
        (out / "suite_missing.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        written.append(out / "suite_missing.md")
    return written


def largest_table(searches: Sequence[Result]) -> Table:
    """``recall_table`` of the largest clustered collection alone: what the README shows."""
    clustered = [result for result in searches if result["cell"]["data"] == "clustered" and "rows" in result]
    most = max((result["cell"]["models"] for result in clustered), default=0)
    return recall_table([result for result in clustered if result["cell"]["models"] == most], "suite_largest")


def recall_table(searches: Sequence[Result], name: str = "suite_recall") -> Table:
    """Of each method, the fastest setting that reaches a recall."""
    table = Table(
        name, "The fastest setting at a recall",
        "Median milliseconds a query of the fastest setting whose recall@10 is at least that, on one thread; in "
        "brackets, the share of FAISS flat's time in the same turns. – if no setting of the grid reaches it.",
        ("collection", "models", "method", *(f"recall ≥ {least}" for least in RECALLS), "memory, MB"),
    )  # fmt: skip
    rows = report.rows_of(searches)
    for key in dict.fromkeys((row["data"], row["models"], row["method"]) for row in rows):
        own = [row for row in rows if (row["data"], row["models"], row["method"]) == key]
        best = {least: fastest(own, least) for least in RECALLS}
        cells = [
            "–" if row is None else f"{number(row['p50_ms'])} ({number(row['over_flat'])})" for row in best.values()
        ]
        table.add(
            (key[0], f"{key[1]:,}", key[2], *cells, megabytes(own[0]["resident_bytes"])),
            data=key[0], models=key[1], method=key[2], resident_bytes=own[0]["resident_bytes"],
            best={str(least): row and {k: row[k] for k in ("setting", "p50_ms", "recall", "over_flat")}
                  for least, row in best.items()},
        )  # fmt: skip
    return table


def scale_table(results: Sequence[Result]) -> Table:
    """The engine's exact kinds beside the bare FAISS call."""
    kinds = {"FAISS flat": "FAISS Flat", "flat": "engine flat", "panorama": "engine panorama", "live": "engine live"}
    table = Table(
        "scale_search", "Exact first-moment search",
        "Milliseconds a query (k = 10, one thread; median [p95, p99]). *Live*: the kind that suits the "
        "collection, with "
        "up to 1 000 models added and 100 removed since it was built. *Written*: from a model's commit to an answer "
        "with it, median [least–most].",
        ("models", "collection", *kinds, "written"),
    )  # fmt: skip
    rows = report.rows_of([result for result in results if result["cell"]["title"] in kinds.values()])
    for models, data in dict.fromkeys((row["models"], row["data"]) for row in rows):
        own = {row["method"]: row for row in rows if (row["models"], row["data"]) == (models, data)}
        found = [own.get(title) for title in kinds.values()]
        visible = next(
            (
                row["visible_seconds"]
                for result in of(results, "collection")
                if (result["cell"]["models"], result["cell"]["data"]) == (models, data)
                for row in result["rows"]
                if row["step"] == "commit to visible"
            ),
            None,
        )
        cells = ["–" if row is None else f"{number(row['p50_ms'])} [{number(row['p95_ms'])}, {number(row['p99_ms'])}]"
                 for row in found]  # fmt: skip
        table.add(
            (f"{models}", data, *cells, "–" if visible is None else spread_to_text(visible, 1e3)),
            models=models, collection=data, visible_seconds=visible,
            milliseconds={name: row and {k: row[k] for k in ("p50_ms", "p95_ms", "p99_ms")}
                          for name, row in zip(kinds, found, strict=True)},
        )  # fmt: skip
    return table


def density_table(results: Sequence[Result]) -> Table:
    """One row a way of scoring, collection and size."""
    table = Table(
        "suite_density", "Gaussian density",
        "Milliseconds a query, one thread, each model's own covariance, or drawn toward what all share where it says "
        "*shrunk*, as the engine does by default. *Scored*: densities that a query computes. "
        "*Moments*: from blobs in SQL, or, where these do not fit the disk, made from the model's number in place of "
        "SQL. *Floor*: reading the scored models' packed factors (full squares where all are scored at once) at the "
        "measured bandwidth; a re-ranking that drops candidates early can lie below it. Recall and top-1 against "
        "the float64 "
        "density of all models, where these are few enough.",
        ("collection", "models", "method", "moments", "scored", "p50", "p95", "p99", "ms a candidate", "must read, MB",
         "floor", "time ÷ floor", "recall@10", "top-1", "memory, MB"),
    )  # fmt: skip
    for result in results:
        cell = result["cell"]
        for row in result["rows"]:
            table.add(
                (
                    cell["data"], f"{cell['models']:,}", row["method"], row["moments"], f"{row['scored']}",
                    *(number(row[key]) for key in ("p50_ms", "p95_ms", "p99_ms", "ms_a_candidate")),
                    megabytes(row["must_read_bytes"]), number(row["floor_ms"]), number(row["over_floor"]),
                    *("–" if row.get(key) is None else f"{row[key]:.3f}" for key in ("recall", "top1")),
                    megabytes(row.get("resident_bytes")),
                ),
                data=cell["data"], models=cell["models"], **row,
            )  # fmt: skip
    return table


def collection_table(results: Sequence[Result]) -> Table:
    """What a collection of means in SQLite costs, from loading to searching."""
    table = Table(
        "suite_collection", "A collection of means in SQLite",
        "*Opening*: `Engine.open` and the first answer, the snapshot read and verified. *Commit*, *visible*: one new "
        "model written, and the search after it that finds it. *Search*: `search_vectors` and the bare FAISS "
        "flat call in "
        "turns, milliseconds; it is the faster where the collection's index drops models early.",
        ("collection", "models", "loaded, models/s", "index from SQL, s", "opening, s", "commit, ms", "visible, ms",
         "FAISS flat", "search_vectors", "more, µs", "same answers", "disk, MB", "memory, MB"),
    )  # fmt: skip
    for result in results:
        cell, steps = result["cell"], {row["step"]: row for row in result["rows"]}
        found, bare = steps["search_vectors"], steps["bare FAISS Flat"]
        written, loaded = steps["commit to visible"], steps["loading"]
        table.add(
            (
                cell["data"], f"{cell['models']:,}", f"{loaded['models_per_s']:.0f}",
                number(steps["index built from SQL, first answer"]["seconds"]),
                spread_to_text(steps["opening the snapshot, first answer"]["seconds"]),
                spread_to_text(written["commit_seconds"], 1e3), spread_to_text(written["visible_seconds"], 1e3),
                number(bare["p50_ms"]), number(found["p50_ms"]), number(found["microseconds_more"]),
                f"{100 * found['same_answers']:.1f} %", megabytes(steps["disk"]["bytes"]),
                megabytes(steps.get("memory of an open collection", {}).get("bytes")),
            ),
            data=cell["data"], models=cell["models"], steps=result["rows"],
        )  # fmt: skip
    return table


def moments_table(results: Sequence[Result]) -> Table:
    """Features to moments."""
    table = Table(
        "suite_moments", "Moments of features",
        "Mean and covariance of the features in one process, one BLAS thread: seconds, median [least–most] of "
        "interleaved runs.",
        ("features", "way", "seconds", "Gflop/s", "largest difference from NumPy's"),
    )  # fmt: skip
    for result in results:
        for row in result["rows"]:
            table.add(
                (
                    f"{row['features']:,} × {row['dimension']}", row["way"], spread_to_text(row["seconds"]),
                    number(row["gigaflops"]), f"{row['largest_difference']:.1e}",
                ),
                **row,
            )  # fmt: skip
    return table


def loading_table(result: Result) -> Table:
    """Means into SQLite."""
    cell = result["cell"]
    table = Table(
        "scale_loading", "Bulk loading",
        f"{cell['models']} means (d = {cell['dimension']}) into SQLite by `Engine.ingest_statistics`: models a second, "
        f"median [lowest–highest] of {Loading.REPEATS} runs into fresh databases; then the same again, which "
        f"changes nothing.",
        ("", "models a second"),
    )  # fmt: skip
    for row in result["rows"]:
        rates: list[float] = row["rates"]
        low, middle, high = (f"{round(value, -1):.0f}" for value in (min(rates), float(np.median(rates)), max(rates)))
        table.add((row["run"], f"{middle} [{low}–{high}]"), run=row["run"], rates=rates)
    return table


def spread_to_text(spread: Spread, scale: float = 1.0) -> str:
    """Median [least–most]."""
    least, middle, most = (number(scale * spread[key]) for key in ("least", "median", "most"))
    return f"{middle} [{least}–{most}]"


def figures(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Rows of searches, for the plots."""
    return report.rows_of([result for result in results if "yardstick" in result])
