"""Times of calls that return when their answer is on the host, and how fast a device reads its own memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

WARM, LEAST, MOST = 3, 5, 2000
"""Calls that are not counted, the least that are, and the most."""


def synchronised(device: str) -> Callable[[], None]:
    """What waits until the device has nothing left to do."""
    import torch

    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def timed(work: Callable[[int], Any], device: str, seconds: float) -> dict[str, float]:
    """Milliseconds of ``work(0)``, ``work(1)`` …: median, quartiles, extremes, and how many were timed."""
    wait = synchronised(device)
    for turn in range(WARM):
        work(turn)
    taken: list[float] = []
    ends = time.monotonic() + seconds
    while len(taken) < LEAST or (time.monotonic() < ends and len(taken) < MOST):
        wait()
        started = time.perf_counter()
        work(len(taken))
        wait()
        taken.append(time.perf_counter() - started)
    low, middle, high = 1e3 * np.percentile(taken, [25, 50, 75])
    return {
        "median_ms": float(middle), "p25_ms": float(low), "p75_ms": float(high), "least_ms": 1e3 * min(taken),
        "most_ms": 1e3 * max(taken), "timed": len(taken),
    }  # fmt: skip


def bandwidth(device: str) -> dict[str, float]:
    """Gigabytes (10⁹) a second that the device reads: the fastest of three reductions of a large array, in turns."""
    import torch

    wait = synchronised(device)
    numbers = torch.ones(2**29 if device.startswith("cuda") else 2**24, device=device)
    kinds = (lambda: numbers.sum(), lambda: numbers.max(), lambda: torch.dot(numbers, numbers))
    rates = []
    for turn in range(8):
        for work in kinds:
            wait()
            started = time.perf_counter()
            work()
            wait()
            if turn:
                rates.append(4 * len(numbers) / (time.perf_counter() - started) / 1e9)
    return {"best_gb_s": max(rates), "median_gb_s": float(np.median(rates)), "bytes": float(4 * len(numbers))}


def beside_floor(row: dict[str, Any], must_read: int, gigabytes: float) -> dict[str, Any]:
    """The row, with the time that reading so many bytes takes at that bandwidth, and how many times that it took."""
    floor = 1e3 * must_read / (1e9 * gigabytes)
    return {**row, "must_read_bytes": must_read, "floor_ms": floor, "over_floor": row["median_ms"] / floor}
