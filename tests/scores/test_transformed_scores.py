"""Whitened and learned scores against float64 references; A·L is a factor of AΣAᵀ."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput, InvalidStatistics
from engine.records import Statistics
from engine.scores import (
    fit_whitening,
    gaussian_density,
    learned_first_moment,
    learned_gaussian_density,
    matrix_to_covariance_map,
    statistics_to_factor,
    unit,
)
from engine.statistics import Moments

D = 7
SHAPES = ("diagonal", "triangular", "full")
seeds = st.integers(0, 2**32 - 1)


def random_statistics(rng: np.random.Generator, rows: int = 30, d: int = D) -> Statistics:
    wide = rng.normal(size=d) + rng.uniform(0.1, 1, size=d) * rng.normal(size=(rows, d))
    return Moments.of(unit(wide.astype(np.float32))).to_statistics(1e-4)


def random_matrix(rng: np.random.Generator, shape: str, d: int = D) -> np.ndarray:
    """A far from the identity and from singular."""
    if shape == "diagonal":
        matrix = np.diag(rng.uniform(0.2, 2, size=d))
    elif shape == "triangular":
        matrix = np.tril(0.5 * rng.normal(size=(d, d)), -1) + np.diag(rng.uniform(0.5, 2, d) * rng.choice([-1, 1], d))
    else:
        matrix = scipy.linalg.qr(rng.normal(size=(d, d)))[0] @ np.diag(rng.uniform(0.5, 2, d))
    return matrix.astype(np.float32)


def sigma_of(statistics: Statistics) -> np.ndarray:
    assert statistics.covariance is not None
    return statistics.covariance.astype(np.float64) + statistics.epsilon * np.eye(len(statistics.mean))


# --- learned


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from(SHAPES))
def test_learned_density_is_that_of_the_mapped_covariance(seed: int, shape: str) -> None:
    rng = np.random.default_rng(seed)
    statistics, a = random_statistics(rng), random_matrix(rng, shape)
    query = unit(rng.normal(size=D).astype(np.float32))
    wide = a.astype(np.float64)
    transformed = wide @ sigma_of(statistics) @ wide.T
    expected = scipy.stats.multivariate_normal.logpdf(query, statistics.mean, (transformed + transformed.T) / 2)
    found = learned_gaussian_density(statistics_to_factor(statistics), matrix_to_covariance_map(a), query)
    assert found == pytest.approx(expected, rel=2e-4, abs=2e-3)


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(["diagonal", "triangular"]))
def test_a_times_l_is_what_refactorising_gives(seed: int, shape: str) -> None:
    """Up to the signs of its columns, which no density sees."""
    rng = np.random.default_rng(seed)
    statistics, a = random_statistics(rng), random_matrix(rng, shape).astype(np.float64)
    lower = np.linalg.cholesky(sigma_of(statistics))
    again = np.linalg.cholesky(a @ sigma_of(statistics) @ a.T)
    product = a @ lower
    np.testing.assert_allclose(product * np.sign(np.diag(product)), again, rtol=1e-8, atol=1e-10)
    inverse = matrix_to_covariance_map(a.astype(np.float32)).inverse
    assert not np.triu(inverse, 1).any()  # so L⁻¹A⁻¹ is triangular, too
    np.testing.assert_allclose(
        np.linalg.inv(again),
        np.sign(np.diag(product))[:, None] * (np.linalg.inv(lower) @ inverse.astype(np.float64)),
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip


def test_the_identity_changes_nothing(rng: np.random.Generator) -> None:
    statistics = random_statistics(rng)
    factor, query = statistics_to_factor(statistics), unit(rng.normal(size=D).astype(np.float32))
    identity = np.eye(D, dtype=np.float32)
    same = learned_gaussian_density(factor, matrix_to_covariance_map(identity), query)
    assert same == gaussian_density(factor, query)
    means = unit(rng.normal(size=(5, D)).astype(np.float32))
    np.testing.assert_allclose(learned_first_moment(identity, means, query), means @ query, atol=1e-7)


def test_a_singular_transform_has_no_density() -> None:
    for matrix in (np.zeros((3, 3)), np.diag([1.0, 0, 1]), np.ones((3, 3))):
        with pytest.raises(InvalidInput, match="singular"):
            matrix_to_covariance_map(matrix.astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(SHAPES))
def test_learned_first_moment_is_the_cosine_after_a(seed: int, shape: str) -> None:
    rng = np.random.default_rng(seed)
    a, query = random_matrix(rng, shape), rng.normal(size=D).astype(np.float32)
    means = rng.normal(size=(9, D)).astype(np.float32)
    x, y = means.astype(np.float64) @ a.T.astype(np.float64), a.astype(np.float64) @ query
    expected = x @ y / np.linalg.norm(x, axis=1) / np.linalg.norm(y)
    np.testing.assert_allclose(learned_first_moment(a, means, query), expected, atol=1e-6)


# --- whitened


def reference(models: list[Statistics], shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
    weights = [model.samples - 1 for model in models]
    pooled = sum(w * np.asarray(m.covariance, np.float64) for w, m in zip(weights, models, strict=True)) / sum(weights)
    shrunk = (1 - shrinkage) * pooled + shrinkage * np.trace(pooled) / len(pooled) * np.eye(len(pooled))
    centre = np.mean([m.mean.astype(np.float64) / np.linalg.norm(m.mean.astype(np.float64)) for m in models], axis=0)
    return shrunk, centre


@pytest.mark.parametrize("shrinkage", [0.05, 0.5, 1.0])
def test_whitened_cosines_are_those_of_the_mahalanobis_metric(rng: np.random.Generator, shrinkage: float) -> None:
    models = [random_statistics(rng, rows) for rows in (5, 30, 200)]
    whitening = fit_whitening(models, shrinkage)
    shrunk, centre = reference(models, shrinkage)
    metric = np.linalg.inv(shrunk)
    mean, query = unit(models[0].mean), unit(rng.normal(size=D).astype(np.float32))
    x, y = mean - centre, query - centre
    expected = x @ metric @ y / np.sqrt((x @ metric @ x) * (y @ metric @ y))
    found = whitening.means_to_vectors(mean[None])[0] @ whitening.queries_to_vectors(query[None])[0]
    assert found == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(whitening.whiten.astype(np.float64) @ shrunk @ whitening.whiten.T, np.eye(D), atol=1e-4)


def test_whitening_finds_the_direction_that_tells_models_apart() -> None:
    """By hand: both models scatter a hundred times more along the first axis, and differ along the second."""
    covariance = np.diag([1.0, 1e-4]).astype(np.float32)
    means = [np.array([1, 0.1], np.float32), np.array([1, -0.1], np.float32)]
    whitening = fit_whitening([Statistics(mean, covariance, 1e-4, 100) for mean in means], 1e-6)
    query = unit(np.array([[0.2, 0.05]], np.float32))  # leans to the first model
    first, second = whitening.means_to_vectors(unit(np.stack(means))) @ whitening.queries_to_vectors(query)[0]
    assert first > 0.9
    assert second < -0.9


def test_the_centre_is_as_near_to_one_model_as_to_any_other(rng: np.random.Generator) -> None:
    model = random_statistics(rng)
    whitening = fit_whitening([model, model])
    assert (whitening.means_to_vectors(whitening.centre[None]) == 0).all()


def test_what_cannot_be_whitened(rng: np.random.Generator) -> None:
    one, other = random_statistics(rng), random_statistics(rng)
    for models in ([], [one]):
        with pytest.raises(InvalidStatistics, match="at least 2 models"):
            fit_whitening(models)
    bare = [Statistics(model.mean, None, 1e-4, 9) for model in (one, other)]
    still = [Statistics(model.mean, np.zeros((D, D), np.float32), 1e-4, 9) for model in (one, other)]
    for models in (bare, still):
        with pytest.raises(InvalidStatistics, match="scatter"):
            fit_whitening(models)
    for shrinkage in (0, -1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="shrinkage"):
            fit_whitening([one, other], shrinkage)
    np.testing.assert_array_equal(
        fit_whitening([one, other, bare[0]]).whiten, fit_whitening([one, other]).whiten
    )  # a model without a covariance counts towards the centre alone


def test_few_samples_are_no_obstacle(rng: np.random.Generator) -> None:
    """Fewer samples in all than dimensions: the shrinkage makes the pooled covariance definite."""
    d = 40
    whitening = fit_whitening([random_statistics(rng, 5, d) for _ in range(3)])
    assert np.isfinite(whitening.whiten).all()
