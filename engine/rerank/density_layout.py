"""How a packed inverse Cholesky factor lies in its record: constants, and each number's place. See ``PackedFactor``."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ALIGNED = 64
"""Bytes that records are rounded up to: a cache line."""
MIDDLE = 255
"""What one of a number's middle four bits is of its last eight, which go from −127 to 127."""
UPPER = 15 * MIDDLE
"""And one of its upper eight: the middle ones go from −7 to 7, so that whatever is left is as often above as below."""
STEPS = 127
"""Of a row's unit to its largest number: the upper bits, with the sign, can still be rounded."""
HEADER = 5
"""Numbers of float64 that go before the units, besides the mean."""
WIDTH = 16
"""Numbers that vector registers take at a time."""


def record_bytes(dimension: int) -> int:
    """Bytes of one model's record: two and a half a number of L⁻¹, and what goes with it; in whole cache lines."""
    places = row_places(dimension)
    exact = 8 * (dimension + HEADER) + 32 * (len(places) - 1) + 10 * int(places[-1])
    return -(-exact // ALIGNED) * ALIGNED


@lru_cache(maxsize=8)
def row_places(dimension: int) -> NDArray[np.int64]:
    """At which number of its quarter each row of L⁻¹ begins, and where all end ``(⌈d/4⌉ + 1,)``.

    Row r is the ⌊r/4⌋-th of the quarter r mod 4, so that four rows are read from four places at once, which memory does
    faster. They are equally wide, a multiple of ``WIDTH``, with zeros where one is shorter: loops have no remainder.
    """
    lengths = np.arange(4, dimension + 4, 4)
    widths = -(-np.minimum(lengths, dimension) // WIDTH) * WIDTH
    return np.append(0, np.cumsum(widths))


@lru_cache(maxsize=4)
def matrix_places(dimension: int) -> NDArray[np.int64]:
    """Of each number of a record, where in a ``(d, d)`` matrix it stands; d² where it stands nowhere."""
    places = row_places(dimension)
    found = np.full(4 * int(places[-1]), dimension**2)
    for row in range(dimension):
        start = int(places[row // 4]) + (row % 4) * int(places[-1])
        found[start : start + row + 1] = row * dimension + np.arange(row + 1)
    return found


def pack_nibbles(numbers: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Numbers of four bits with a sign, four quarters of them, in half as many bytes."""
    quarters = (numbers & 15).astype(np.uint8).reshape(2, 2, -1)
    return np.ravel(quarters[:, 0] | quarters[:, 1] << 4)


def unpack_nibbles(halves: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The same back."""
    pairs = halves.reshape(2, -1)
    both = np.stack([pairs & 15, pairs >> 4], axis=1)
    return (np.ravel(both).astype(np.int32) ^ 8) - 8
