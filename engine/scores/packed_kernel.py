"""The compiled loop behind ``packed_density``: imported on first use, because Numba takes a second to import.

A record is one model's factor as it lies in memory or in a mapped file, without gaps: log det Σ and the rotated mean
``(d,)`` in float64, then the rows of L⁻¹ in float32, row r with its r + 1 numbers. Records are handed over by address:
they lie in files, in a cache, anywhere, and a hundred of them are not copied together to be read once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

AHEAD, LINES = 8192, 64
"""Bytes: how far ahead of the rows memory is asked for, and at what steps. The hardware's own prefetching ends with
each page of 4 KB, and a mapped file has no larger ones."""
FREE = {"reassoc", "contract", "nsz", "arcp"}
"""What LLVM may do to sum in vector registers. Not ``nnan``: a NaN must stay one."""


def _address_as_pointer(context: Any, address: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


def _prefetch_address(context: Any, address: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, pointer = ir.IntType(32), builder.inttoptr(arguments[0], cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, number(0), number(3), number(1)])  # to read, into all caches, data
        return target.get_dummy_value()

    return types.void(address), generate


_pointer = intrinsic(_address_as_pointer)
_prefetch = intrinsic(_prefetch_address)


def _rotated(rotation: NDArray[np.float32], feature: NDArray[np.float64]) -> NDArray[np.float64]:
    """``rotation`` ``(d, d)`` times ``feature`` ``(d,)``, in float64."""
    turned = np.empty(len(rotation))
    for r in range(len(rotation)):
        total = 0.0
        for j in range(len(feature)):
            total += np.float64(rotation[r, j]) * feature[j]
        turned[r] = total
    return turned


def _rows(factor: Any, first: int, stop: int, z: NDArray[np.float32]) -> float:
    """The sum of squares of up to four rows' products with ``z``; ``factor`` is the address of row 0.

    Arrays begin at each row, and are indexed from zero: an index that could be negative keeps LLVM from vectorising.
    """
    total = 0.0
    if stop - first < 4:
        for r in range(first, stop):
            row = carray(_pointer(factor + np.uint64(2 * r * (r + 1))), (r + 1,), np.float32)
            a = np.float32(0)
            for j in range(r + 1):
                a += row[j] * z[j]
            total += np.float64(a) * np.float64(a)
        return total
    n = first + 1
    start = factor + np.uint64(2 * first * n)
    for ahead in range(0, 16 * n, LINES):
        _prefetch(start + np.uint64(AHEAD + ahead))
    row_a = carray(_pointer(start), (n,), np.float32)
    row_b = carray(_pointer(start + np.uint64(4 * n)), (n + 1,), np.float32)
    row_c = carray(_pointer(start + np.uint64(8 * n + 4)), (n + 2,), np.float32)
    row_d = carray(_pointer(start + np.uint64(12 * n + 12)), (n + 3,), np.float32)
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for j in range(n):
        v = z[j]
        a += row_a[j] * v
        b += row_b[j] * v
        c += row_c[j] * v
        d += row_d[j] * v
    b += row_b[n] * z[n]
    c += row_c[n] * z[n] + row_c[n + 1] * z[n + 1]
    d += row_d[n] * z[n] + row_d[n + 1] * z[n + 1] + row_d[n + 2] * z[n + 2]
    for part in (a, b, c, d):
        total += np.float64(part) * np.float64(part)
    return total


def _differences(addresses: NDArray[np.uint64], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """``query`` less each record's mean ``(n, d)`` float64."""
    d = len(query)
    z = np.empty((len(addresses), d))
    for c in range(len(addresses)):
        moments = carray(_pointer(addresses[c]), (d + 1,), np.float64)
        for j in range(d):
            z[c, j] = query[j] - moments[j + 1]
    return z


def _distances(
    addresses: NDArray[np.uint64], z: NDArray[np.float32], k: int, head: int, read: NDArray[np.int64]
) -> NDArray[np.float64]:
    """‖L⁻¹z‖² + log det Σ ``(n,)`` of each record, +inf for what was dropped; ``read`` gets the rows read of each."""
    n, d = z.shape
    found = np.empty(n)
    for c in range(n):
        total = carray(_pointer(addresses[c]), (1,), np.float64)[0]
        for r in range(0, head, 4):
            total += rows(addresses[c] + np.uint64(8 * (d + 1)), r, min(r + 4, head), z[c])
        found[c] = total
    best = np.full(k, np.inf)
    for c in np.argsort(found):
        total, r = found[c], head
        while r < d and not total > best[k - 1]:
            stop = min(r + 4, d)
            total += rows(addresses[c] + np.uint64(8 * (d + 1)), r, stop, z[c])
            r = stop
        read[c] = r
        if total > best[k - 1]:
            found[c] = np.inf
            continue
        found[c] = total
        if total < best[k - 1]:
            place = k - 1
            while place > 0 and best[place - 1] > total:
                best[place] = best[place - 1]
                place -= 1
            best[place] = total
    return found


def _compiled(function: Any, **options: Any) -> Any:
    """Kept on disk beside this file or in the user's cache folder, where either can be written."""
    try:
        return njit(cache=True, fastmath=FREE, **options)(function)
    except RuntimeError:  # no folder for it
        return njit(fastmath=FREE, **options)(function)


rows = _compiled(_rows)
rotated = _compiled(_rotated, nogil=True)
differences = _compiled(_differences, nogil=True)
distances = _compiled(_distances, nogil=True)
