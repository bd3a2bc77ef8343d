"""The linear density is the density's best affine approximation; the blend is two standardised scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.records import Statistics
from engine.scores import LinearDensity, Shrinkage, blend, fit_whitening, gaussian_density, statistics_to_factor, unit
from engine.statistics import Moments

D = 6


def some_models(rng: np.random.Generator, count: int = 12) -> list[Statistics]:
    found = []
    for _ in range(count):
        rows = rng.normal(size=D) + rng.uniform(0.1, 1, size=D) * rng.normal(size=(60, D))
        found.append(Moments.of(unit(rows.astype(np.float32))).to_statistics(1e-4))
    return found


def linear_of(models: list[Statistics], weight: float) -> LinearDensity:
    whitening = fit_whitening(models)
    shrinkage = Shrinkage(whitening.covariance(), weight, "test")
    return LinearDensity(whitening.average.astype(np.float64), whitening.total(), shrinkage)


@pytest.mark.parametrize("weight", [0.3, 0.6, 0.9])
def test_it_is_the_least_squares_fit_of_the_density(rng: np.random.Generator, weight: float) -> None:
    """Regress the true log-density on h over a large draw of N(g, T): slope and mean value are the vector's."""
    models = some_models(rng)
    linear = linear_of(models, weight)
    drawn = rng.multivariate_normal(linear.centre, linear.total, size=200_000, method="cholesky")
    vector = linear.statistics_to_vectors(models[:1])[0].astype(np.float64)
    factor = statistics_to_factor(models[0], linear.shrinkage)
    z = (drawn - models[0].mean) @ factor.inverse.T.astype(np.float64)
    exact = -0.5 * (np.einsum("nd,nd->n", z, z) + factor.log_det)  # without d log 2π, the same for all models
    design = np.column_stack([drawn - linear.centre, np.ones(len(drawn))])
    fitted, *_ = np.linalg.lstsq(design, exact, rcond=None)
    np.testing.assert_allclose(vector, fitted, rtol=0.05, atol=0.05 * np.abs(fitted).max())


def test_equal_covariances_make_it_exact(rng: np.random.Generator) -> None:
    """The quadratic terms then cancel between models: differences of linear densities are those of densities."""
    covariance = np.diag(rng.uniform(0.01, 0.1, size=D)).astype(np.float32)
    models = [Statistics(rng.normal(size=D).astype(np.float32), covariance, 1e-4, 100) for _ in range(5)]
    linear = linear_of(models, 0.5)
    queries = unit(rng.normal(size=(7, D)).astype(np.float32))
    found = linear.queries_to_vectors(queries).astype(np.float64) @ linear.statistics_to_vectors(models).T
    factors = [statistics_to_factor(model, linear.shrinkage) for model in models]
    exact = np.array([[gaussian_density(factor, query) for factor in factors] for query in queries])
    np.testing.assert_allclose(np.diff(found, axis=1), np.diff(exact, axis=1), rtol=1e-3, atol=1e-2)


def test_a_model_without_covariance_takes_the_collections(rng: np.random.Generator) -> None:
    models = some_models(rng)
    linear = linear_of(models, 0.6)
    bare = Statistics(models[0].mean, None, 1e-4, 60)
    pooled = Statistics(models[0].mean, linear.shrinkage.target.astype(np.float32), 1e-4, 60)
    np.testing.assert_allclose(*linear.statistics_to_vectors([bare, pooled]), rtol=1e-3)


def test_what_is_not_positive_definite_has_no_vector(rng: np.random.Generator) -> None:
    models = some_models(rng)
    broken = Statistics(models[0].mean, -10 * np.eye(D, dtype=np.float32), 1e-4, 60)
    vectors = linear_of(models, 0.3).statistics_to_vectors([broken, models[1]])
    assert np.isnan(vectors[0]).all()
    assert np.isfinite(vectors[1]).all()


finite = st.integers(-80_000, 80_000).map(lambda eighths: eighths / 8)
"""Numbers of which an offset leaves something."""


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=20), st.floats(0.1, 10), st.floats(-100, 100))
def test_a_blend_knows_no_scale(pairs: list[tuple[float, float]], factor: float, offset: float) -> None:
    densities, similarities = np.array(pairs, np.float64).T
    moved = blend(densities * factor + offset, similarities)
    np.testing.assert_allclose(moved, blend(densities, similarities), atol=1e-4)


@pytest.mark.parametrize("same", [0.1, 1e-30, 1e5 / 3])
def test_what_is_all_the_same_says_nothing(same: float) -> None:
    """Though the mean of equal numbers may differ from them by rounding."""
    other = np.linspace(0, 1, 10)
    np.testing.assert_allclose(blend(np.full(10, same), other), blend(np.zeros(10), other), atol=1e-9)


def test_a_blend_by_hand() -> None:
    found = blend(np.array([1.0, 3.0]), np.array([0.5, 0.1]))
    np.testing.assert_allclose(found, [(-1 + 2 * 1) / 3, (1 - 2 * 1) / 3])


def test_a_blend_of_what_is_missing() -> None:
    """Scored by what is there: z of the density for the one, z of the samples for the other, nothing for the third."""
    found = blend(np.array([1.0, 3.0, np.nan, np.nan]), np.array([np.nan, 0.1, 0.3, -np.inf]))
    np.testing.assert_allclose(found[:3], [-1.0, (1 - 2 * 1) / 3, 1.0])
    assert np.isnan(found[3])
    assert np.isnan(blend(np.full(3, np.nan), np.full(3, np.nan))).all()
    np.testing.assert_array_equal(blend(np.full(2, 7.0), np.full(2, np.nan)), [0.0, 0.0])
