"""Loops that the approximate and the exact search of a quantised index share."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from engine.compiled import LINE, compiled, prefetch
from engine.index.quantized.block_products import products_by, ways_here

BUCKETS = 256
"""Of the histogram that a score to keep is found by."""


def _lowest_bit(context: Any, mask: Any) -> Any:
    """The place of the lowest bit that is set."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(0))

    return types.uint32(types.uint32), generate


block_products = products_by(ways_here()[0])
lowest_bit = intrinsic(_lowest_bit)


def _rounded(query: Any, steps: Any, out: Any) -> Any:
    """``query · steps`` in whole numbers of 8 bits into ``out``, which is zero beyond; what one of them is worth."""
    largest = np.float32(0)
    for j in range(len(steps)):
        largest = max(largest, abs(query[j] * steps[j]))
    unit = np.float32(largest / np.float32(127)) if largest > 0 else np.float32(1)
    for j in range(len(steps)):
        out[j] = np.int8(np.rint(query[j] * steps[j] / unit))
    for j in range(len(steps), len(out)):
        out[j] = 0
    return unit


def _cut(scores: Any, count: int, wanted: int, histogram: Any) -> Any:
    """A score that at least ``wanted`` of ``count`` scores reach, and few more: a bucket's lower end."""
    low, high = scores[0], scores[0]
    for i in range(count):
        low, high = min(low, scores[i]), max(high, scores[i])
    if wanted >= count or not high > low:
        return low
    per = np.float32(BUCKETS) / (high - low) * np.float32(0.999)
    histogram[:] = 0
    for i in range(count):
        histogram[int((scores[i] - low) * per)] += 1
    bucket, reached = BUCKETS, 0
    while reached < wanted:
        bucket -= 1
        reached += histogram[bucket]
    return low + np.float32(bucket) / per


def _best_kept(scores: Any, rows: Any, count: int, wanted: int, histogram: Any) -> Any:
    """Move the best of ``count`` to the front: at least ``wanted`` where there are; how many they are."""
    if count <= wanted:
        return count
    least = cut(scores, count, wanted, histogram)
    kept = 0
    for i in range(count):
        if scores[i] >= least:
            scores[kept], rows[kept] = scores[i], rows[i]
            kept += 1
    return kept


def _keep(score: Any, row: int, scores: Any, rows: Any) -> None:
    """Put a row where it belongs among the best."""
    place = len(scores) - 1
    if not score > scores[place]:
        return
    while place > 0 and scores[place - 1] < score:
        scores[place], rows[place] = scores[place - 1], rows[place - 1]
        place -= 1
    scores[place], rows[place] = score, row


def _product(fine: Any, row: int, query: Any) -> Any:
    """Of a row's numbers and a query's."""
    total = np.float32(0)
    numbers = fine[row]
    for j in range(len(query)):
        total += np.float32(numbers[j]) * query[j]
    return total


def _ask_for(address: Any, size: int) -> None:
    """Ask memory for so many bytes from an address on."""
    for line in range((size + LINE - 1) // LINE):
        prefetch(address + np.uint64(LINE * line))


def _whole(value: Any) -> Any:
    """The largest whole number of 32 bits that is not above it."""
    if not value > -2e9:
        return np.int32(-(2**31))
    return np.int32(np.floor(value)) if value < 2e9 else np.int32(2**31 - 1)


rounded = compiled(_rounded, nogil=True)
cut = compiled(_cut, nogil=True)
best_kept = compiled(_best_kept, nogil=True)
keep = compiled(_keep, nogil=True)
product = compiled(_product, nogil=True)
ask_for = compiled(_ask_for, nogil=True)
whole = compiled(_whole, nogil=True)
