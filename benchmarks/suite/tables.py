"""The suite's results as tables under ``benchmarks/results``, from which the docs are filled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.tables import Table
from benchmarks.suite.papers import papers_table
from benchmarks.suite.summaries import fastest
from benchmarks.suite.tasks import Loading
from engine.bench import report
from engine.bench.cells import Result
from engine.bench.data import KINDEST
from engine.bench.report import family_of, megabytes, number

RECALLS = (0.9, 0.95, 0.99, 1.0)
FAMILY_RECALLS = (0.95, 0.98, 0.99)
ASKED = (0.9, 0.95, 0.98, 0.99)
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
    tables = [recall_table(searches), largest_table(searches), families_table(searches), promise_table(searches),
              scale_table(results),
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
    return recall_table(largest(searches), "suite_largest")


def largest(searches: Sequence[Result]) -> list[Result]:
    """The cells of the largest clustered collection."""
    clustered = [result for result in searches if result["cell"]["data"] == "clustered" and "rows" in result]
    most = max((result["cell"]["models"] for result in clustered), default=0)
    return [result for result in clustered if result["cell"]["models"] == most]


def hardest(rows: Sequence[report.Row]) -> str:
    """The family of queries that leaves approximate methods the lowest recall, averaged over all of their settings."""
    recalls: dict[str, list[float]] = {}
    for row in rows:
        if not row["exact"]:
            recalls.setdefault(family_of(row), []).append(row["recall"])
    return min(recalls, key=lambda family: float(np.mean(recalls[family])), default=KINDEST)


def recall_table(searches: Sequence[Result], name: str = "suite_recall") -> Table:
    """Of each method, the fastest setting that reaches a recall, for the kindest and the hardest family of queries."""
    table = Table(
        name, "The fastest setting at a recall",
        "Median milliseconds a query of the fastest setting whose measured recall@10 is at least that, on one thread, "
        "for the kindest family of queries and for the hardest that was asked; in "
        "brackets, the share of FAISS flat's time in the same turns. – if no setting of the grid reaches it. What is "
        "exact answers all families alike.",
        ("collection", "models", "method", "queries", *(f"recall ≥ {least}" for least in RECALLS), "memory, MB"),
    )  # fmt: skip
    rows = report.rows_of(searches)
    for data, models in dict.fromkeys((row["data"], row["models"]) for row in rows):
        there = [row for row in rows if (row["data"], row["models"]) == (data, models)]
        families = dict.fromkeys((KINDEST, hardest(there)))
        for method in dict.fromkeys(row["method"] for row in there):
            for family in families:
                own = [row for row in there if (row["method"], family_of(row)) == (method, family)]
                if own:
                    _add_recalls(table, own, data, models, method, family)
    return table


def _add_recalls(
    table: Table, own: Sequence[report.Row], data: str, models: int, method: str, family: str
) -> None:  # fmt: skip
    best = {least: fastest(own, least) for least in RECALLS}
    cells = ["–" if row is None else f"{number(row['p50_ms'])} ({number(row['over_flat'])})" for row in best.values()]
    table.add(
        (data, f"{models:,}", method, family, *cells, megabytes(own[0]["resident_bytes"])),
        data=data, models=models, method=method, family=family, resident_bytes=own[0]["resident_bytes"],
        best={str(least): row and {k: row[k] for k in ("setting", "p50_ms", "recall", "over_flat")}
              for least, row in best.items()},
    )  # fmt: skip


def families_table(searches: Sequence[Result]) -> Table:
    """Of the largest clustered collection: what each family of queries costs at the same measured recall."""
    table = Table(
        "suite_families", "Families of queries at the same measured recall",
        "Median milliseconds a query, one thread, of the fastest setting whose measured recall@10 is at least that, "
        "recall in brackets. FAISS: the best of its strings. *÷*: the engine's share of that. *Flat*: "
        "FAISS's flat index in the same turns.",
        ("queries", "recall ≥", "engine", "FAISS", "string and setting", "÷", "flat"),
    )  # fmt: skip
    rows = report.rows_of(largest(searches))
    for family in dict.fromkeys(family_of(row) for row in rows):
        own = [row for row in rows if family_of(row) == family]
        for least in FAMILY_RECALLS:
            ours = fastest([row for row in own if row["method"] == "engine approximate"], least)
            theirs = fastest([row for row in own if row["method"].startswith("FAISS IVF")], least)
            if ours is None:
                continue
            share = None if theirs is None else ours["p50_ms"] / theirs["p50_ms"]
            how = "–" if theirs is None else f"{theirs['method']}, {report.setting_to_text(theirs['setting'])}"
            table.add(
                (
                    family, f"{least}", f"{number(ours['p50_ms'])} ({ours['recall']:.3f})",
                    "–" if theirs is None else f"{number(theirs['p50_ms'])} ({theirs['recall']:.3f})",
                    how, number(share), number(ours["flat_ms"]),
                ),
                family=family, recall=least, engine=ours["p50_ms"], engine_recall=ours["recall"],
                faiss=theirs and theirs["p50_ms"], faiss_recall=theirs and theirs["recall"], share=share,
                flat=ours["flat_ms"],
            )  # fmt: skip
    return table


def promise_table(searches: Sequence[Result]) -> Table:
    """Of the largest clustered collection: the recall that was asked of the engine, and what was measured."""
    table = Table(
        "suite_promise", "The recall that is asked for, and what queries get",
        "Measured recall@10 and median milliseconds a query, one thread. None of these queries had a part in choosing "
        "settings, nor had their spectra.",
        ("queries", *(f"asked {asked}" for asked in ASKED), "flat, ms"),
    )  # fmt: skip
    rows = [row for row in report.rows_of(largest(searches)) if row["method"] == "engine approximate"]
    for family in dict.fromkeys(family_of(row) for row in rows):
        own = {row["setting"]["recall"]: row for row in rows if family_of(row) == family}
        asked = [own[value] for value in ASKED if value in own]
        if len(asked) == len(ASKED) and "flat_ms" in asked[0]:
            table.add(
                (
                    family, *(f"{row['recall']:.3f} in {number(row['p50_ms'])}" for row in asked),
                    number(asked[0]["flat_ms"]),
                ),
                family=family, flat=asked[0]["flat_ms"],
                measured={str(row["setting"]["recall"]): [row["recall"], row["p50_ms"]] for row in asked},
            )  # fmt: skip
    return table


def scale_table(results: Sequence[Result]) -> Table:
    """The engine's exact kinds beside the bare FAISS call."""
    kinds = {"FAISS flat": "FAISS Flat", "flat": "engine flat", "live": "engine live"}
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
    """Rows of searches with the kindest queries, for the plots."""
    rows = report.rows_of([result for result in results if "yardstick" in result])
    return [row for row in rows if family_of(row) == KINDEST]
