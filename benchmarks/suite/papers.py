"""The papers' timing table beside ours, and both beside what their machines can do.

Theirs is Table 7 of Lu et al. (SIGGRAPH Asia 2023), on an RTX A5000 with everything in its memory; None is *out of
memory*. A score of all models must read their statistics once, and the card reads 768 GB a second (its data sheet).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.accuracy.tables import Table
from engine.bench.cells import Result
from engine.bench.data import DIMENSION
from engine.bench.report import megabytes, number

CARD_GB_S = 768.0
SIZES = (259, 10_000, 1_000_000)
MC, GD, GD_FT, FM, FM_FT = (
    "Monte-Carlo (2.4K)",
    "Gaussian density",
    "Gaussian density (FT)",
    "1st moment",
    "1st moment (FT)",
)
THEIRS: dict[tuple[str, str], tuple[float | None, float | None, float | None]] = {
    ("text", MC): (0.19, None, None),
    ("text", FM): (0.09, 0.16, 0.21),
    ("text", FM_FT): (0.17, 0.30, 0.33),
    ("image", MC): (0.19, None, None),
    ("image", GD): (0.45, 0.49, None),
    ("image", GD_FT): (0.45, 0.49, None),
    ("image", FM): (0.06, 0.15, 0.19),
    ("image", FM_FT): (0.15, 0.28, 0.32),
}
NOTE = (
    "Milliseconds to score and rank all models, without encoding the query. *Theirs*: RTX A5000, everything in its "
    "memory; *floor*: reading the statistics once at the card's {card:.0f} GB/s. *Ours*: median of one thread, ranking "
    "included, everything synchronised, on the *{data}* data set, over the same statistics read once at this machine's "
    "measured bandwidth. Densities of more than 259 models are those of a shortlist by first moment, re-ranked "
    "exactly, "
    "and so lie below the time of reading all of them."
)
WHY = (
    "**Why theirs cannot be right.** Of their {counted} figures, {below} lie below their floor, by up to {most:.0f} "
    "times: the card would have had to read its memory at {rate:.1f} TB/s. The likeliest reason is that launches on a "
    "GPU are asynchronous and the clock was stopped before the device had finished; times that hardly grow from 259 "
    "models to a million, four thousand times as much to read, fit that."
)


def must_read(method: str, n: int, d: int = DIMENSION) -> int:
    """Bytes that a score of all models reads, kept as the papers' code does: float32, full squares."""
    if method == MC:
        return 4 * n * 2400 * d
    if method in (GD, GD_FT):
        return 4 * n * d * d
    return 4 * n * d + (4 * d * d if method == FM_FT else 0)


def below_floor() -> tuple[int, int, float, float]:
    """How many figures there are, how many lie below the floor, by how much at most, and the TB/s that takes."""
    ratios = [
        (floor_ms(method, n) / theirs, must_read(method, n) / theirs / 1e9)
        for (_, method), row in THEIRS.items()
        for n, theirs in zip(SIZES, row, strict=True)
        if theirs is not None
    ]
    most, rate = max(ratios)
    return len(ratios), sum(ratio > 1 for ratio, _ in ratios), most, rate


def floor_ms(method: str, n: int) -> float:
    """Of the card."""
    return 1e3 * must_read(method, n) / (1e9 * CARD_GB_S)


def papers_table(results: Sequence[Result], data: str) -> Table:
    """One row a method and size; ours is – where it was not measured."""
    counted, below, most, rate = below_floor()
    why = WHY.format(counted=counted, below=below, most=most, rate=rate)
    note = f"{NOTE.format(card=CARD_GB_S, data=data)}\n\n{why}"
    table = Table(
        "suite_papers", "The papers' timing table", note,
        ("query", "method", "models", "theirs", "must read, MB", "floor", "theirs ÷ floor", "ours",
         "ours ÷ floor", "how"),
    )  # fmt: skip
    for (modality, method), row in THEIRS.items():
        for n, theirs in zip(SIZES, row, strict=True):
            ours, how = _ours(results, data, method, n)
            floor, read = floor_ms(method, n), _bandwidth(results)
            over = None if ours is None else ours / (1e3 * must_read(method, n) / (1e9 * read))
            table.add(
                (
                    modality, method, f"{n:,}", "out of memory" if theirs is None else f"{theirs:.2f}",
                    megabytes(must_read(method, n)), number(floor), number(None if theirs is None else theirs / floor),
                    number(ours), number(over), "–" if ours is None else how,
                ),
                query=modality, method=method, models=n, theirs_ms=theirs, must_read_bytes=must_read(method, n),
                floor_ms=floor, ours_ms=ours, ours_over_floor=over, bandwidth_gb_s=read,
                how=how,
            )  # fmt: skip
    return table


def _ours(results: Sequence[Result], data: str, method: str, n: int) -> tuple[float | None, str]:
    """The median, and what it is of."""
    if method == MC:
        return _step(results, "zoo", data, n, "search_vectors, monte_carlo"), "all kept samples"
    if method in (FM, FM_FT):
        step = "search_vectors" if method == FM else "search_vectors, learned first_moment"
        return _step(results, "collection", data, n, step), "the index that suits the collection"
    if n == SIZES[0]:
        step = "search_vectors, gaussian_density" if method == GD else "search_vectors, learned gaussian_density"
        return _step(results, "zoo", data, n, step), "all models"
    if method == GD:
        for name, how in (
            ("engine search_vectors(method='gaussian_density')", "shortlist, factors from SQL and a cache"),
            ("shortlist and packed factors", "shortlist, factors from a mapped file"),
        ):
            for row in _rows(results, "density", data, n):
                if row["method"] == name:
                    return row["p50_ms"], how
    return None, "–"


def _bandwidth(results: Sequence[Result]) -> float:
    """The best that any cell measured."""
    return float(max(one["best"] for result in results for one in result.get("bandwidth", ())))


def _step(results: Sequence[Result], title: str, data: str, n: int, step: str) -> float | None:
    return next((row["p50_ms"] for row in _rows(results, title, data, n) if row.get("step") == step), None)


def _rows(results: Sequence[Result], title: str, data: str, n: int) -> list[dict[str, Any]]:
    for result in results:
        cell = result["cell"]
        if (cell["title"], cell["data"], cell["models"]) == (title, data, n):
            return list(result.get("rows", ()))
    return []
