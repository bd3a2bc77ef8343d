"""Covariances are judged by their own scale, and what is taken can be factorised at any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import Engine
from engine.errors import InvalidStatistics
from engine.samples import MomentsSource
from engine.scores.frechet import statistics_to_cholesky
from engine.scores.gaussian_density import statistics_to_factor
from engine.statistics import Moments, checked_statistics, pack_symmetric

D, SAMPLES = 256, 40
EPSILON = 1e-4
SCALES = [
    ("f8", 1e-3),
    ("f4", 1e-3),
    ("f8", 0.06),
    ("f8", 30.0),
    ("f4", 30.0),
    ("f2", 30.0),
    (">f2", 30.0),
    ("f8", 1e4),
]


def few_samples(deviation: float, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = np.random.default_rng(seed).normal(0.3 * deviation, deviation, (SAMPLES, D))
    return rows.mean(axis=0), np.cov(rows, rowvar=False)


@pytest.mark.parametrize(("dtype", "deviation"), SCALES)
def test_few_samples_at_any_scale(dtype: str, deviation: float) -> None:
    mean, covariance = few_samples(deviation)
    given = covariance.astype(dtype)
    MomentsSource(mean, given)
    statistics = checked_statistics(mean, given, epsilon=EPSILON, samples=SAMPLES)
    largest = float(covariance.diagonal().max())
    assert EPSILON <= statistics.epsilon <= max(EPSILON, 0.02 * largest), (statistics.epsilon, largest)
    if deviation <= 1:
        assert statistics.epsilon == EPSILON
    sigma = statistics.covariance.astype(np.float64) + statistics.epsilon * np.eye(D)
    assert np.linalg.eigvalsh(sigma)[0] >= 0.49 * statistics.epsilon
    assert np.isfinite(statistics_to_factor(statistics).inverse).all()
    assert np.isfinite(statistics_to_cholesky(statistics)).all()


@pytest.mark.parametrize("deviation", [1e-3, 0.06, 30.0, 1e4])
def test_an_indefinite_one_at_any_scale_is_refused(deviation: float) -> None:
    mean, covariance = few_samples(deviation)
    covariance -= 0.01 * deviation**2 * np.eye(D)
    with pytest.raises(InvalidStatistics, match="indefinite"):
        checked_statistics(mean, covariance, epsilon=EPSILON, samples=SAMPLES)
    with pytest.raises(InvalidStatistics, match="indefinite"):
        MomentsSource(mean, covariance)


def test_float16_of_too_small_numbers_is_said() -> None:
    mean, covariance = few_samples(1e-3)
    with pytest.raises(InvalidStatistics, match="indefinite") as caught:
        MomentsSource(mean, covariance.astype(np.float16))
    assert "float32" in (caught.value.hint or "")


def test_own_features_under_a_tiny_epsilon() -> None:
    rows = np.random.default_rng(0).normal(size=(SAMPLES, D)).astype(np.float32)
    statistics = Moments.of(rows).to_statistics(1e-12)
    assert statistics.epsilon > 1e-12
    assert np.isfinite(statistics_to_factor(statistics).inverse).all()
    assert Moments.of(rows).to_statistics(EPSILON).epsilon == EPSILON


def density(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], dtype: type, query: NDArray[np.float64]
) -> float:
    """The log-density of what is stored, with an inverse in float64."""
    statistics = checked_statistics(mean, covariance.astype(dtype), epsilon=EPSILON, samples=SAMPLES)
    sigma = statistics.covariance.astype(np.float64) + statistics.epsilon * np.eye(D)
    away = query.astype(np.float32) - statistics.mean.astype(np.float64)
    return float(-0.5 * (away @ np.linalg.solve(sigma, away) + np.linalg.slogdet(2 * np.pi * sigma)[1]))


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@pytest.mark.parametrize("packed", [False, True])
def test_a_collection_of_few_samples_is_searched(tmp_path: Path, dtype: type, packed: bool) -> None:
    pairs = [few_samples(30.0, seed) for seed in range(3)]
    covariances = np.stack([pair[1].astype(dtype) for pair in pairs])
    if packed:
        covariances = np.stack([pack_symmetric(one) for one in covariances]).astype(dtype)
    with Engine.open(f"sqlite:///{tmp_path}/z.db", create=True, encoder="external:e") as engine:
        engine.ingest(MomentsSource(pairs[0][0], pairs[0][1].astype(dtype), SAMPLES), name="alone")
        query = pairs[0][0] / np.linalg.norm(pairs[0][0])
        scores, _ = engine.search_vectors(query, 3, "gaussian_density")
        np.testing.assert_allclose(scores[0], density(*pairs[0], dtype, query), rtol=0.1)
        engine.ingest_statistics(
            ["a", "b", "c"], np.stack([mean for mean, _ in pairs]), covariances, encoder="external:e", samples=SAMPLES
        )
        scores, _ = engine.search_vectors(query, 4, "gaussian_density")
        assert np.isfinite(scores).all()
        assert len(engine.similar("alone", 3)) == 3
        assert {finding.severity for finding in engine.doctor()} <= {"stale"}
