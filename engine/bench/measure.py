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

from engine.bench.data import Drawn
from engine.bench.machine import PACKAGES, bandwidth, machine, resident_bytes, trim
from engine.bench.searcher import Searcher
from engine.bench.timing import Entrant, in_turns, percentiles, rate

K, BATCH, THREADS = 10, 64, 2
YARDSTICK = "FAISS Flat"
Int64 = NDArray[np.int64]


def measured(kind: type[Searcher], variant: str, drawn: Drawn, folder: Path, *, k: int = K) -> dict[str, Any]:
    """A cell: one row a setting, the yardstick's row, and what they were measured on."""
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
        settings = list(searcher.settings())
        entrants = [Entrant(YARDSTICK, lambda i: flat.search(drawn.queries[i : i + 1], k)[1], _one_thread)]
        entrants += [
            Entrant(
                searcher.variant,
                lambda i: searcher.search(drawn.queries[i : i + 1], k),
                functools.partial(_use, searcher, setting),
            )
            for setting in settings
        ]
        in_turns(entrants, len(drawn.queries))
        reading.append(bandwidth())
        best = max(one["best"] for one in reading)
        common = {"k": k, "bandwidth_gb_s": best}
        yardstick = {
            **common,
            **_row(entrants[0], drawn, k),
            **_floor(4 * n * d, "all", best, entrants[0]),
            "batch_per_s": _flat_batch(flat, drawn, k),
        }
        rows = []
        for setting, entrant in zip(settings, entrants[1:], strict=True):
            searcher.use(setting)
            size, how = searcher.bytes_read(k)
            row = {
                **common,
                "setting": dict(setting),
                **_row(entrant, drawn, k),
                **_floor(size, how, best, entrant),
                "batch_per_s": _batch(searcher, drawn, k),
                "build_s": built,
                "resident_bytes": own,
                "disk_bytes": searcher.disk_bytes(),
            }
            row["over_flat"] = row["p50_ms"] / yardstick["p50_ms"]
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


def _row(entrant: Entrant, drawn: Drawn, k: int) -> dict[str, Any]:
    answers = np.concatenate(entrant.answers)
    return {
        **percentiles(entrant.seconds),
        "recall": recall(answers, drawn.truth, k),
        "top1": float((answers[:, 0] == drawn.truth[:, 0]).mean()),
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
