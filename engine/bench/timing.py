"""Times of several competitors, taken in turns, so that what else the machine does falls on all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

STRETCH = 10
"""Queries that one competitor answers before the next has its turn."""
WARM = 3
"""Queries that everyone answers before the first turn; one more, uncounted, opens each turn: caches are cold then."""


@dataclass(eq=False)
class Entrant:
    """A competitor: ``ready`` is called before each turn, outside the clock; ``work`` answers the query of a number.

    ``work`` returns when the answer is there: on a GPU it synchronises.
    """

    name: str
    work: Callable[[int], Any]
    ready: Callable[[], None] = lambda: None
    seconds: list[float] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)


def in_turns(entrants: Sequence[Entrant], queries: int, *, stretch: int = STRETCH, warm: int = WARM) -> None:
    """Let everyone answer the queries 0 … ``queries`` − 1, and note ``seconds`` and ``answers`` in that order.

    Who begins changes from stretch to stretch.
    """
    for entrant in entrants:
        entrant.ready()
        for number in range(min(warm, queries)):
            entrant.work(number)
    for turn, start in enumerate(range(0, queries, stretch)):
        first = turn % max(len(entrants), 1)
        for entrant in (*entrants[first:], *entrants[:first]):
            entrant.ready()
            entrant.work((start - 1) % queries)
            for number in range(start, min(start + stretch, queries)):
                started = perf_counter()
                answer = entrant.work(number)
                entrant.seconds.append(perf_counter() - started)
                entrant.answers.append(answer)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile in milliseconds, and how many they are of."""
    middle, high, highest = np.percentile(np.asarray(seconds) * 1e3, [50, 95, 99])
    return {"p50_ms": float(middle), "p95_ms": float(high), "p99_ms": float(highest), "timed": float(len(seconds))}


def rate(work: Callable[[], Any], items: int, *, least: int = 5, seconds: float = 0.5) -> float:
    """Items a second: the median of ``least`` runs or more, ``seconds`` of them, after one that is not counted.

    Where a run takes long, three are enough.
    """
    work()
    taken: list[float] = []
    while len(taken) < least or sum(taken) < seconds:
        started = perf_counter()
        work()
        taken.append(perf_counter() - started)
        if len(taken) >= 3 and sum(taken) > 10 * seconds:
            break
    return items / float(np.median(taken))


def on_threads(work: Callable[[int], Any], items: int, threads: int) -> list[Any]:
    """``work(0)`` … ``work(items − 1)`` on several threads, in that order."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(items)))
