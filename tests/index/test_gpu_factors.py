"""Factors on a card: the same code on torch's CPU device, and on CUDA where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from engine.index.gpu_factors import GpuFactors

D = 12
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def factors(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return np.tril(random.standard_normal((count, D, D))).astype(np.float32), random.standard_normal(count)


@pytest.mark.parametrize("device", DEVICES)
def test_distances_are_those_of_float64(device: str) -> None:
    triangles, log_dets = factors(9)
    card = GpuFactors(D, 10**6, device)
    ids, changes = np.arange(100, 109), np.full(9, 3)
    assert card.lacks(ids, changes).all()
    card.put(ids, changes, triangles, log_dets)
    assert not card.lacks(ids, changes).any()
    assert card.lacks(ids, changes + 1).all()
    z = np.random.default_rng(1).standard_normal((9, D)).astype(np.float32)
    wanted = np.square(np.einsum("nij,nj->ni", triangles.astype(np.float64), z)).sum(axis=1) + log_dets
    assert card.distances(ids, changes, z) == pytest.approx(wanted, rel=1e-5)
    some = np.array([7, 2, 4])
    assert card.distances(ids[some], changes[some], z[some]) == pytest.approx(wanted[some], rel=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_the_budget_holds_and_what_was_used_least_recently_goes(device: str) -> None:
    card = GpuFactors(D, 4 * (4 * D * D + 8), device)
    assert card.slots == 4
    triangles, log_dets = factors(6)
    one = np.ones(6, np.int64)
    for start in (0, 2):
        ids = np.arange(start, start + 2)
        card.put(ids, one[:2], triangles[ids], log_dets[ids])
    card.use(0, 1)
    card.put(np.array([4, 5]), one[:2], triangles[4:], log_dets[4:])
    assert card.lacks(np.arange(6), one).tolist() == [False, True, True, False, False, False]
    left = np.array([0, 3, 4, 5])
    z = np.ones((4, D), np.float32)
    wanted = np.square(triangles[left].astype(np.float64).sum(axis=2)).sum(axis=1) + log_dets[left]
    assert card.distances(left, one[:4], z) == pytest.approx(wanted, rel=1e-5)
