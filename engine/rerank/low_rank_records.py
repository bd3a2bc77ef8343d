"""Gaussian density of models with few samples: log N(h̃; μ, Σ) where Σ is a common matrix plus one of low rank.

A covariance S of n samples has rank n − 1, so with C = w·S_w + εI, the same for all models (εI without shrinkage),

    Σ = C + (1 − w)S,   C = L Lᵀ,   W = L⁻¹,   WΣWᵀ = I + Q diag(s) Qᵀ,

where Q ``(r, d)`` has orthonormal rows. By Woodbury's identity and the matrix determinant lemma, y = W(h̃ − μ),

    (h̃ − μ)ᵀ Σ⁻¹ (h̃ − μ) = ‖y‖² − Σ_i c_i (q_iᵀy)²,   c = s / (1 + s),   log det Σ = log det C + Σ_i log(1 + s_i).

That is exact, and r·d numbers instead of d²/2. With c descending, after j rows the distance can still fall by at most
c_{j+1} · (‖y‖² − Σ_{i≤j} (q_iᵀy)²): a candidate that is worse than the k-th best even then is dropped, exactly.
S is decomposed by a pivoted Cholesky factorisation, r² d operations. Source: Woodbury (1950).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from engine.records import Statistics
from engine.rerank.density_layout import ALIGNED, record_bytes
from engine.rerank.density_records import Addresses
from engine.scores.gaussian_density import Shrinkage, cholesky_to_inverse, covariance_to_cholesky

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
LOST = 3e-7
"""Of the largest variance: what of S is left when it is taken to be used up; float32 rounds its numbers to 6e-8."""


@dataclass(frozen=True, eq=False)
class Common:
    """What all models share: W ``(d, d)`` lower and log det C, both float64, for one ε."""

    whiten: Float64
    log_det: float
    epsilon: float
    weight: float

    def turned(self, inverse: Float32) -> Float64:
        """A learned map's A⁻¹ in W's basis, W A⁻¹ W⁻¹: y = W A⁻¹ (h̃ − μ) is what AΣAᵀ asks for."""
        back, _ = lapack.dtrtri(self.whiten, lower=1)
        return np.asarray(self.whiten @ inverse.astype(np.float64) @ back)


def shrinkage_to_common(shrinkage: Shrinkage | None, epsilon: float, dimension: int) -> Common:
    """Factorise C = w·S_w + εI.

    Raises:
        InvalidStatistics: it is not positive definite.
    """
    common = np.zeros((dimension, dimension)) if shrinkage is None else shrinkage.weight * shrinkage.target
    common[np.diag_indices_from(common)] += epsilon
    whiten, log_det = cholesky_to_inverse(covariance_to_cholesky(common, epsilon))
    return Common(whiten, log_det, epsilon, 0.0 if shrinkage is None else shrinkage.weight)


def low_rank_bytes(rank: int, dimension: int) -> int:
    """Bytes of a record of that rank, in whole cache lines."""
    exact = 8 * (dimension + 3) + 8 * rank + 4 * rank * dimension
    return -(-exact // ALIGNED) * ALIGNED


def is_smaller(statistics: Statistics) -> bool:
    """Whether the low-rank form is smaller than a factor: fewer samples than about 3/8 of the dimensions."""
    dimension = len(statistics.mean)
    return low_rank_bytes(max(statistics.samples - 1, 0), dimension) < record_bytes(dimension)


def statistics_to_low_rank(statistics: Statistics, common: Common) -> NDArray[np.uint8] | None:
    """The record; None where S is not of low rank, whatever the number of samples says.

    One after the other: log det Σ, Wμ ``(d,)``, ε, r and c ``(r,)``, descending, in float64, Q ``(r, d)`` in float32.
    """
    assert statistics.covariance is not None, "a density needs a covariance"
    own = statistics.covariance.astype(np.float64)
    dimension = len(own)
    level = float(np.diag(own).max())
    if not np.isfinite(own).all():
        return None
    factor, pivots, rank, _ = lapack.dpstrf(own, tol=LOST * level, lower=1)
    columns = np.zeros((dimension, rank))
    columns[pivots - 1] = np.tril(factor)[:, :rank]
    left_over = abs(float(np.trace(own)) - float(np.square(columns).sum()))
    if rank > max(statistics.samples - 1, 0) or left_over > dimension * LOST * level:
        return None
    columns *= np.sqrt(1 - common.weight)
    left, singular, _ = np.linalg.svd(common.whiten @ columns, full_matrices=False)
    s = np.square(singular)
    record = np.zeros(low_rank_bytes(rank, dimension), np.uint8)
    parts = (
        np.array([common.log_det + np.log1p(s).sum()]), common.whiten @ statistics.mean.astype(np.float64),
        np.array([common.epsilon, rank]), s / (1 + s), np.ascontiguousarray(left.T, np.float32),
    )  # fmt: skip
    place = 0
    for part in parts:
        record[place : place + part.nbytes] = part.ravel().view(np.uint8)
        place += part.nbytes
    return record


def low_rank_epsilons(addresses: Addresses, dimension: int) -> Float64:
    """The ε of each record: only records of one ε share a W."""
    place = 8 * (dimension + 1)
    return np.array([ctypes.c_double.from_address(address + place).value for address in addresses.tolist()], np.float64)


def low_rank_distances_at(
    addresses: Addresses, query: Float64, best: Float64, *, turn: Float64 | None = None
) -> Float64:
    """Squared distance + log det Σ of each record ``(n,)``, +inf for what is not among the best.

    ``query`` is W h̃ ``(d,)``, ``best`` the k least distances so far, ascending: what is found here enters it.
    ``turn`` is a learned map of covariances in W's basis.
    """
    from engine.rerank import density_kernel

    wide = np.ascontiguousarray(query, np.float64)
    dimension = len(wide)
    y = np.empty((len(addresses), dimension))
    density_kernel.differences(addresses, wide, y)
    turned = y if turn is None else np.ascontiguousarray(y @ turn.T)
    distances: Float64 = density_kernel.low_rank(addresses, turned, best, dimension)
    return distances
