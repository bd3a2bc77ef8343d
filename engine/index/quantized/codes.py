"""Short codes for vectors in cells: how many bits each number gets, and how they are packed for the compiled loops.

Vectors are coded as residuals from their cell's centroid, in the eigenbasis of the residuals' second moments, largest
first. There the numbers are uncorrelated and of very different spread, so that a code of given length is closest to its
vector if bits go where the variance is (reverse water-filling; Gersho and Gray, *Vector Quantization and Signal
Compression*, 1992, ch. 8). Each number has 4, 2, 1 or no bits, and is rounded to the levels of the uniform quantiser
that is best for a normal distribution (Max, *Quantizing for minimum distortion*, 1960, table II).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]
LANES, WORD = 16, 4
"""Vectors a block, and bytes a group has of each."""
WIDTHS = (8, 4, 2, 1)
"""Bits a number, in the order in which groups come."""
STEPS = {4: 0.3352, 2: 0.9957, 1: 1.596}
"""Between levels, in standard deviations."""
DISTORTIONS = {4: 0.01154, 2: 0.1188, 1: 0.3634, 0: 1.0}
"""Mean squared error, in variances."""
GROUPS = 16
"""Of a code: 64 bytes."""
FIRST = 0.6
"""Share of a code's groups that a search reads first: of most blocks they say that nothing in them is near enough."""
LONG, LONGEST, LOST = 32, 64, 0.2
"""Groups of a long code, which an exact search bounds inner products by: so many, or twice as many where these are
wrong by more than a share of vectors' lengths. Of a million clustered models' rows, 13 % may be better than the tenth
best as far as codes of 64 bytes say, 1.3 % by 128 bytes (wrong by 0.19) and 0.07 % by 256; of as many independent
directions all by 192 bytes (wrong by 0.25), 3.4 % by 256 (0.11)."""


@dataclass(frozen=True, eq=False)
class Layout:
    """How numbers are coded.

    Attributes:
        counts: groups of 8, 4, 2 and 1 bits ``(4,)`` int64, in this order.
        bits: of each number that is coded ``(coded,)`` int64; those behind it are not.
        steps: between levels ``(coded,)`` float32.
    """

    counts: NDArray[np.int64]
    bits: NDArray[np.int64]
    steps: Float32

    @cached_property
    def halves(self) -> Float32:
        """The code that would stand for zero ``(coded,)`` float32: halfway up."""
        return ((2.0**self.bits - 1) / 2).astype(np.float32)

    @cached_property
    def spreads(self) -> Float32:
        """The standard deviations of codes ``(coded,)`` float32: a quantiser's levels vary by what it does not lose."""
        of = {width: np.sqrt(1 - DISTORTIONS[width]) / STEPS[width] for width in STEPS}
        return np.array([of[width] for width in self.bits.tolist()], np.float32)

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """Of ``counts``, those of the groups that a search reads first ``(4,)``."""
        ends = np.cumsum(self.counts)
        return np.asarray(np.diff(np.minimum(ends, int(np.ceil(FIRST * ends[-1]))), prepend=0), np.int64)

    @property
    def groups(self) -> int:
        """Groups a code: a quarter of its bytes."""
        return int(self.counts.sum())

    def codes(self, residuals: Float32) -> Bytes:
        """Residuals ``(n, d)`` to the numbers' codes ``(n, coded)``, one a byte."""
        levels = residuals[:, : len(self.bits)] / self.steps + (self.halves + 0.5)
        return np.clip(levels, 0, 2.0**self.bits - 1).astype(np.uint8)

    def decoded(self, codes: Bytes) -> Float32:
        """What codes ``(n, coded)`` stand for, float32."""
        return (codes - self.halves) * self.steps


def variances_to_long(variances: NDArray[np.float64], length: float) -> Layout:
    """The layout of long codes, for residuals of ``variances`` ``(d,)``, which fall, of vectors so long on average."""
    long = variances_to_layout(variances, LONG)
    shares = np.array([DISTORTIONS[width] for width in long.bits.tolist()] + [1.0] * (len(variances) - len(long.bits)))
    return long if np.sqrt(shares @ variances) <= LOST * length else variances_to_layout(variances, LONGEST)


def variances_to_layout(variances: NDArray[np.float64], groups: int = GROUPS) -> Layout:
    """The layout of so many groups that leaves the least of ``variances`` ``(d,)``, which fall."""
    d = len(variances)
    groups = min(groups, -(-d // 8))
    below = np.concatenate([[0.0], np.cumsum(variances)])
    least = (np.inf, 0, 0, 0)
    for fours in range(groups + 1):
        for twos in range(groups - fours + 1):
            ends = _ends(fours, twos, groups - fours - twos, d)
            left = below[-1] - below[ends[2]]
            for width, start, end in zip((4, 2, 1), (0, *ends), ends, strict=False):
                left += DISTORTIONS[width] * (below[end] - below[start])
            least = min(least, (float(left), fours, twos, groups - fours - twos))
    _, fours, twos, ones = least
    four, two, one = _ends(fours, twos, ones, d)
    bits = np.repeat([4, 2, 1], [four, two - four, one - two]).astype(np.int64)
    spread = np.sqrt(np.maximum(variances[:one], 1e-20))
    steps = np.array([STEPS[width] for width in bits.tolist()]) * spread
    return Layout(np.array([0, fours, twos, ones], np.int64), bits, steps.astype(np.float32))


def _ends(fours: int, twos: int, ones: int, d: int) -> tuple[int, int, int]:
    """Up to which number there are 4, 2 and 1 bits."""
    four = min(8 * fours, d)
    two = min(four + 16 * twos, d)
    return four, two, min(two + 32 * ones, d)


def packed(codes: Bytes, counts: NDArray[np.int64]) -> Bytes:
    """Codes ``(n, coded)``, one a byte, to ``(n, groups, 4)``: see ``block_products`` for the order of the bits.

    ``coded`` may be less than there is room for; what is missing is zero.
    """
    numbers = sum(int(count) * WORD * (8 // width) for count, width in zip(counts, WIDTHS, strict=True))
    wide = np.zeros((len(codes), numbers), np.uint8)
    wide[:, : codes.shape[1]] = codes
    groups, at = [], 0
    for count, width in zip(counts.tolist(), WIDTHS, strict=True):
        parts = 8 // width
        end = at + count * WORD * parts
        group = wide[:, at:end].reshape(len(codes), count, parts, WORD)
        together = np.zeros((len(codes), count, WORD), np.uint8)
        for part in range(parts):
            together |= group[:, :, part] << np.uint8(width * part)
        groups.append(together)
        at = end
    return np.concatenate(groups, axis=1)


def interleaved(groups: Bytes) -> Bytes:
    """Packed codes ``(16 b, groups, 4)`` to blocks ``(b, groups, 64)``."""
    blocks = groups.reshape(-1, LANES, *groups.shape[1:]).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(blocks).reshape(len(groups) // LANES, groups.shape[1], LANES * WORD)


def separated(blocks: Bytes) -> Bytes:
    """Blocks ``(b, groups, 64)`` back to packed codes ``(16 b, groups, 4)``."""
    lanes = blocks.reshape(len(blocks), -1, LANES, WORD).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(lanes).reshape(-1, blocks.shape[1], WORD)
