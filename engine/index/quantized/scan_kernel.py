"""The compiled loops behind an approximate search: imported on first use, because Numba takes a second to import.

Codes lie in *blocks* of 16 vectors, whose products with the query are those of ``block_products``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.compiled import LINE, compiled
from engine.index.quantized.codes import LANES
from engine.index.quantized.kernel_primitives import (
    BUCKETS,
    ask_for,
    best_kept,
    block_products,
    cut,
    keep,
    lowest_bit,
    product,
    rounded,
    whole,
)

AHEAD = 6
"""Candidates ahead of the one that is scored, whose rows are asked for."""
BLOCKS = 4
"""Blocks ahead of the one that is scanned, which are asked for: the hardware's own prefetching ends with each page."""
UNLIKELY = 2.5
"""Standard deviations by which the rest of a code seldom adds more than on average: 1 in 160, if it is normal."""
TIMES, MORE = 2, 64
"""Cells near a query, by their short codes, that are ranked by better ones: so many times those searched, and some
more. Of a million clustered models' cells 99.5 % of the best 200 are among these."""


def _turned(turning: Any, steps: Any, query: Any, out: Any) -> None:
    """``query`` ``(d,)`` in the basis whose vectors ``(d, d)`` are of 16 bits a number, in units of ``steps`` ``(d,)``.

    Four at a time, far apart: memory brings these faster.
    """
    d = len(query)
    part = d // 4
    for r in range(part):
        a, b, c, e = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        row_a, row_b, row_c, row_e = turning[r], turning[r + part], turning[r + 2 * part], turning[r + 3 * part]
        for j in range(d):
            v = query[j]
            a += np.float32(row_a[j]) * v
            b += np.float32(row_b[j]) * v
            c += np.float32(row_c[j]) * v
            e += np.float32(row_e[j]) * v
        out[r], out[r + part], out[r + 2 * part], out[r + 3 * part] = a, b, c, e
    for r in range(4 * part, d):
        out[r] = product(turning, r, query)
    for r in range(d):
        out[r] *= steps[r]


def _cells_ranked(
    query: Any, coarse: Any, coarse_steps: Any, centre: Any, bonus: Any, rough: Any, order: Any, counts: Any,
    steps: Any, halves: Any, probes: int, chosen: Any, bases: Any,
) -> Any:  # fmt: skip
    """The ``probes`` cells that promise most, best first, into ``chosen`` and ``bases`` ``(cells,)``; how many.

    Promised is the query's inner product with a cell's centroid and its length times the cell's ``bonus``. Short codes
    of the centroids say which are worth multiplying by 8 bits a number; ``bases`` gets these products.
    """
    d, cells = len(query), len(bonus)
    offset, length = np.float32(0), np.float32(0)
    for j in range(d):
        offset += query[j] * centre[j]
        length += query[j] * query[j]
    length = np.sqrt(length)
    histogram = np.empty(BUCKETS, np.int64)
    keys = np.empty(cells, np.float32)
    probes = min(probes, cells)
    near = worth_ranking(probes)
    count = 0
    if near < cells:
        turned = np.empty(len(steps), np.float32)
        for j in range(len(steps)):
            turned[j] = query[order[j]]
        asked = np.zeros(4 * counts[0] + 8 * counts[1] + 16 * counts[2] + 32 * counts[3], np.int8)
        unit = rounded(turned, steps, asked)
        shift = np.float32(0)
        for j in range(len(steps)):
            shift += np.float32(asked[j]) * halves[j]
        products, lowest = np.empty(LANES, np.int32), np.int32(-(2**31))
        held, size = rough.ctypes.data, LINE * rough.shape[1]
        for block in range(len(rough)):
            address = held + np.uint64(size * block)
            ask_for(address + np.uint64(size * BLOCKS), size)
            block_products(
                address, asked.ctypes.data, counts[0], counts[1], counts[2], counts[3], 0, lowest,
                products.ctypes.data,
            )  # fmt: skip
            for lane in range(min(LANES, cells - LANES * block)):
                cell = LANES * block + lane
                keys[cell] = (np.float32(products[lane]) - shift) * unit + length * bonus[cell]
        least = cut(keys, cells, near, histogram)
        for cell in range(cells):
            if keys[cell] >= least:
                chosen[count] = cell
                count += 1
    else:
        for cell in range(cells):
            chosen[cell] = cell
        count = cells
    scaled = np.empty(d, np.float32)
    for j in range(d):
        scaled[j] = query[j] * coarse_steps[j]
    for i in range(min(AHEAD, count)):
        ask_for(coarse[chosen[i]].ctypes.data, d)
    for i in range(count):
        if i + AHEAD < count:
            ask_for(coarse[chosen[i + AHEAD]].ctypes.data, d)
        bases[i] = product(coarse, chosen[i], scaled) + offset
        keys[i] = bases[i] + length * bonus[chosen[i]]
    least = cut(keys, count, probes, histogram)
    taken = 0
    for i in range(count):
        if keys[i] >= least:
            chosen[taken], bases[taken], keys[taken] = chosen[i], bases[i], keys[i]
            taken += 1
    best = np.argsort(-keys[:taken])[:probes]
    found, products_of = chosen[best], bases[best]
    for i in range(len(best)):
        chosen[i], bases[i] = found[i], products_of[i]
    return len(best)


def _candidates(
    query: Any, coarse: Any, coarse_steps: Any, centre: Any, bonus: Any, rough: Any, order: Any, rough_counts: Any,
    rough_steps: Any, rough_halves: Any, codes: Any, counts: Any, first: Any, steps: Any, halves: Any, spreads: Any,
    starts: Any, sizes: Any, admitted: Any, probes: int, wanted: int, estimates: Any, rows: Any,
) -> Any:  # fmt: skip
    """The rows with the best estimates, into ``estimates`` and ``rows`` ``(room(wanted),)``; how many, of how many.

    ``query`` ``(d,)`` float32 is in the index's basis; see ``QuantizedIndex`` for the rest. ``probes`` cells are
    scanned. At least ``wanted`` rows come, if there are so many, and some more, in no order. ``admitted`` ``(rows,)``
    says which may, or is empty. A block is left after its ``first`` groups if these make it unlikely that it has
    anything to keep: what is behind them would have to add ``UNLIKELY`` standard deviations more than on average.
    """
    chosen, bases = np.empty(len(bonus), np.int64), np.empty(len(bonus), np.float32)
    there = cells_ranked(
        query, coarse, coarse_steps, centre, bonus, rough, order, rough_counts, rough_steps, rough_halves, probes,
        chosen, bases,
    )  # fmt: skip

    # The scan: an estimate for every vector of these cells, the best of which are kept.
    asked = np.zeros(4 * counts[0] + 8 * counts[1] + 16 * counts[2] + 32 * counts[3], np.int8)
    unit = rounded(query, steps, asked)
    behind = 4 * first[0] + 8 * first[1] + 16 * first[2] + 32 * first[3]
    groups = first[0] + first[1] + first[2] + first[3]
    shift, mean, variance = np.float32(0), np.float32(0), np.float32(0)
    for j in range(len(steps)):
        shift += np.float32(asked[j]) * halves[j]
    for j in range(behind, len(steps)):
        mean += np.float32(asked[j]) * halves[j]
        variance += (np.float32(asked[j]) * spreads[j]) ** 2
    most = mean + np.float32(UNLIKELY) * np.sqrt(variance)
    products, histogram = np.empty(LANES, np.int32), np.empty(BUCKETS, np.int64)
    full = len(rows) - LANES
    count, scanned, bar = 0, 0, np.float32(-np.inf)
    held, size = codes.ctypes.data, LINE * codes.shape[1]
    out = products.ctypes.data
    total = 0
    for at in range(there):
        total += starts[chosen[at] + 1] - starts[chosen[at]]
    ahead = np.empty(total + BLOCKS, np.uint64)
    total = 0
    for at in range(there):
        for block in range(starts[chosen[at]], starts[chosen[at] + 1]):
            ahead[total] = held + np.uint64(size * block)
            total += 1
    for i in range(BLOCKS):
        ahead[total + i] = out  # asked for again, which costs nothing
    for i in range(min(BLOCKS, total)):
        ask_for(ahead[i], size)
    come = 0
    # Arrays are named where their addresses are used: Numba frees an array after the last place that names it.
    for at in range(there):
        cell, base = chosen[at], bases[at]
        left = sizes[cell]
        scanned += left
        needed = (bar - base) / unit + shift
        for block in range(starts[cell], starts[cell + 1]):
            address = ahead[come]
            ask_for(ahead[come + BLOCKS], size)
            come += 1
            mask = block_products(
                address, asked.ctypes.data, first[0], first[1], first[2], first[3], 0, whole(needed - most), out
            )
            if left < LANES:
                mask &= np.uint32((1 << left) - 1)
            left -= LANES
            if not mask:
                continue
            mask &= block_products(
                address + np.uint64(LINE * groups), asked.ctypes.data + np.uint64(behind),
                counts[0] - first[0], counts[1] - first[1], counts[2] - first[2], counts[3] - first[3],
                out, whole(needed), out,
            )  # fmt: skip
            while mask:
                lane = lowest_bit(mask)
                mask &= mask - np.uint32(1)
                row = LANES * block + lane
                if len(admitted) and not admitted[row]:
                    continue
                estimates[count] = base + (np.float32(products[lane]) - shift) * unit
                rows[count] = row
                count += 1
            if count > full:
                count = best_kept(estimates, rows, count, wanted, histogram)
                if count > full - LANES:
                    count = wanted  # a room full of equals
                bar = estimates[0]
                for i in range(count):
                    bar = min(bar, estimates[i])
                needed = (bar - base) / unit + shift
    return best_kept(estimates, rows, count, wanted, histogram), scanned


def _answered(
    query: Any, turning: Any, turning_steps: Any, fine_steps: Any, fine: Any, ids: Any, verified: Any, rows_each: int,
    coarse: Any, coarse_steps: Any, centre: Any, bonus: Any, rough: Any, order: Any, rough_counts: Any,
    rough_steps: Any, rough_halves: Any, codes: Any, counts: Any, first: Any, steps: Any, halves: Any, spreads: Any,
    starts: Any, sizes: Any, admitted: Any, probes: int, wanted: int, scores: Any, out: Any,
) -> Any:  # fmt: skip
    """The k best, best first, into ``scores`` and ``out`` ``(k,)``, in one call; False if they must be found in steps.

    That is because so few cells hold fewer, or rows of ``fine`` are not yet ``verified``, ``rows_each`` at a time. (One
    call, because what the interpreter needs between calls is out of the caches whenever something else has run.)
    """
    turned_query = np.empty(len(query), np.float32)
    turned(turning, turning_steps, query, turned_query)
    estimates = np.empty(room(wanted), np.float32)
    places = np.empty(len(estimates), np.int64)
    count, _ = candidates(
        turned_query, coarse, coarse_steps, centre, bonus, rough, order, rough_counts, rough_steps, rough_halves, codes,
        counts, first, steps, halves, spreads, starts, sizes, admitted, probes, wanted, estimates, places,
    )  # fmt: skip
    if count < len(scores):
        return False
    if len(verified):
        for i in range(count):
            if not verified[places[i] // rows_each]:
                return False
    found = np.empty(len(scores), np.int64)
    refined(turned_query, fine, fine_steps, places[:count], scores, found)
    if found[-1] < 0:
        return False
    for i in range(len(scores)):
        out[i] = ids[found[i]]
    return True


def _refined(query: Any, fine: Any, fine_steps: Any, places: Any, scores: Any, rows: Any) -> None:
    """The best of the rows ``places``, by their 16-bit numbers, best first into ``scores`` and ``rows`` ``(k,)``."""
    d, count = len(query), len(places)
    scaled = np.empty(d, np.float32)
    for j in range(d):
        scaled[j] = query[j] * fine_steps[j]
    for i in range(min(AHEAD, count)):
        ask_for(fine[places[i]].ctypes.data, 2 * d)
    scores[:] = -np.inf
    rows[:] = -1
    for i in range(count):
        if i + AHEAD < count:
            ask_for(fine[places[i + AHEAD]].ctypes.data, 2 * d)
        keep(product(fine, places[i], scaled), places[i], scores, rows)


def _worth_ranking(probes: int) -> int:
    """How many cells are ranked by 8 bits a number, if there are more, where ``probes`` are searched."""
    return TIMES * probes + MORE


def _room(wanted: int) -> int:
    """How long the arrays must be that ``candidates`` fills."""
    return max(2 * wanted, 256) + LANES


worth_ranking = compiled(_worth_ranking, nogil=True)
room = compiled(_room, nogil=True)
turned = compiled(_turned, nogil=True)
cells_ranked = compiled(_cells_ranked, nogil=True)
candidates = compiled(_candidates, nogil=True)
refined = compiled(_refined, nogil=True)
answered = compiled(_answered, nogil=True)
