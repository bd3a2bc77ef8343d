"""The experiments' scores are the engine's own, and what goes beyond is its formula."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from benchmarks.accuracy import beyond, methods
from benchmarks.accuracy.load import Float32
from benchmarks.accuracy.tables import RESULTS
from engine import scores
from engine.config import Settings
from engine.records import Statistics
from engine.scores import unit

D = 12


@pytest.fixture
def features() -> tuple[Float32, ...]:
    rng = np.random.default_rng(0)
    return tuple(unit(rng.normal(size=D) + 0.6 * rng.normal(size=(40 + i, D))) for i in range(5))


@pytest.fixture
def queries() -> Float32:
    return unit(np.random.default_rng(1).normal(size=(7, D)))


@pytest.fixture
def moments(features: tuple[Float32, ...]) -> methods.Moments:
    return methods.features_to_moments(features)


@pytest.fixture
def statistics(moments: methods.Moments) -> list[Statistics]:
    return [
        Statistics(m.astype(np.float32), c.astype(np.float32), methods.EPSILON, int(k))
        for m, c, k in zip(moments.mean, moments.covariance, moments.samples, strict=True)
    ]


def table(queries: Float32, count: int, score: object) -> np.ndarray:
    return np.array([[score(i, q) for i in range(count)] for q in queries])  # type: ignore[operator]


def test_moments_are_those_of_the_first_samples(features: tuple[Float32, ...]) -> None:
    found = methods.features_to_moments(features, 10)
    wide = features[2][:10].astype(np.float64)
    np.testing.assert_allclose(found.mean[2], wide.mean(axis=0))
    np.testing.assert_allclose(found.covariance[2], (wide - wide.mean(0)).T @ (wide - wide.mean(0)) / 9)
    assert found.samples.tolist() == [10] * 5


def test_papers_rules_are_the_engines(
    queries: Float32, features: tuple[Float32, ...], moments: methods.Moments, statistics: list[Statistics]
) -> None:
    factors = [scores.statistics_to_factor(s) for s in statistics]
    covariance = methods.with_epsilon(moments.covariance)
    pairs = {
        "first moment": (
            methods.first_moment(queries, moments),
            lambda i, q: scores.first_moment(scores.unit(statistics[i].mean), q),
        ),
        "first + second": (
            methods.first_second_moment(queries, moments, 20.0),
            lambda i, q: scores.first_second_moment(statistics[i], q, 20.0),
        ),
        "density": (
            methods.gaussian_density(queries, moments.mean, covariance),
            lambda i, q: scores.gaussian_density(factors[i], q),
        ),
        "monte carlo": (
            methods.from_samples(queries, features, methods.monte_carlo(20.0)),
            lambda i, q: scores.monte_carlo(features[i], q, 20.0),
        ),
        "best 3": (
            methods.from_samples(queries, features, methods.best_k(3)),
            lambda i, q: scores.best_k(features[i], q, 3),
        ),
    }
    for name, (found, one) in pairs.items():
        np.testing.assert_allclose(found, table(queries, 5, one), rtol=2e-4, atol=2e-4, err_msg=name)


def test_density_is_scipys(queries: Float32, moments: methods.Moments) -> None:
    covariance = beyond.toward_pooled(moments, 0.4, 1e-3)
    pooled = sum((k - 1) * c for k, c in zip(moments.samples, moments.covariance, strict=True))
    pooled = pooled / (moments.samples - 1).sum()
    np.testing.assert_allclose(covariance[1], 0.6 * moments.covariance[1] + 0.4 * pooled + 1e-3 * np.eye(D))
    expected = table(
        queries, 5, lambda i, q: multivariate_normal(moments.mean[i], covariance[i]).logpdf(q.astype(np.float64))
    )
    np.testing.assert_allclose(methods.gaussian_density(queries, moments.mean, covariance), expected, rtol=1e-4)


def test_whitening_is_the_engines(queries: Float32, moments: methods.Moments, statistics: list[Statistics]) -> None:
    own = beyond.whitened_first_moment(queries, moments, beyond.fit_whitening(moments, 0.1))
    engines = scores.fit_whitening(statistics, 0.1)
    theirs = engines.queries_to_vectors(queries) @ engines.means_to_vectors(unit(moments.mean)).T
    np.testing.assert_allclose(own, theirs, atol=1e-4)


def test_linear_discriminant_orders_as_equal_covariances_do(queries: Float32, moments: methods.Moments) -> None:
    whitening = beyond.fit_whitening(moments, 1e-6)
    found = beyond.linear_discriminant(queries, moments, whitening)
    means = unit(moments.mean).astype(np.float64)
    pooled = 0.999999 * moments.pooled + 1e-6 * np.trace(moments.pooled) / D * np.eye(D)
    density = table(queries, 5, lambda i, q: multivariate_normal(means[i], pooled).logpdf(q.astype(np.float64)))
    np.testing.assert_array_equal(np.argsort(found, axis=1), np.argsort(density, axis=1))


def test_a_shift_of_full_rank_is_the_difference_of_the_pairs() -> None:
    rng = np.random.default_rng(2)
    pictures, sketches = rng.normal(size=(2, 50, D)).astype(np.float32)
    shift = beyond.fit_shift(pictures, sketches, D)
    np.testing.assert_allclose(shift.mean, (sketches - pictures).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(shift.covariance, np.cov(sketches - pictures, rowvar=False), rtol=1e-5, atol=1e-7)
    assert np.linalg.matrix_rank(beyond.fit_shift(pictures, sketches, 3).covariance, tol=1e-9) == 3


def test_shrinkage_of_a_few_samples_is_well_conditioned(features: tuple[Float32, ...]) -> None:
    few = features[0][:6]
    for estimate in (beyond.ledoit_wolf(few), beyond.oracle_approximating(few)):
        assert np.linalg.eigvalsh(estimate).min() > 1e-4
        assert np.trace(estimate) == pytest.approx(np.trace(np.cov(few, rowvar=False, bias=True)), rel=1e-5)


def test_a_stack_follows_the_score_that_knows() -> None:
    rng = np.random.default_rng(3)
    targets = np.eye(6, dtype=bool)[rng.integers(6, size=200)]
    knows = (targets + 0.3 * rng.normal(size=targets.shape)).astype(np.float32)
    noise = rng.normal(size=targets.shape).astype(np.float32)
    weights = beyond.fit_stack([noise, knows], targets)
    assert weights[1] > 10 * abs(weights[0])
    stacked = beyond.stacked([noise, knows], weights)
    assert (stacked.argmax(axis=1) == targets.argmax(axis=1)).mean() > 0.95


def test_calibration_takes_away_a_hubs_lead() -> None:
    rng = np.random.default_rng(4)
    background = rng.normal(size=(500, 3)).astype(np.float32) + np.array([5, 0, 0], np.float32)
    scores_ = np.array([[5.0, 1.0, 0.0]], np.float32)
    assert scores_.argmax() == 0
    assert beyond.calibrated(scores_, background).argmax() == 1


def test_a_mixture_of_one_is_the_density(
    queries: Float32, features: tuple[Float32, ...], moments: methods.Moments
) -> None:
    covariance = beyond.toward_pooled(moments, 0.5)
    found = beyond.mixture_density(queries, features, moments, 0.5, 1)
    np.testing.assert_allclose(found, methods.gaussian_density(queries, moments.mean, covariance), rtol=1e-3, atol=1e-2)


def test_a_mixture_finds_two_modes(moments: methods.Moments) -> None:
    """A model that draws two things: the mixture prefers a query near one of them to its own mean, the density not."""
    rng = np.random.default_rng(5)
    modes = rng.normal(size=(2, D))
    modes *= 6 / np.linalg.norm(modes, axis=1, keepdims=True)
    rows = np.concatenate([mode + 0.1 * rng.normal(size=(200, D)) for mode in modes]).astype(np.float32)
    own = methods.features_to_moments((rows,))
    covariance = methods.with_epsilon(own.covariance)
    asked = np.stack([modes[0], modes.mean(axis=0)]).astype(np.float32)
    single = methods.gaussian_density(asked, own.mean, covariance)[:, 0]
    mixed = beyond.mixture_density(asked, (rows,), own, 0.0, 2)[:, 0]
    assert single[0] < single[1]
    assert mixed[0] > mixed[1] + 10


def test_half_a_whitening_is_the_whitened_cosine(
    queries: Float32, features: tuple[Float32, ...], moments: methods.Moments
) -> None:
    """Power 0.5 is a whitening: best-10 by Mahalanobis cosines, computed by hand for one model."""
    found = beyond.partly_whitened_best_10(queries, features, moments, 0.5, shrinkage=0.1)
    pooled = moments.pooled + 0.1 * np.trace(moments.pooled) / D * np.eye(D)
    metric, centre = np.linalg.inv(pooled), moments.mean.mean(axis=0)
    x, y = queries[0] - centre, features[1] - centre
    cosines = (y @ metric @ x) / np.sqrt((x @ metric @ x) * np.einsum("nd,de,ne->n", y, metric, y))
    assert found[0, 1] == pytest.approx(np.sort(cosines)[-10:].mean(), abs=1e-4)


def test_the_blend_is_the_engines(queries: Float32, moments: methods.Moments, features: tuple[Float32, ...]) -> None:
    densities = methods.gaussian_density(queries, moments.mean, beyond.toward_pooled(moments, 0.6))
    similar = methods.from_samples(queries, features, methods.best_k(10))
    rows = [scores.blend(d.astype(float), s.astype(float)) for d, s in zip(densities, similar, strict=True)]
    np.testing.assert_allclose(beyond.blended(densities, similar), np.stack(rows), atol=1e-4)


def test_the_engines_defaults_are_what_was_chosen() -> None:
    """On the part of the zoo that is not tested on, see ``accuracy_choices.json``."""
    chosen = json.loads((RESULTS / "accuracy_choices.json").read_text(encoding="utf-8"))
    assert Settings().shrinkage == chosen["pooled"]
