"""Densities of models with few samples, as a common matrix plus one of low rank, against float64 SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from engine.records import Statistics
from engine.rerank.density_layout import record_bytes
from engine.rerank.density_records import distances_to_densities
from engine.rerank.low_rank_records import (
    is_smaller,
    low_rank_bytes,
    low_rank_distances_at,
    low_rank_epsilons,
    shrinkage_to_common,
    statistics_to_low_rank,
)
from engine.scores import Shrinkage
from engine.scores.gaussian_density import shrunk_covariance


def model(samples: int, dimension: int, seed: int, epsilon: float = 1e-3) -> Statistics:
    random = np.random.default_rng(seed)
    scales = np.arange(1, dimension + 1) ** -0.5
    rows = random.standard_normal(dimension) * scales + 0.6 * random.standard_normal((samples, dimension)) * scales
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    covariance = np.cov(rows, rowvar=False).astype(np.float32)
    return Statistics(rows.mean(axis=0).astype(np.float32), covariance, epsilon, samples)


def pooled(dimension: int, weight: float) -> Shrinkage | None:
    if not weight:
        return None
    return Shrinkage(np.float64(model(20 * dimension, dimension, 999).covariance), weight, "1")  # type: ignore[arg-type]


def unit(dimension: int, seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(dimension) * np.arange(1, dimension + 1) ** -0.5
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def distances(models: list[Statistics], shrinkage: Shrinkage | None, query: np.ndarray, k: int) -> np.ndarray:
    dimension = len(query)
    common = shrinkage_to_common(shrinkage, models[0].epsilon, dimension)
    records = [statistics_to_low_rank(one, common) for one in models]
    addresses = np.array([0 if r is None else r.ctypes.data for r in records], np.uint64)
    assert (addresses > 0).all()
    assert low_rank_epsilons(addresses, dimension).tolist() == [models[0].epsilon] * len(models)
    return low_rank_distances_at(addresses, common.whiten @ query.astype(np.float64), np.full(k, np.inf))


@pytest.mark.parametrize(("dimension", "samples"), [(16, 2), (16, 5), (64, 20), (128, 3), (256, 60)])
@pytest.mark.parametrize("weight", [0.3, 0.8])
def test_it_agrees_with_scipy(dimension: int, samples: int, weight: float) -> None:
    models = [model(samples, dimension, seed) for seed in range(8)]
    shrinkage = pooled(dimension, weight)
    query = unit(dimension, 77)
    wanted = np.array([
        multivariate_normal(m.mean.astype(np.float64), shrunk_covariance(m, shrinkage)).logpdf(query.astype(np.float64))
        for m in models
    ])  # fmt: skip
    found = distances_to_densities(distances(models, shrinkage, query, len(models)), dimension)
    assert found == pytest.approx(wanted, abs=1e-3)
    assert np.argsort(-found).tolist() == np.argsort(-wanted).tolist()


def test_it_agrees_with_scipy_where_it_is_worst_conditioned() -> None:
    models = [model(40, 256, seed, epsilon=1e-4) for seed in range(6)]  # no shrinkage: C = εI
    query = unit(256, 5)
    wanted = np.array([
        multivariate_normal(m.mean.astype(np.float64), shrunk_covariance(m, None)).logpdf(query.astype(np.float64))
        for m in models
    ])  # fmt: skip
    found = distances_to_densities(distances(models, None, query, len(models)), 256)
    assert np.max(np.abs(found - wanted) / np.abs(wanted)) < 1e-5
    assert np.argsort(-found).tolist() == np.argsort(-wanted).tolist()


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 25), k=st.integers(1, 30), seed=st.integers(0, 1000), weight=st.sampled_from([0.0, 0.8]))
def test_the_k_best_are_never_dropped(count: int, k: int, seed: int, weight: float) -> None:
    models = [model(6, 32, seed + number) for number in range(count)]
    query = unit(32, seed + 1)
    everything = distances(models, pooled(32, weight), query, count)
    found = distances(models, pooled(32, weight), query, k)
    kept = np.isfinite(found)
    assert np.isfinite(everything).all()
    assert found[kept].tolist() == everything[kept].tolist()
    assert kept[everything < np.sort(everything)[min(k, count) - 1]].all()
    assert kept.sum() >= min(k, count)


def test_it_is_used_where_it_is_smaller() -> None:
    assert is_smaller(model(50, 512, 0))
    assert not is_smaller(model(300, 512, 0))
    assert low_rank_bytes(49, 512) < record_bytes(512) / 3


def test_what_is_not_of_low_rank_has_no_such_record() -> None:
    full = model(200, 16, 0)
    said = Statistics(full.mean, full.covariance, 1e-3, 3)
    common = shrinkage_to_common(None, 1e-3, 16)
    assert statistics_to_low_rank(said, common) is None
    assert statistics_to_low_rank(Statistics(full.mean, -np.eye(16, dtype=np.float32), 1e-3, 3), common) is None
    nan = np.full((16, 16), np.nan, np.float32)
    assert statistics_to_low_rank(Statistics(full.mean, nan, 1e-3, 3), common) is None


def test_samples_that_are_all_the_same_have_rank_zero() -> None:
    same = Statistics(unit(16, 0), np.zeros((16, 16), np.float32), 1e-3, 5)
    shrinkage = pooled(16, 0.8)
    wanted = multivariate_normal(same.mean.astype(np.float64), shrunk_covariance(same, shrinkage))
    found = distances_to_densities(distances([same], shrinkage, unit(16, 4), 1), 16)
    assert found[0] == pytest.approx(wanted.logpdf(unit(16, 4).astype(np.float64)), abs=1e-3)
