"""One searcher over one collection: built, measured in turns with FAISS's flat index, and dropped.

Rows stand beside two floors: the time that reading the bytes that a query must read takes at this machine's memory
bandwidth, and the flat index's own time in the same turns. Below the first are only those whose bytes stay in a cache.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.bench.data import KINDEST, Drawn
from engine.bench.machine import PACKAGES, bandwidth, machine, resident_bytes, trim
from engine.bench.searcher import Searcher
from engine.bench.timing import Entrant, in_turns, percentiles, rate

K, BATCH, THREADS = 10, 64, 2
YARDSTICK = "FAISS Flat"
Int64 = NDArray[np.int64]


def measured(kind: type[Searcher], variant: str, drawn: Drawn, folder: Path, *, k: int = K) -> dict[str, Any]:
    """A cell: one row a setting and family of queries, the yardstick's row, and what they were measured on.

    What is exact answers every family alike, and is asked the kindest.
    """
    import faiss

    faiss.omp_set_num_threads(1)
    n, d = drawn.vectors.shape
    for start in range(0, n, 65_536):  # the mapped file is in memory before anything is timed
        drawn.vectors[start : start + 65_536].max()
    kind.absent()  # imports its library, which is no index
    trim()
    before = resident_bytes()
    started = perf_counter()
    searcher = kind(variant, drawn.vectors, folder)
    built = perf_counter() - started
    try:
        trim()
        after = resident_bytes()
        own = None if before is None or after is None else after - before + searcher.elsewhere_bytes()
        flat = faiss.IndexFlatIP(d)
        flat.add(np.ascontiguousarray(drawn.vectors))
        reading = [bandwidth()]
        asked = {KINDEST: drawn.families[KINDEST]} if kind.exact else drawn.families
        turns = {family: _entrants(searcher, flat, queries.queries, k) for family, queries in asked.items()}
        for family, entrants in turns.items():
            in_turns(entrants, len(asked[family].queries))
        reading.append(bandwidth())
        best = max(one["best"] for one in reading)
        common = {"k": k, "bandwidth_gb_s": best}
        yardstick = {
            **common,
            **_row(turns[KINDEST][0], drawn.truth, k),
            **_floor(4 * n * d, "all", best, turns[KINDEST][0]),
            "batch_per_s": _flat_batch(flat, drawn, k),
        }
        rows = []
        for number, setting in enumerate(searcher.settings(), 1):
            searcher.use(setting)
            size, how = searcher.bytes_read(k)
            batch = _batch(searcher, drawn, k)
            for family, entrants in turns.items():
                row = {
                    **common,
                    "setting": dict(setting),
                    "family": family,
                    **_row(entrants[number], asked[family].truth, k),
                    **_floor(size, how, best, entrants[number]),
                    "batch_per_s": batch if family == KINDEST else None,
                    "build_s": built,
                    "resident_bytes": own,
                    "disk_bytes": searcher.disk_bytes(),
                    "flat_ms": percentiles(entrants[0].seconds)["p50_ms"],
                }
                row["over_flat"] = row["p50_ms"] / row["flat_ms"]
                rows.append(row)
    finally:
        searcher.close()
    return {
        "rows": rows,
        "yardstick": yardstick,
        "exact": kind.exact,
        "bandwidth": reading,
        "machine": machine((*PACKAGES, *kind.packages)),
    }


def recall(answers: Int64, truth: Int64, k: int) -> float:
    """The share of the k exactly best ``(q, ≥ k)``, or of all if there are fewer, that are among answers ``(q, k)``."""
    k = min(k, truth.shape[1])
    found = [len(np.intersect1d(own[own >= 0], best[:k])) for own, best in zip(answers, truth, strict=True)]
    return float(np.mean(found) / k)


def _entrants(searcher: Searcher, flat: Any, queries: NDArray[np.float32], k: int) -> list[Entrant]:
    """The yardstick, and the searcher at each of its settings."""
    found = [Entrant(YARDSTICK, lambda i: flat.search(queries[i : i + 1], k)[1], _one_thread)]
    return found + [
        Entrant(
            searcher.variant, lambda i: searcher.search(queries[i : i + 1], k),
            functools.partial(_use, searcher, setting),
        )
        for setting in searcher.settings()
    ]  # fmt: skip


def _row(entrant: Entrant, truth: Int64, k: int) -> dict[str, Any]:
    answers = np.concatenate(entrant.answers)
    return {
        **percentiles(entrant.seconds),
        "recall": recall(answers, truth, k),
        "top1": float((answers[:, 0] == truth[:, 0]).mean()),
    }


def _floor(size: int, how: str, gigabytes: float, entrant: Entrant) -> dict[str, Any]:
    floor = 1e3 * size / (1e9 * gigabytes)
    over = float(np.median(entrant.seconds)) * 1e3 / floor
    return {"must_read_bytes": size, "must_read": how, "floor_ms": floor, "over_floor": over}


def _batch(searcher: Searcher, drawn: Drawn, k: int) -> float:
    queries = np.resize(drawn.queries, (BATCH, drawn.queries.shape[1]))
    return rate(lambda: searcher.search_batch(queries, k, THREADS), BATCH)


def _flat_batch(flat: Any, drawn: Drawn, k: int) -> float:
    import faiss

    queries = np.resize(drawn.queries, (BATCH, drawn.queries.shape[1]))
    faiss.omp_set_num_threads(THREADS)
    try:
        return rate(lambda: flat.search(queries, k), BATCH)
    finally:
        faiss.omp_set_num_threads(1)


def _one_thread() -> None:
    import faiss

    faiss.omp_set_num_threads(1)


def _use(searcher: Searcher, setting: Mapping[str, Any]) -> None:
    _one_thread()
    searcher.use(setting)
