"""The compiled loops behind ``packed_density``: imported on first use, because Numba takes a second to import.

A record is one model's factor as it lies in memory or in a mapped file, without gaps: see ``PackedFactor``. Records are
handed over by address: they lie in files, in a cache, anywhere, and a hundred of them are not copied together to be
read once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from engine.compiled import LINE, ask_for, compiled, pointer, prefetch
from engine.scores.packed_density import WIDTH as LANES

WORD, FLOATS = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
AHEAD = 4096
"""Bytes: how far ahead of the rows memory is asked for. The hardware's own prefetching ends with
each page of 4 KB, and a mapped file has no larger ones."""
MIDDLE = 127.5
"""Of a low byte that has not been read."""
ROUNDING = 1e-5
"""What float32 may have added to a sum of squares, as a share of it."""


def _rotated(rotation: NDArray[np.float32], feature: NDArray[np.float64]) -> NDArray[np.float64]:
    """``rotation`` ``(d, d)`` times ``feature`` ``(d,)``, in float64."""
    turned = np.empty(len(rotation))
    for r in range(len(rotation)):
        total = 0.0
        for j in range(len(feature)):
            total += np.float64(rotation[r, j]) * feature[j]
        turned[r] = total
    return turned


def _four_products(bits: int, *, signed: bool) -> Any:
    """Make ``(start, width, z_at) -> (a, b, c, d)``: products of four rows of whole numbers ``(4, width)`` with z.

    They lie one after another from address ``start``; z, float32, lies at ``z_at``; ``width`` is a multiple of LANES.
    Written out in vectors, because LLVM by itself takes half as many numbers at an instruction. Any processor's
    instructions will do: LLVM splits what is too wide.
    """

    def typed(context: Any, start: Any, width: Any, z_at: Any) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            first, count, asked = arguments
            size = bits // 8
            numbers, words = (ir.VectorType(ir.IntType(one), LANES) for one in (bits, 32))
            widened = builder.sext if signed else builder.zext
            sums = [cgutils.alloca_once_value(builder, ir.Constant(FLOATS, [0.0] * LANES)) for _ in range(4)]
            with cgutils.for_range(builder, builder.lshr(count, WORD(LANES.bit_length() - 1))) as loop:
                behind = builder.mul(loop.index, WORD(4 * LANES * size))
                for line in range(0, 4 * LANES * size, LINE):
                    ask_for(builder, builder.add(first, builder.add(behind, WORD(AHEAD + line))))
                z = _loaded(builder, builder.add(asked, builder.mul(loop.index, WORD(4 * LANES))), FLOATS)
                row = builder.add(first, builder.mul(loop.index, WORD(LANES * size)))
                for place in sums:
                    values = builder.sitofp(widened(_loaded(builder, row, numbers), words), FLOATS)
                    product = builder.fmul(values, z, flags=("contract",))
                    builder.store(builder.fadd(builder.load(place), product, flags=("contract",)), place)
                    row = builder.add(row, builder.mul(count, WORD(size)))
            kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), FLOATS])
            total = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f32")
            zero = ir.Constant(ir.FloatType(), 0.0)
            found = [builder.call(total, [zero, builder.load(place)], fastmath=("reassoc",)) for place in sums]
            return target.make_tuple(builder, signature.return_type, found)

        return types.UniTuple(types.float32, 4)(types.uint64, types.int64, types.uint64), generate

    return intrinsic(typed)


def _loaded(builder: Any, address: Any, kind: Any) -> Any:
    """The vector at an address, which need not be a multiple of anything."""
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


high = _four_products(16, signed=True)
"""Of the numbers' upper two bytes."""
low = _four_products(8, signed=False)
"""Of their third bytes."""


def _differences(addresses: NDArray[np.uint64], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """``query`` less each record's mean ``(n, d)`` float64."""
    d = len(query)
    z = np.empty((len(addresses), d))
    for c in range(len(addresses)):
        moments = carray(pointer(addresses[c]), (d + 1,), np.float64)
        for j in range(d):
            z[c, j] = query[j] - moments[j + 1]
    return z


def _partial(
    start: Any,
    first: int,
    stop: int,
    places: NDArray[np.int64],
    z_at: Any,
    units: NDArray[np.float32],
    dots: NDArray[np.float32],
    middles: NDArray[np.float32],
    bar: float,
    total: float,
) -> Any:
    """Add squares of products of high halves, four rows at a time, until they are beyond the bar: the sum and where.

    The products go into ``dots``; what has not been read of the numbers is taken to be in its middle.
    """
    g = first
    while g < stop and not total > bar:
        a, b, c, d = high(start + np.uint64(2 * places[g]), (places[g + 1] - places[g]) // 4, z_at)
        r = 4 * g
        dots[r], dots[r + 1], dots[r + 2], dots[r + 3] = 256 * a, 256 * b, 256 * c, 256 * d
        one = np.float64(units[r] * (dots[r] + middles[r]))
        two = np.float64(units[r + 1] * (dots[r + 1] + middles[r + 1]))
        three = np.float64(units[r + 2] * (dots[r + 2] + middles[r + 2]))
        four = np.float64(units[r + 3] * (dots[r + 3] + middles[r + 3]))
        total += (one * one + two * two) + (three * three + four * four)
        g += 1
    return total, g


def _whole(
    start: Any, places: NDArray[np.int64], z_at: Any, units: NDArray[np.float32], dots: NDArray[np.float32]
) -> float:
    """The sum of squares of all rows' products, of which ``dots`` holds what the high halves give."""
    total = 0.0
    for g in range(len(places) - 1):
        a, b, c, d = low(start + np.uint64(places[g]), (places[g + 1] - places[g]) // 4, z_at)
        r = 4 * g
        one = np.float64(units[r] * (dots[r] + a))
        two = np.float64(units[r + 1] * (dots[r + 1] + b))
        three = np.float64(units[r + 2] * (dots[r + 2] + c))
        four = np.float64(units[r + 3] * (dots[r + 3] + d))
        total += one * one + two * two + three * three + four * four
    return total


def _distances(
    addresses: NDArray[np.uint64],
    differences: NDArray[np.float32],
    best: NDArray[np.float64],
    head: int,
    places: NDArray[np.int64],
    read: NDArray[np.int64],
) -> NDArray[np.float64]:
    """‖L⁻¹z‖² + log det Σ ``(n,)`` of each record, +inf for what was dropped; ``read`` gets the rows read of each.

    ``best`` holds the k least distances so far, ascending, and takes in what is found. ``places`` ``(d/4 + 1,)`` says
    at which number each four rows begin; ``head`` is a multiple of four.

    Of a candidate first the high halves are read, row by row, with the low bytes taken to be in their middle. That is
    wrong by at most ``slack`` · ‖z‖ in the root of any partial sum of squares. What is still good enough after all
    rows has its low bytes read too, and is then exact.
    """
    n, d = differences.shape
    groups = len(places) - 1
    z = np.zeros((n, (places[groups] - places[groups - 1]) // 4), np.float32)
    middles, dots = np.zeros((n, 4 * groups), np.float32), np.zeros((n, 4 * groups), np.float32)
    lengths, partial, found = np.empty(n), np.empty(n), np.empty(n)
    units_at = np.uint64(8 * (d + 2))
    highs = units_at + np.uint64(16 * groups)
    lows = highs + np.uint64(2 * places[groups])
    for c in range(n):
        length, running = 0.0, np.float32(0)
        for j in range(d):
            value = differences[c, j]
            z[c, j] = value
            length += np.float64(value) * np.float64(value)
        for r in range(0, 4 * groups, 4):
            # pairs first: four sums wait for one addition then, not for four
            two = z[c, r] + z[c, r + 1]
            middles[c, r] = np.float32(MIDDLE) * (running + z[c, r])
            middles[c, r + 1] = np.float32(MIDDLE) * (running + two)
            middles[c, r + 2] = np.float32(MIDDLE) * (running + (two + z[c, r + 2]))
            running += two + (z[c, r + 2] + z[c, r + 3])
            middles[c, r + 3] = np.float32(MIDDLE) * running
        lengths[c] = np.sqrt(length)
        units = carray(pointer(addresses[c] + units_at), (4 * groups,), np.float32)
        z_at = np.uint64(z[c].ctypes.data)
        total, _ = some(addresses[c] + highs, 0, head // 4, places, z_at, units, dots[c], middles[c], np.inf, 0.0)
        partial[c] = total
        found[c] = total + carray(pointer(addresses[c]), (1,), np.float64)[0]
    k = len(best)
    for c in np.argsort(found):
        moments = carray(pointer(addresses[c]), (d + 2,), np.float64)
        units = carray(pointer(addresses[c] + units_at), (4 * groups,), np.float32)
        log_det = moments[0]
        room = best[k - 1] - log_det
        bar = -1.0 if room < 0 else (np.sqrt(room) + moments[d + 1] * lengths[c]) ** 2 * (1 + ROUNDING)
        z_at = np.uint64(z[c].ctypes.data)
        total, g = some(
            addresses[c] + highs, head // 4, groups, places, z_at, units, dots[c], middles[c], bar, partial[c]
        )  # fmt: skip
        read[c] = min(4 * g, d)
        if total > bar:
            found[c] = np.inf
            continue
        total = log_det + whole(addresses[c] + lows, places, z_at, units, dots[c])
        if total > best[k - 1]:
            found[c] = np.inf
            continue
        found[c] = total
        enter(best, total)
    return found


def _enter(best: NDArray[np.float64], total: float) -> None:
    """Put a distance among the least, which are sorted."""
    place = len(best) - 1
    if total < best[place]:
        while place > 0 and best[place - 1] > total:
            best[place] = best[place - 1]
            place -= 1
        best[place] = total


def _low_rank(
    addresses: NDArray[np.uint64], y: NDArray[np.float64], best: NDArray[np.float64], d: int
) -> NDArray[np.float64]:
    """‖y‖² − Σ c_i (q_i·y)² + log det Σ ``(n,)`` of each record, +inf where dropped. See ``low_rank_density``."""
    n = len(addresses)
    found, lengths = np.empty(n), np.empty(n)
    z = np.empty((n, d), np.float32)
    for c in range(n):
        length = 0.0
        for j in range(d):
            z[c, j] = y[c, j]
            length += y[c, j] * y[c, j]
        lengths[c] = length
        found[c] = length + carray(pointer(addresses[c]), (1,), np.float64)[0]
    for c in np.argsort(found):
        moments = carray(pointer(addresses[c]), (d + 3,), np.float64)
        r = int(moments[d + 2])
        start = addresses[c] + np.uint64(8 * (d + 3))
        weights = carray(pointer(start), (r,), np.float64)
        rows = carray(pointer(start + np.uint64(8 * r)), (r, d), np.float32)
        total, left, dropped = found[c], lengths[c], False
        for i in range(r):
            if i % 8 == 0 and total - weights[i] * left > best[len(best) - 1] + ROUNDING * lengths[c]:
                dropped = True
                break
            for ahead in range(0, 4 * d, LINE):
                prefetch(start + np.uint64(8 * r + 4 * d * i + AHEAD + ahead))
            product = np.float64(inner(rows[i], z[c]))
            total -= weights[i] * product * product
            left -= product * product
        if dropped or total > best[len(best) - 1]:
            found[c] = np.inf
            continue
        found[c] = total
        enter(best, total)
    return found


def _inner(row: Any, z: NDArray[np.float32]) -> Any:
    total = np.float32(0)
    for j in range(len(row)):
        total += row[j] * z[j]
    return total


some = compiled(_partial)
whole = compiled(_whole)
rotated = compiled(_rotated, nogil=True)
differences = compiled(_differences, nogil=True)
enter = compiled(_enter)
inner = compiled(_inner)
low_rank = compiled(_low_rank, nogil=True)
distances = compiled(_distances, nogil=True)
