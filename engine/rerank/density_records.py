"""Gaussian density of many candidates for one query, k best exactly: log N(h̃; μ, Σ) from packed inverse factors.

As in ``gaussian_density``, with features turned by one rotation R ``(d, d)`` that all models share: with RΣRᵀ = L Lᵀ
and z = R(h̃ − μ) the density is −½(‖L⁻¹z‖² + log det Σ + d log 2π). ‖L⁻¹z‖² is a sum of squares, row by row, and after
r rows the squared distance in the first r coordinates alone: a lower bound. A candidate whose bound is beyond the
distance of the k-th best so far is dropped, exactly. So that bounds grow fast, R holds the eigenvectors of the
covariance of all models' samples together, largest variance first: that is where models differ most, and
row r costs r + 1 numbers only. So that the k-th best is near from the start, candidates are taken in order of what the
diagonals of their factors say: in such a basis that is much.

A number of L⁻¹ beside its diagonal is kept in 20 bits, in units of its row's largest: 8, 4 and 8 of them, each in
another place; the diagonal, many times larger, in float32. Most candidates are dropped by the first 8 and by z in whole
numbers of 16 bits, nearly all others by 4 more, with errors that are bounded; of what is left all is read. The
densities are within 1e-3 nats of float64.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidStatistics
from engine.records import Statistics
from engine.rerank.density_layout import (
    HEADER,
    MIDDLE,
    STEPS,
    UPPER,
    matrix_places,
    pack_nibbles,
    record_bytes,
    row_places,
    unpack_nibbles,
)
from engine.scores.gaussian_density import (
    LOG_2PI,
    Shrinkage,
    cholesky_to_inverse,
    covariance_to_cholesky,
    shrunk_covariance,
)

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Addresses = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class PackedFactor:
    """One density in the shared basis. ``record`` is ``(record_bytes(d),)`` uint8, contiguous, at an address of 8·n.

    In it lie, one after the other: log det Σ, the rotated mean ``(d,)``, ``slack``, ``less``, ``norm`` and ``widest``
    in float64; the rows' units and the diagonal of L⁻¹, float32, for four rows at a time; then, of each number beside
    the diagonal and at ``row_places``, the upper bits, rounded, as int8; the middle ones of what that leaves, in half
    a byte each, two quarters in one, the first and third in the lower halves; the last ones, as int8; zeros. A unit is
    that of the upper bits, and on the diagonal all are zero.
    """

    record: NDArray[np.uint8]
    dimension: int

    def __post_init__(self) -> None:
        assert self.record.nbytes == record_bytes(self.dimension), "a record of another dimension"
        assert self.record.flags.c_contiguous, "a record lies in one piece"
        assert self.address % 8 == 0, "float64 numbers lie at multiples of 8"

    @classmethod
    def at(cls, address: int, dimension: int) -> PackedFactor:
        """The record at an address; whoever has it from there keeps it alive."""
        held = (ctypes.c_uint8 * record_bytes(dimension)).from_address(address)
        return cls(np.ctypeslib.as_array(held), dimension)

    @cached_property
    def address(self) -> int:
        """Where it lies; good for as long as this object lives."""
        return int(self.record.ctypes.data)

    @property
    def log_det(self) -> float:
        """log det Σ."""
        return float(self.record[:8].view(np.float64)[0])

    @property
    def mean(self) -> Float64:
        """Rμ ``(d,)``."""
        return self.record[8 : 8 * (self.dimension + 1)].view(np.float64)

    @property
    def slack(self) -> float:
        """At least the spectral norm of what L⁻¹ is wrong by with its upper bits alone."""
        return float(self._bounds[0])

    @property
    def less(self) -> float:
        """The same with its middle bits besides."""
        return float(self._bounds[1])

    @property
    def norm(self) -> float:
        """The Frobenius norm of L⁻¹ beside its diagonal, of the upper bits alone."""
        return float(self._bounds[2])

    @property
    def widest(self) -> float:
        """The largest norm of a row of upper, middle or last bits, in whole numbers."""
        return float(self._bounds[3])

    @property
    def _bounds(self) -> Float64:
        return self.record[8 * (self.dimension + 1) : 8 * (self.dimension + HEADER)].view(np.float64)

    @property
    def packed(self) -> Float32:
        """The rows of L⁻¹, ``(d (d + 1) / 2,)``."""
        return self.square()[np.tril_indices(self.dimension)]

    def square(self) -> Float32:
        """L⁻¹ ``(d, d)``, with the zeros above its diagonal."""
        units, diagonal, upper, middle, last = self._parts()
        square = np.zeros(self.dimension**2 + 1)
        square[matrix_places(self.dimension)] = upper + (MIDDLE * unpack_nibbles(middle) + last) / UPPER
        rows = square[:-1].reshape(self.dimension, -1) * units[: self.dimension, None].astype(np.float64)
        np.fill_diagonal(rows, diagonal[: self.dimension])
        return np.asarray(rows, np.float32)

    def _parts(self) -> tuple[Float32, Float32, NDArray[np.int8], NDArray[np.uint8], NDArray[np.int8]]:
        places = row_places(self.dimension)
        start, rows, count = 8 * (self.dimension + HEADER), 4 * (len(places) - 1), 4 * int(places[-1])
        units, diagonal = self.record[start : start + 8 * rows].view(np.float32).reshape(2, rows)
        start += 8 * rows
        upper, middle, last = np.split(self.record[start : start + 5 * count // 2], [count, 3 * count // 2])
        return units, diagonal, upper.view(np.int8), middle, last.view(np.int8)

    def fill(self, log_det: float, mean: Float64, inverse: Float64) -> PackedFactor:
        """Write it, of L⁻¹ ``(d, d)``."""
        d = self.dimension
        units, diagonal, high, between, low = self._parts()
        diagonal[:d] = np.diag(inverse)
        beside = inverse.copy()
        np.fill_diagonal(beside, 0)
        largest = np.abs(beside).max(axis=1)
        units[:d] = np.where(largest > 0, largest, 1) / STEPS
        scale = units[:d, None].astype(np.float64)
        steps = np.rint(beside * (UPPER / scale)).astype(np.int32)
        upper = (steps + UPPER // 2) // UPPER
        middle = (steps - UPPER * upper + MIDDLE // 2) // MIDDLE
        last = steps - UPPER * upper - MIDDLE * middle
        places = matrix_places(d)
        high[:], low[:] = np.append(upper, 0)[places], np.append(last, 0)[places]
        between[:] = pack_nibbles(np.append(middle, 0)[places])
        self.record[:8].view(np.float64)[0] = log_det
        self.mean[:] = mean
        kept = scale * upper
        more = kept + scale * (middle / (UPPER // MIDDLE))
        wrong = np.diag(np.diag(inverse) - diagonal[:d])
        widest = max(np.linalg.norm(bits.astype(np.float64), axis=1).max() for bits in (upper, middle, last))
        bounds = spectral_bound(beside - kept + wrong), spectral_bound(beside - more + wrong), np.linalg.norm(kept)
        self._bounds[:] = (1 + 1e-4) * np.array([*bounds, widest])
        return self


def spectral_bound(matrix: Float64) -> float:
    """At least the largest singular value of ``matrix`` ``(d, d)``: its Schatten norm of order 8, and what may round.

    ‖A‖₂⁸ ≤ Σ σᵢ⁸ = ‖(AᵀA)²‖²_F. For errors of rounding this is some six times less than the Frobenius norm at
    d = 512, and half as much again as the singular value. The products are in float32, each wrong by at most d·2⁻²⁴ of
    the squared Frobenius norm.
    """
    length = float(np.linalg.norm(matrix))
    if not 0 < length < np.inf:
        return length
    error = (len(matrix) + 2) * 2.0**-24
    scaled = (matrix / length).astype(np.float32)
    squared = scaled.T @ scaled
    fourth = float(np.linalg.norm((squared @ squared).astype(np.float64)))
    return length * min(1.0, math.sqrt(math.sqrt(fourth + error) + 2 * error))


def statistics_to_rotation(statistics: Iterable[Statistics]) -> Float32:
    """R ``(d, d)`` float32: eigenvectors, as rows, of the covariance of all models' samples, largest variance first.

    That covariance is the mean of the models' own plus the scatter of their means. Models without one add their mean.
    R is rounded, and taken as it is from there on: distances are the same in any basis, and log|det R|, about 1e-6, is
    the same for all models.

    Raises:
        InvalidStatistics: there are no statistics.
    """
    means, within, full = [], None, 0
    for item in statistics:
        means.append(item.mean.astype(np.float64))
        if item.covariance is not None:
            within = item.covariance.astype(np.float64) if within is None else within + item.covariance
            full += 1
    if not means:
        raise InvalidStatistics("a shared basis needs at least one model")
    centred = np.stack(means) - np.mean(means, axis=0)
    total = centred.T @ centred / len(means)
    if within is not None:
        total += within / full
    return np.ascontiguousarray(np.linalg.eigh(total)[1][:, ::-1].T, np.float32)


def feature_to_rotated(rotation: Float32, feature: Float32) -> Float64:
    """R h̃ ``(d,)`` float64, summed in float64: ε is small, so L⁻¹ makes much of an error in z."""
    from engine.rerank import density_kernel

    turned: Float64 = density_kernel.rotated(rotation, np.asarray(feature, np.float64))
    return turned


def statistics_to_packed(statistics: Statistics, rotation: Float32, shrinkage: Shrinkage | None = None) -> PackedFactor:
    """Factorise RΣRᵀ, Σ as in ``gaussian_density``, in float64, and pack its inverse. ``rotation`` is ``(d, d)``.

    Raises:
        ValueError: the statistics have no covariance.
        InvalidStatistics: Σ is not positive definite.
    """
    if statistics.covariance is None:
        raise ValueError("gaussian_density needs a covariance")
    wide = rotation.astype(np.float64)
    sigma = wide @ shrunk_covariance(statistics, shrinkage) @ wide.T
    inverse, log_det = cholesky_to_inverse(covariance_to_cholesky(sigma, statistics.epsilon))
    if not (np.isfinite(log_det) and np.isfinite(inverse).all()):
        raise InvalidStatistics("the covariance is not finite", hint="ingest the model again")
    dimension = len(rotation)
    factor = PackedFactor(np.zeros(record_bytes(dimension), np.uint8), dimension)
    return factor.fill(log_det, wide @ statistics.mean.astype(np.float64), inverse)


def packed_densities(factors: Sequence[PackedFactor], query: Float64, k: int) -> Float64:
    """log N of each factor's model ``(n,)`` float64, in nats, or −inf where it is certainly not among the k best.

    ``query`` is R h̃ ``(d,)`` float64, ``k`` at least 1. All k best have their scores, and so has whatever ties with
    the k-th. A score that is not a number takes no place among the k.
    """
    return distances_to_densities(packed_distances(factors, query, k)[0], len(query))


def distances_to_densities(distances: Float64, dimension: int) -> Float64:
    """−½(‖L⁻¹z‖² + log det Σ + d log 2π) of ‖L⁻¹z‖² + log det Σ."""
    return -0.5 * (distances + dimension * LOG_2PI)


def packed_distances(factors: Sequence[PackedFactor], query: Float64, k: int) -> tuple[Float64, NDArray[np.int64]]:
    """‖L⁻¹z‖² + log det Σ ``(n,)``, +inf where dropped, and how many of the d rows were read of each ``(n,)``."""
    assert all(factor.dimension == len(query) for factor in factors), "factors of the query's dimension"
    return distances_at(np.array([factor.address for factor in factors], np.uint64), query, k)


def distances_at(
    addresses: Addresses,
    query: Float64,
    k: int,
    *,
    turn: Float64 | None = None,
    best: Float64 | None = None,
) -> tuple[Float64, NDArray[np.int64]]:
    """As ``packed_distances``, of records by address ``(n,)`` uint64: whoever asks keeps them alive meanwhile.

    ``turn`` ``(d, d)`` is a learned map of covariances in the shared basis, RA⁻¹Rᵀ: z is turned by it. ``best``
    ``(k,)`` holds the least distances of other candidates, ascending, and takes in what is found here.
    """
    from engine.rerank import density_kernel

    assert k >= 1, "the k best of none"
    assert (addresses != 0).all(), "a record lies somewhere"
    dimension = len(query)
    read = np.full(len(addresses), dimension, np.int64)
    so_far = np.full(k, np.inf) if best is None else best
    turned = np.empty((0, dimension), np.float32) if turn is None else differences_at(addresses, query, turn)
    wide = np.ascontiguousarray(query, np.float64)
    found: Float64 = density_kernel.distances(addresses, wide, turned, so_far, row_places(dimension), read)
    return found, read


def differences_at(addresses: Addresses, query: Float64, turn: Float64 | None = None) -> Float32:
    """z = R(h̃ − μ) of each record ``(n, d)``, turned by ``turn`` where that is given."""
    from engine.rerank import density_kernel

    wide = np.ascontiguousarray(query, np.float64)
    z = np.empty((len(addresses), len(wide)), np.float32 if turn is None else np.float64)
    density_kernel.differences(addresses, wide, z)
    return np.ascontiguousarray(z if turn is None else z @ turn.T, np.float32)
