"""The compiled loop behind an exact search: bounds by long codes, and rows of what they do not exclude."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.compiled import LINE, compiled
from engine.index.quantized.codes import LANES
from engine.index.quantized.kernel_primitives import ask_for, block_products, keep, product, rounded

RING = 32
"""Rows that wait to be read: 16 of them at least while memory brings what was asked for."""


def _survivors(
    query: Any, centroids: Any, codes: Any, counts: Any, steps: Any, halves: Any, starts: Any, sizes: Any, fine: Any,
    fine_steps: Any, cuts: Any, errors: Any, margin: float, admitted: Any, scores: Any, rows: Any, out: Any,
) -> Any:  # fmt: skip
    """All rows that may be among the k best, into ``out`` ``(rows,)``: how many.

    ``scores`` and ``rows`` ``(k,)`` come with what an approximate search has found, and k of it is enough for a bar. A
    row's inner product is at most its estimate, plus what Cauchy–Schwarz allows for its code's error in each of the
    sections of the numbers that end at ``cuts`` ``(4,)``, plus what it allows for the query's rounding to 8 bits:
    ``errors`` ``(blocks, 5, 16)`` has these errors' lengths and the code's own. Where that does not exclude a whole
    block, what the query's rounding left is multiplied too. ``margin`` bounds all other rounding. Rows that are
    still there wait, in a ring, until memory has brought them.
    """
    d, coded = len(query), len(steps)
    room = 4 * counts[0] + 8 * counts[1] + 16 * counts[2] + 32 * counts[3]
    asked, rest = np.zeros(room, np.int8), np.zeros(room, np.int8)
    unit = rounded(query, steps, asked)
    finer = unit / np.float32(254)
    shift, shift_of_rest = np.float32(0), np.float32(0)
    scaled = np.empty(d, np.float32)
    for j in range(d):
        scaled[j] = query[j] * fine_steps[j]
    lengths = np.zeros(6, np.float32)
    for j in range(coded):
        left_over = query[j] * steps[j] - np.float32(asked[j]) * unit
        rest[j] = np.int8(min(max(np.rint(left_over / finer), np.float32(-127)), np.float32(127)))
        shift += np.float32(asked[j]) * halves[j]
        shift_of_rest += np.float32(rest[j]) * halves[j]
        lengths[4] += left_over * left_over
        left_over -= np.float32(rest[j]) * finer
        lengths[5] += left_over * left_over
    for section in range(4):
        for j in range(cuts[section - 1] if section else 0, cuts[section]):
            lengths[section] += query[j] * query[j]
    for section in range(6):
        lengths[section] = np.sqrt(lengths[section])
    products, bounds = np.empty(LANES, np.int32), np.empty(LANES, np.float32)
    waiting = np.empty(RING, np.int64)
    came, judged, count = 0, 0, 0
    lowest = np.int32(-(2**31))
    for cell in range(len(sizes)):
        near = centroids[cell]
        base = margin
        for j in range(d):
            base += query[j] * near[j]
        left = sizes[cell]
        for block in range(starts[cell], starts[cell + 1]):
            ask_for(codes[block].ctypes.data + np.uint64(LINE * codes.shape[1]), LINE * codes.shape[1])
            block_products(
                codes[block].ctypes.data, asked.ctypes.data, counts[0], counts[1], counts[2], counts[3], 0, lowest,
                products.ctypes.data,
            )  # fmt: skip
            own, bar, some = errors[block], scores[-1] - margin, False
            for lane in range(LANES):
                bounds[lane] = (
                    base + (np.float32(products[lane]) - shift) * unit + lengths[0] * own[0, lane]
                    + lengths[1] * own[1, lane] + lengths[2] * own[2, lane] + lengths[3] * own[3, lane]
                )  # fmt: skip
                some |= bounds[lane] + lengths[4] * own[4, lane] >= bar
            if not some:
                left -= LANES
                continue
            block_products(
                codes[block].ctypes.data, rest.ctypes.data, counts[0], counts[1], counts[2], counts[3], 0, lowest,
                products.ctypes.data,
            )  # fmt: skip
            for lane in range(LANES):
                bounds[lane] += (np.float32(products[lane]) - shift_of_rest) * finer + lengths[5] * own[4, lane]
            for lane in range(min(left, LANES)):
                row = LANES * block + lane
                if bounds[lane] < bar or (len(admitted) and not admitted[row]):
                    continue
                ask_for(fine[row].ctypes.data, 2 * d)
                waiting[came % RING] = row
                came += 1
            left -= LANES
            while judged + RING - LANES < came:
                count = judge(waiting[judged % RING], fine, scaled, margin, scores, rows, out, count)
                judged += 1
    while judged < came:
        count = judge(waiting[judged % RING], fine, scaled, margin, scores, rows, out, count)
        judged += 1
    return count


def _judge(
    row: int, fine: Any, scaled: Any, margin: float, scores: Any, rows: Any, out: Any, count: int
) -> Any:  # fmt: skip
    """Put a row into ``out`` behind ``count`` others, and among the best, if it may be one: how many there are."""
    score = product(fine, row, scaled)
    if score < scores[-1] - margin:
        return count
    out[count] = row
    for i in range(len(rows)):
        if rows[i] == row:
            return count + 1
    keep(score, row, scores, rows)
    return count + 1


judge = compiled(_judge, nogil=True)
survivors = compiled(_survivors, nogil=True)
