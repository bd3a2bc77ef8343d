"""The compiled loops behind ``density_records``: imported on first use, because Numba takes a second to import.

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
from engine.rerank.density_layout import HEADER
from engine.rerank.integer_products import last_squares, middle_squares, upper_squares

AHEAD = 4096
"""Bytes: how far ahead of rows of low rank memory is asked for. The hardware's own prefetching ends with each page."""
ROUNDING = 1e-5
"""What float32 may have added to a sum of squares, as a share of it."""
LARGEST = 32_767
"""Of z in whole numbers of 16 bits."""
FINEST = 2.0**15
"""In as many parts of a unit as that what is left of z is taken, at most: half a unit then fits into 16 bits."""
FITS = 2.0**31 - 2.0**16
"""Sums of products that 32 bits hold."""


def _rotated(rotation: NDArray[np.float32], feature: NDArray[np.float64]) -> NDArray[np.float64]:
    """``rotation`` ``(d, d)`` times ``feature`` ``(d,)``, in float64; four rows at a time, as memory likes it."""
    d, quarter = len(rotation), len(rotation) // 4
    turned = np.empty(d)
    for r in range(quarter):
        one, two, three, four = 0.0, 0.0, 0.0, 0.0
        for j in range(d):
            value = feature[j]
            one += np.float64(rotation[r, j]) * value
            two += np.float64(rotation[r + quarter, j]) * value
            three += np.float64(rotation[r + 2 * quarter, j]) * value
            four += np.float64(rotation[r + 3 * quarter, j]) * value
        turned[r], turned[r + quarter], turned[r + 2 * quarter], turned[r + 3 * quarter] = one, two, three, four
    for r in range(4 * quarter, d):
        total = 0.0
        for j in range(d):
            total += np.float64(rotation[r, j]) * feature[j]
        turned[r] = total
    return turned


def _differences(addresses: NDArray[np.uint64], query: NDArray[np.float64], z: Any) -> None:
    """``query`` less each record's mean into ``z`` ``(n, d)``, float32 or float64."""
    d = len(query)
    for c in range(len(addresses)):
        moments = carray(pointer(addresses[c]), (d + 1,), np.float64)
        row = z[c]
        for j in range(d):
            row[j] = query[j] - moments[j + 1]


def _shortened(
    z: NDArray[np.float32], whole: NDArray[np.int16], widest: float, held: NDArray[np.int32], same: NDArray[np.float32]
) -> Any:
    """z ``(d,)`` as unit · whole: the unit, ‖z‖, and the length of what that leaves of z.

    The unit is the least with which z fits into 16 bits, and sums of products with rows of norm ``widest`` into 32, by
    Cauchy–Schwarz. ``held`` and ``same`` are one number, seen twice.
    """
    d = len(z)
    bits = carray(pointer(np.uint64(z.ctypes.data)), (d,), np.int32)  # a view takes Numba a second more to compile
    length, largest = 0.0, np.int32(0)
    for j in range(d):
        value = np.float64(z[j])
        length += value * value
        largest = max(largest, bits[j] & np.int32(0x7FFFFFFF))  # magnitudes are ordered as their bits are
    length = np.sqrt(length)
    if not (0 < length < np.inf and 0 <= widest < np.inf):
        whole[:] = 0
        return 1.0, length, length
    held[0] = largest
    unit = max(np.float64(same[0]) / LARGEST, length / max(FITS / max(widest, 1.0) - np.sqrt(np.float64(d)), 1.0))
    scale, left = 1 / unit, 0.0
    for j in range(d):
        value = np.float64(z[j]) * scale
        nearest = np.rint(value)
        whole[j] = np.int16(nearest)
        value -= nearest
        left += value * value
    return unit, length, unit * np.sqrt(left)


def _left(z: NDArray[np.float32], unit: float, whole: NDArray[np.int16], rest: NDArray[np.int16], widest: float) -> Any:
    """What ``whole`` leaves of z/unit, into ``rest``, in parts of the one that is returned.

    They are as small as sums of products with rows of norm ``widest`` allow: what is left is at most half of √d.
    """
    d = len(z)
    parts = min(FITS / max(widest * np.sqrt(np.float64(d)), 1.0), FINEST)
    scale = 1 / unit
    for j in range(d):
        value = np.float64(z[j]) * scale
        rest[j] = np.int16(np.rint(parts * (value - np.float64(whole[j]))))
    return 1 / parts


def _along(diagonal: NDArray[np.float32], z: NDArray[np.float32]) -> Any:
    """Σ (diagonal · z)²: what ‖L⁻¹z‖² would be if L⁻¹ had nothing beside its diagonal."""
    total = np.float32(0)
    for j in range(len(diagonal)):
        value = diagonal[j] * z[j]
        total += value * value
    return np.float64(total)


def _partial(
    upper: Any, places: NDArray[np.int64], asked: Any, unit: float, units: Any, z: Any, sums: Any, bar: float
) -> Any:
    """Add squares of products of upper bits, four rows at a time, until they are beyond the bar: the sum and where.

    The products go to the address ``sums``.
    """
    g, total, groups, apart = 0, 0.0, len(places) - 1, np.uint64(places[-1])
    diagonal = units + np.uint64(16 * groups)
    while g < groups and not total > bar:
        at = np.uint64(16 * g)
        total += upper_squares(
            upper + np.uint64(places[g]), apart, places[g + 1] - places[g], asked, unit, units + at, diagonal + at,
            z + at, sums + at,
        )  # fmt: skip
        g += 1
    return total, g


def _better(
    upper: Any, places: NDArray[np.int64], asked: Any, unit: float, units: Any, z: Any, sums: Any, totals: Any
) -> float:
    """‖L⁻¹z‖² by upper and middle bits; ``sums`` has the products of upper ones, ``totals`` gets both."""
    total, groups, apart = 0.0, len(places) - 1, np.uint64(places[-1])
    middle, diagonal = upper + np.uint64(4) * apart, units + np.uint64(16 * groups)
    for g in range(groups):
        at = np.uint64(16 * g)
        total += middle_squares(
            middle + np.uint64(places[g]), apart, places[g + 1] - places[g], asked, unit, units + at, diagonal + at,
            z + at, sums + at, totals + at + at,
        )  # fmt: skip
    return total


def _whole(
    upper: Any, places: NDArray[np.int64], asked: Any, rest: Any, finer: float, unit: float, units: Any, z: Any,
    totals: Any,
) -> float:  # fmt: skip
    """‖L⁻¹z‖², from all bits of every number: ``totals`` has the products of upper and middle bits with ``asked``.

    Only middle and last bits with ``rest`` are left out: 2⁻²⁴ of the largest in each row.
    """
    total, groups, apart = 0.0, len(places) - 1, np.uint64(places[-1])
    last, diagonal = upper + np.uint64(6) * apart, units + np.uint64(16 * groups)
    for g in range(groups):
        at, first = np.uint64(16 * g), np.uint64(places[g])
        total += last_squares(
            upper + first, last + first, apart, places[g + 1] - places[g], asked, rest, finer, unit, units + at,
            diagonal + at, z + at, totals + at + at,
        )  # fmt: skip
    return total


def _distances(
    addresses: NDArray[np.uint64],
    query: NDArray[np.float64],
    turned: NDArray[np.float32],
    best: NDArray[np.float64],
    places: NDArray[np.int64],
    read: NDArray[np.int64],
) -> NDArray[np.float64]:
    """‖L⁻¹z‖² + log det Σ ``(n,)`` of each record, +inf for what was dropped; ``read`` gets the rows read of each.

    z is ``query`` ``(d,)`` less the record's mean, or its row of ``turned`` ``(n, d)``, unless that is empty.
    ``best`` holds the k least distances so far, ascending, and takes in what is found. ``places`` ``(⌈d/4⌉ + 1,)``
    says at which number of its quarter each row begins.

    Candidates are taken in order of what their diagonals alone say. First a candidate's upper bits are read, row by
    row, with z in whole numbers of 16 bits. The root of any partial sum of squares is wrong by at most ``slack`` · ‖z‖
    for the one and ``norm`` times what z is wrong by for the other. What is still good enough after all rows is read
    once more with its middle bits, which is wrong by less, and then with its last bits and the rest of z: it is exact.
    """
    n, d = len(addresses), len(query)
    groups = len(places) - 1
    width = places[groups] - places[groups - 1]
    asked, z = np.zeros((n, width), np.int16), np.zeros((n, width), np.float32)
    held = np.empty(1, np.int32)
    same = carray(pointer(np.uint64(held.ctypes.data)), (1,), np.float32)
    rest, sums, totals = np.zeros(width, np.int16), np.empty(4 * groups, np.int32), np.empty(4 * groups)
    unit, length, wrong, found = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    units_at = np.uint64(8 * (d + HEADER))
    upper_at = units_at + np.uint64(32 * groups)
    for c in range(n):
        moments = carray(pointer(addresses[c]), (d + HEADER,), np.float64)
        diagonal = carray(pointer(addresses[c] + units_at + np.uint64(16 * groups)), (d,), np.float32)
        row = z[c]
        if len(turned):
            for j in range(d):  # Numba takes seconds longer to compile an assignment to a slice
                row[j] = turned[c, j]
        else:
            for j in range(d):
                row[j] = query[j] - moments[j + 1]
        unit[c], length[c], wrong[c] = shortened(z[c, :d], asked[c], moments[d + 4], held, same)
        found[c] = moments[0] + along(diagonal, z[c]) if length[c] < np.inf else np.nan
    k = len(best)
    for c in np.argsort(found):
        if np.isnan(found[c]):
            continue
        moments = carray(pointer(addresses[c]), (d + HEADER,), np.float64)
        slack = moments[d + 1] * length[c] + moments[d + 3] * wrong[c]
        bar = beyond(best[k - 1] - moments[0], slack)
        upper, asked_at, exact = addresses[c] + upper_at, np.uint64(asked[c].ctypes.data), np.uint64(z[c].ctypes.data)
        units, products = addresses[c] + units_at, np.uint64(sums.ctypes.data)
        total, g = some(upper, places, asked_at, unit[c], units, exact, products, bar)
        read[c] = min(4 * g, d)
        if not total > bar:
            totals_at = np.uint64(totals.ctypes.data)
            total = better(upper, places, asked_at, unit[c], units, exact, products, totals_at)
            slack = moments[d + 2] * (length[c] + wrong[c]) + (moments[d + 1] + moments[d + 3]) * wrong[c]
            if not total > beyond(best[k - 1] - moments[0], slack):
                finer = finely(z[c, :d], unit[c], asked[c], rest, moments[d + 4])
                rest_at = np.uint64(rest.ctypes.data)
                total = moments[0]
                total += whole(upper, places, asked_at, rest_at, finer, unit[c], units, exact, totals_at)
                if not total > best[k - 1]:
                    found[c] = total
                    enter(best, total)
                    continue
        found[c] = np.inf
    return found


def _beyond(room: float, slack: float) -> float:
    """What a sum of squares is beyond if it is larger than ``room`` and its root is wrong by at most ``slack``."""
    return -1.0 if room < 0 else (np.sqrt(room) + slack) ** 2 * (1 + ROUNDING)


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
along = compiled(_along)
finely = compiled(_left)
some = compiled(_partial)
better = compiled(_better)
beyond = compiled(_beyond)
whole = compiled(_whole)
rotated = compiled(_rotated, nogil=True)
differences = compiled(_differences, nogil=True)
enter = compiled(_enter)
inner = compiled(_inner)
low_rank = compiled(_low_rank, nogil=True)
distances = compiled(_distances, nogil=True)
