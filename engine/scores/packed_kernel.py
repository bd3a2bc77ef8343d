"""The compiled loops behind ``packed_density``: imported on first use, because Numba takes a second to import.

A record is one model's factor as it lies in memory or in a mapped file, without gaps: see ``PackedFactor``. Records are
handed over by address: they lie in files, in a cache, anywhere, and a hundred of them are not copied together to be
read once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray
from numpy.typing import NDArray

from engine.compiled import LINE, compiled, pointer, prefetch
from engine.scores.packed_density import HEADER
from engine.scores.packed_products import upper_squares, whole_squares

AHEAD = 4096
"""Bytes: how far ahead of rows of low rank memory is asked for. The hardware's own prefetching ends with each page."""
ROUNDING = 1e-5
"""What float32 may have added to a sum of squares, as a share of it."""
LARGEST = 32_767
"""Of z in whole numbers of 16 bits."""
REST = 2.0**15
"""What one of these is of what is left of them."""
FITS = 2.0**31 - 2.0**16
"""Sums of products that 32 bits hold."""
UPPER = 2.0**16
"""The square of what one of a number's upper bytes is of its low one."""


def _rotated(rotation: NDArray[np.float32], feature: NDArray[np.float64]) -> NDArray[np.float64]:
    """``rotation`` ``(d, d)`` times ``feature`` ``(d,)``, in float64."""
    turned = np.empty(len(rotation))
    for r in range(len(rotation)):
        total = 0.0
        for j in range(len(feature)):
            total += np.float64(rotation[r, j]) * feature[j]
        turned[r] = total
    return turned


def _differences(addresses: NDArray[np.uint64], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """``query`` less each record's mean ``(n, d)`` float64."""
    d = len(query)
    z = np.empty((len(addresses), d))
    for c in range(len(addresses)):
        moments = carray(pointer(addresses[c]), (d + 1,), np.float64)
        for j in range(d):
            z[c, j] = query[j] - moments[j + 1]
    return z


def _shortened(z: NDArray[np.float32], whole: NDArray[np.int16], rest: NDArray[np.int16], widest: float) -> Any:
    """z ``(d,)`` as unit · (whole + 2⁻¹⁵ · rest): the unit, ‖z‖, and the length of what goes without ``rest``.

    The unit is the least with which sums of products with rows of norm ``widest`` fit into 32 bits, by Cauchy–Schwarz.
    """
    d = len(z)
    length, largest = 0.0, 0.0
    for j in range(d):
        value = np.float64(z[j])
        length += value * value
        largest = max(largest, abs(value))
    length = np.sqrt(length)
    if not (0 < length < np.inf and 0 < widest < np.inf):
        whole[:] = 0
        rest[:] = 0
        return 1.0, length, length
    unit = max(length / max(FITS / widest - np.sqrt(np.float64(d)), 1.0), largest / LARGEST)
    left = 0.0
    for j in range(d):
        value = np.float64(z[j]) / unit
        nearest = np.rint(value)
        value -= nearest
        whole[j] = np.int16(nearest)
        rest[j] = np.int16(np.rint(REST * value))
        left += value * value
    return unit, length, unit * np.sqrt(left)


def _partial(
    start: Any,
    first: int,
    stop: int,
    places: NDArray[np.int64],
    asked: Any,
    units: Any,
    sums: Any,
    bar: float,
    total: float,
) -> Any:
    """Add squares of products of upper bytes, four rows at a time, until they are beyond the bar: the sum and where.

    The products go to the address ``sums``.
    """
    g = first
    while g < stop and not total > bar:
        at = np.uint64(16 * g)
        width = places[g + 1] - places[g]
        total += upper_squares(
            start + np.uint64(2 * places[g]), np.uint64(2 * places[-1]), width, asked, units + at, sums + at
        )  # fmt: skip
        g += 1
    return total, g


def _whole(upper: Any, low: Any, places: NDArray[np.int64], asked: Any, rest: Any, units: Any, sums: Any) -> float:
    """The sum of squares of all rows' products, of which ``sums`` has those of the upper bytes with ``asked``."""
    total = 0.0
    for g in range(len(places) - 1):
        at, first = np.uint64(16 * g), np.uint64(places[g])
        width = places[g + 1] - places[g]
        total += whole_squares(
            upper + np.uint64(2) * first, low + first, np.uint64(places[-1]), width, asked, rest, units + at,
            sums + at,
        )  # fmt: skip
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
    at which number of its quarter each row begins; ``head`` is a multiple of four.

    Of a candidate first the upper bytes are read, row by row, and z is taken in whole numbers of 16 bits. The root of
    any partial sum of squares is wrong by at most ``slack`` · ‖z‖ for the one and ``norm`` times what z is wrong by
    for the other. What is still good enough after all rows has its low bytes and the rest of z read too: it is exact.
    """
    n, d = differences.shape
    groups = len(places) - 1
    widest = places[groups] - places[groups - 1]
    asked, rest = np.zeros((n, widest), np.int16), np.zeros((n, widest), np.int16)
    sums = np.empty((n, 4 * groups), np.int32)
    scales, slacks = np.empty(n), np.empty(n)
    partial, found = np.empty(n), np.empty(n)
    units_at = np.uint64(8 * (d + HEADER))
    highs = units_at + np.uint64(16 * groups)
    lows = highs + np.uint64(8 * places[groups])
    for c in range(n):
        moments = carray(pointer(addresses[c]), (d + HEADER,), np.float64)
        unit, length, wrong = shortened(differences[c], asked[c], rest[c], moments[d + 3])
        scales[c] = unit * unit
        slacks[c] = moments[d + 1] * length + moments[d + 2] * wrong
        if not length < np.inf:
            found[c] = np.nan
            continue
        total, _ = some(
            addresses[c] + highs, 0, head // 4, places, np.uint64(asked[c].ctypes.data), addresses[c] + units_at,
            np.uint64(sums[c].ctypes.data), np.inf, 0.0,
        )  # fmt: skip
        partial[c] = total
        found[c] = UPPER * scales[c] * total + moments[0]
    k = len(best)
    for c in np.argsort(found):
        if np.isnan(found[c]):
            continue
        log_det = carray(pointer(addresses[c]), (1,), np.float64)[0]
        room = best[k - 1] - log_det
        bar = -1.0 if room < 0 else (np.sqrt(room) + slacks[c]) ** 2 * (1 + ROUNDING) / (UPPER * scales[c])
        query, units, products = (
            np.uint64(asked[c].ctypes.data), addresses[c] + units_at, np.uint64(sums[c].ctypes.data)
        )  # fmt: skip
        total, g = some(addresses[c] + highs, head // 4, groups, places, query, units, products, bar, partial[c])
        read[c] = min(4 * g, d)
        if total > bar:
            found[c] = np.inf
            continue
        squares = whole(
            addresses[c] + highs, addresses[c] + lows, places, query, np.uint64(rest[c].ctypes.data), units, products
        )  # fmt: skip
        total = log_det + scales[c] * squares
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


shortened = compiled(_shortened)
some = compiled(_partial)
whole = compiled(_whole)
rotated = compiled(_rotated, nogil=True)
differences = compiled(_differences, nogil=True)
enter = compiled(_enter)
inner = compiled(_inner)
low_rank = compiled(_low_rank, nogil=True)
distances = compiled(_distances, nogil=True)
