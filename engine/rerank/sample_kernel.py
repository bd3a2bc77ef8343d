"""The compiled loop behind ``sample_records``: imported on first use. Records are handed over by address."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray
from numpy.typing import NDArray

from engine.compiled import LINE, compiled, pointer, prefetch

AHEAD = 8192
"""Bytes: how far ahead memory is asked for."""
MIDDLE = 127.5
"""Of a low byte that has not been read."""


def _best(best: NDArray[np.float32], value: np.float32) -> None:
    """Put a value among the best, which are sorted, largest first."""
    place = len(best) - 1
    if not value > best[place]:
        return
    while place > 0 and best[place - 1] < value:
        best[place] = best[place - 1]
        place -= 1
    best[place] = value


def _ask(start: Any, size: int) -> None:
    """Ask for memory before it is read: what is read next lies scattered, which no hardware foresees."""
    for line in range(0, size + LINE - 1, LINE):
        prefetch(start + np.uint64(line))


def _dot(row_at: Any, weights_at: Any, count: int) -> Any:
    """The inner product of a row of bytes with a sign and float32 weights, which lie at these addresses."""
    row, weights = carray(pointer(row_at), (count,), np.int8), carray(pointer(weights_at), (count,), np.float32)
    total = np.float32(0)
    for j in range(count):
        total += np.float32(row[j]) * weights[j]
    return total


def _dot_low(row_at: Any, weights_at: Any, count: int) -> Any:
    """The same of bytes without a sign."""
    row, weights = carray(pointer(row_at), (count,), np.uint8), carray(pointer(weights_at), (count,), np.float32)
    total = np.float32(0)
    for j in range(count):
        total += np.float32(row[j]) * weights[j]
    return total


def _firsts(start: Any, h: int, n: int, weights: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    """Add ``weights`` ``(h,)`` times the plane ``(h, n)`` of bytes with a sign that begins there, to ``found``."""
    plane = carray(pointer(start), (h, n), np.int8)
    whole = h - h % 4
    for j in range(0, whole, 4):
        ask(start + np.uint64(j * n + AHEAD), 4 * n)
        one, two, three, four = plane[j], plane[j + 1], plane[j + 2], plane[j + 3]
        a, b, c, d = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        for i in range(n):
            found[i] += (
                np.float32(one[i]) * a + np.float32(two[i]) * b + np.float32(three[i]) * c + np.float32(four[i]) * d
            )
    for j in range(whole, h):
        row, a = plane[j], weights[j]
        for i in range(n):
            found[i] += np.float32(row[i]) * a


def _nearest(
    addresses: NDArray[np.uint64], query: NDArray[np.float64], k: int, h: int, rounding: float
) -> NDArray[np.float64]:
    """The mean of the k largest cosines of each record ``(n,)``."""
    d = len(query)
    scores = np.empty(len(addresses))
    high, low = np.empty(d, np.float32), np.empty(d, np.float32)
    high_at, low_at = np.uint64(high.ctypes.data + 4 * h), np.uint64(low.ctypes.data)
    most = 0
    for c in range(len(addresses)):
        most = max(most, int(carray(pointer(addresses[c]), (1,), np.float64)[0]))
    chosen = np.empty(most, np.int64)
    for c in range(len(addresses)):
        at = addresses[c]
        moments = carray(pointer(at), (d + 1,), np.float64)
        n = int(moments[0])
        at += np.uint64(8 * (d + 1))
        scales = carray(pointer(at), (d,), np.float32)
        base, rest, middle, head_slack, slack = 0.0, 0.0, 0.0, 0.0, 0.0
        head_middle = 0.0
        for j in range(d):
            q = query[j] - moments[j + 1]
            base += q * moments[j + 1]
            w = q * scales[j]
            low[j] = w
            high[j] = 256 * w
            middle += MIDDLE * w
            slack += MIDDLE * abs(w)
            if j < h:
                head_middle += MIDDLE * w
                head_slack += MIDDLE * abs(w)
            else:
                rest += q * q
        rest = np.sqrt(rest)
        at += np.uint64(4 * d)
        own = carray(pointer(at), (n,), np.float32)
        at += np.uint64(4 * n)
        beyond = carray(pointer(at), (n,), np.float32)
        at += np.uint64(4 * n)
        plane = at
        at += np.uint64(n * h)
        others_at = at
        at += np.uint64(n * (d - h))
        lows_at = at
        sums = np.empty(n, np.float32)
        offset = np.float32(base)
        for i in range(n):
            sums[i] = own[i] + offset
        firsts(plane, h, n, high[:h], sums)
        if c + 1 < len(addresses):
            ask(addresses[c + 1], AHEAD)
        wanted = min(k, n)
        likely = np.full(wanted, np.float32(-np.inf))
        for i in range(n):
            best_of(likely, sums[i])
        least = likely[wanted - 1]
        count = 0
        for i in range(n):  # those that the first coordinates favour say how near the k-th is
            if sums[i] >= least and count < wanted:
                ask(others_at + np.uint64(i * (d - h)), d - h)
                ask(lows_at + np.uint64(i * d), d)
                chosen[count] = i
                count += 1
        best = np.full(wanted, np.float32(-np.inf))
        for i in chosen[:count]:
            best_of(
                best,
                sums[i]
                + dot(others_at + np.uint64(i * (d - h)), high_at, d - h)
                + dot_low(lows_at + np.uint64(i * d), low_at, d),
            )
            sums[i] = -np.inf
        bar = np.float32(best[wanted - 1] - head_middle - head_slack - rounding)
        spread = np.float32(rest)
        count = 0
        for i in range(n):
            if sums[i] + beyond[i] * spread >= bar:
                ask(others_at + np.uint64(i * (d - h)), d - h)
                chosen[count] = i
                count += 1
        bar, left = np.float32(best[wanted - 1] - middle - slack - rounding), 0
        for i in chosen[:count]:
            sums[i] += dot(others_at + np.uint64(i * (d - h)), high_at, d - h)
            if sums[i] >= bar:
                ask(lows_at + np.uint64(i * d), d)
                chosen[left] = i
                left += 1
        for i in chosen[:left]:
            best_of(best, sums[i] + dot_low(lows_at + np.uint64(i * d), low_at, d))
        total = 0.0
        for value in best:
            total += value
        scores[c] = total / wanted
    return scores


best_of = compiled(_best)
ask = compiled(_ask)
dot = compiled(_dot)
dot_low = compiled(_dot_low)
firsts = compiled(_firsts)
nearest = compiled(_nearest, nogil=True)
