"""Every rule against a slow float64 reference, and tiny cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidStatistics
from engine.records import Statistics
from engine.scores import (
    best_k,
    first_moment,
    first_second_moment,
    frechet_distance,
    gaussian_density,
    monte_carlo,
    product_of_experts,
    statistics_to_factor,
    unit,
)
from engine.scores.frechet import statistics_to_cholesky
from engine.scores.product_of_experts import cosine_spread
from engine.statistics import Moments

EPSILON = 1e-4
MODELS = 12
# (d, samples): full rank, and fewer samples than dimensions, as real models have
SHAPES = [(2, 40), (2, 2), (8, 60), (8, 3), (256, 700), (256, 20)]
FEW = settings(max_examples=50, deadline=None)


def clouds(d: int, rows: int, seed: int = 0) -> list[np.ndarray]:
    """Unit-norm features ``(rows, d)`` of each model: around its own centre, spread unevenly."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(MODELS):
        spread = np.abs(rng.normal(size=d)) * 0.5
        wide = rng.normal(size=d) + spread * rng.normal(size=(rows, d))
        result.append((wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32))
    return result


def queries_near(models: list[np.ndarray], seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    near = [models[i][0] + 0.3 * rng.normal(size=models[i].shape[1]) / math.sqrt(models[i].shape[1]) for i in range(4)]
    return unit(np.stack(near).astype(np.float32))


def sigma_of(statistics: Statistics) -> np.ndarray:
    return statistics.covariance.astype(np.float64) + statistics.epsilon * np.eye(len(statistics.mean))


def assert_agrees(fast: np.ndarray, slow: np.ndarray, tolerance: float = 1e-3) -> None:
    """Within the tolerance (absolute for scores of order one, relative above), and in the same order."""
    np.testing.assert_allclose(fast, slow, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(np.argsort(-fast, axis=-1), np.argsort(-slow, axis=-1))


@pytest.fixture(params=SHAPES, ids=lambda shape: f"d{shape[0]}-n{shape[1]}")
def case(request: pytest.FixtureRequest):
    """``(models' samples, their statistics, queries)``."""
    samples = clouds(*request.param)
    return samples, [Moments.of(rows).to_statistics(EPSILON) for rows in samples], queries_near(samples)


# --- agreement with the reference


def test_first_moment_is_the_cosine(case) -> None:
    _, models, queries = case
    means = np.stack([s.mean for s in models])
    slow = [[1 - scipy.spatial.distance.cosine(m.astype(float), q.astype(float)) for m in means] for q in queries]
    assert_agrees(np.stack([first_moment(means, q) for q in queries]), np.array(slow), 1e-5)


def test_gaussian_density_is_scipys(case) -> None:
    _, models, queries = case
    factors = [statistics_to_factor(s) for s in models]
    fast = np.array([[gaussian_density(f, q) for f in factors] for q in queries])
    slow = np.array(
        [
            [scipy.stats.multivariate_normal.logpdf(q.astype(float), s.mean.astype(float), sigma_of(s)) for s in models]
            for q in queries
        ]
    )
    assert_agrees(fast, slow)


def test_first_second_moment_is_the_explicit_sum(case) -> None:
    _, models, queries = case
    for scale in (1.0, 100.0):
        fast = np.array([[first_second_moment(s, q, scale) for s in models] for q in queries])
        slow = np.array(
            [
                [
                    scale * (s.mean.astype(float) @ q.astype(float))
                    + scale**2 / 2 * (q.astype(float) @ sigma_of(s) @ q.astype(float))
                    for s in models
                ]
                for q in queries
            ]
        )
        assert_agrees(fast, slow)


def test_first_second_moment_is_the_gaussians_log_expectation() -> None:
    """E exp(s·h̃ᵀq) of h̃ ~ N(μ, Σ), by drawing from the Gaussian (within five standard errors)."""
    rng = np.random.default_rng(3)
    statistics = Moments.of(clouds(2, 50)[0]).to_statistics(EPSILON)
    query = unit(np.float32([1, 2]))
    drawn = rng.multivariate_normal(statistics.mean, sigma_of(statistics), 400_000)
    weights = np.exp(2.0 * drawn @ query)
    error = 5 * weights.std() / math.sqrt(len(weights)) / weights.mean()
    assert first_second_moment(statistics, query, 2.0) == pytest.approx(math.log(weights.mean()), abs=error)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_monte_carlo_is_log_sum_exp(case, scale: float) -> None:
    samples, _, queries = case
    fast = np.array([[monte_carlo(rows, q, scale) for rows in samples] for q in queries])
    slow = []
    for q in queries:
        row = []
        for rows in samples:
            logits = scale * (rows.astype(np.longdouble) @ q.astype(np.longdouble))
            top = logits.max()
            row.append(float(top + np.log(np.exp(logits - top).sum()) - np.log(np.longdouble(len(rows)))))
        slow.append(row)
    assert np.isfinite(fast).all()
    assert_agrees(fast, np.array(slow))


@pytest.mark.parametrize("k", [1, 2, 10, 10_000])
def test_best_k_is_the_mean_of_the_sorted_cosines(case, k: int) -> None:
    samples, _, queries = case
    fast = np.array([[best_k(rows, q, k) for rows in samples] for q in queries])
    slow = [
        [np.sort(rows.astype(float) @ q.astype(float))[::-1][:k].mean() for rows in samples] for q in queries
    ]  # fmt: skip
    assert_agrees(fast, np.array(slow), 1e-5)


def test_frechet_is_the_formula_with_matrix_roots(case) -> None:
    _, models, _ = case
    choleskys = [statistics_to_cholesky(s) for s in models]
    pairs = [(a, b) for a in range(3) for b in range(a, 5)]
    fast = np.array(
        [frechet_distance(models[a].mean, choleskys[a], models[b].mean, choleskys[b]) for a, b in pairs]
    )  # fmt: skip
    roots = [scipy.linalg.sqrtm(sigma_of(models[a])) for a in range(3)]
    slow = []
    for a, b in pairs:
        cross = scipy.linalg.sqrtm(roots[a] @ sigma_of(models[b]) @ roots[a])
        difference = models[a].mean.astype(float) - models[b].mean.astype(float)
        slow.append(
            difference @ difference
            + np.trace(sigma_of(models[a]) + sigma_of(models[b]) - 2 * np.real(cross))
        )  # fmt: skip
    np.testing.assert_allclose(fast, slow, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(fast[[a == b for a, b in pairs]], 0, atol=1e-9)


# --- by hand


def test_first_moment_by_hand() -> None:
    means = np.float32([[3, 4], [0, 2], [-5, 0], [0, 0], [np.nan, 1], [np.inf, 1]])
    np.testing.assert_allclose(first_moment(means, np.float32([1, 0]))[:3], [0.6, 0, -1], atol=1e-7)
    assert np.isnan(first_moment(means, np.float32([1, 0]))[3:]).all()


def test_gaussian_density_by_hand() -> None:
    # N(0; 0, I) in two dimensions is 1/2π; with Σ = diag(4, 1) and the point (2, 0): −½(1 + log 4 + 2 log 2π)
    origin = Statistics(np.zeros(2, np.float32), np.diag(np.float32([0.5, 0.5])), 0.5, 9)
    assert gaussian_density(statistics_to_factor(origin), np.zeros(2, np.float32)) == pytest.approx(
        -math.log(2 * math.pi)
    )
    wide = Statistics(np.zeros(2, np.float32), np.diag(np.float32([3, 0])), 1.0, 9)
    assert gaussian_density(statistics_to_factor(wide), np.float32([2, 0])) == pytest.approx(
        -0.5 * (1 + math.log(4) + 2 * math.log(2 * math.pi))
    )


def test_first_second_moment_by_hand() -> None:
    # scale 2, μᵀh = 0.5, hᵀΣh = 0.25 + ε(=0.25): 2·0.5 + ½·4·0.5 = 2
    statistics = Statistics(np.float32([0.5, 9]), np.diag(np.float32([0.25, 7])), 0.25, 9)
    assert first_second_moment(statistics, np.float32([1, 0]), 2.0) == pytest.approx(2.0)


def test_monte_carlo_and_best_k_by_hand() -> None:
    samples = np.float32([[1, 0], [0, 1], [-1, 0]])
    query = np.float32([1, 0])
    expected = math.log((math.e + 1 + 1 / math.e) / 3)
    assert monte_carlo(samples, query, 1.0) == pytest.approx(expected)
    assert [best_k(samples, query, k) for k in (1, 2, 3, 4)] == pytest.approx([1, 0.5, 0, 0])


def test_frechet_by_hand() -> None:
    # commuting covariances: ‖δ‖² + Σ (σ_a − σ_b)² = 25 + (2 − 1)² + (3 − 1)²
    a = Statistics(np.float32([3, 4]), np.diag(np.float32([3, 8])), 1.0, 9)
    b = Statistics(np.float32([0, 0]), np.diag(np.float32([0, 0])), 1.0, 9)
    distance = frechet_distance(a.mean, statistics_to_cholesky(a), b.mean, statistics_to_cholesky(b))
    assert distance == pytest.approx(30.0)


@pytest.mark.parametrize("scale", [100.0, 1e4])
def test_monte_carlo_does_not_overflow(scale: float) -> None:
    samples = np.repeat(np.float32([[1, 0]]), 500, axis=0)
    assert monte_carlo(samples, np.float32([1, 0]), scale) == pytest.approx(scale)
    assert monte_carlo(samples, np.float32([-1, 0]), scale) == pytest.approx(-scale)


# --- what the rules are asked to refuse


def test_a_rule_without_its_covariance_is_refused() -> None:
    bare = Statistics(np.float32([1, 0]), None, EPSILON, 5)
    with pytest.raises(ValueError, match="covariance"):
        statistics_to_factor(bare)
    with pytest.raises(ValueError, match="covariance"):
        first_second_moment(bare, np.float32([1, 0]), 1.0)
    with pytest.raises(InvalidStatistics, match="covariances"):
        statistics_to_cholesky(bare)


def test_an_indefinite_covariance_is_refused() -> None:
    indefinite = Statistics(np.float32([1, 0]), np.diag(np.float32([1, -1])), EPSILON, 5)
    for refuse in (statistics_to_factor, statistics_to_cholesky):
        with pytest.raises(InvalidStatistics, match="not positive definite"):
            refuse(indefinite)


def test_a_rule_changes_nothing_of_what_it_is_given() -> None:
    statistics = Moments.of(clouds(8, 30)[0]).to_statistics(EPSILON)
    before = statistics.covariance.copy()
    statistics_to_factor(statistics)
    first_second_moment(statistics, statistics.mean, 10.0)
    frechet_distance(statistics.mean, statistics_to_cholesky(statistics), statistics.mean, np.eye(8))
    np.testing.assert_array_equal(statistics.covariance, before)


# --- product of experts


def test_product_of_experts_by_hand() -> None:
    parts = np.array([[1.0, 2.0, 3.0], [30.0, 20.0, 10.0]])
    np.testing.assert_allclose(product_of_experts(parts, [1, 1]), [31, 22, 13])
    np.testing.assert_allclose(product_of_experts(parts, [2, 1], spreads=[1, 10]), [5, 6, 7])
    np.testing.assert_allclose(product_of_experts(parts, [1, 1], spreads=[0, 10]), [3, 2, 1])


finite = st.floats(-1e3, 1e3)


@FEW
@given(
    st.integers(1, 4).flatmap(
        lambda p: st.tuples(
            st.lists(st.lists(finite, min_size=5, max_size=5), min_size=p, max_size=p),
            st.lists(st.floats(0.1, 10), min_size=p, max_size=p),
            st.lists(finite, min_size=p, max_size=p),
        )
    ),
    st.booleans(),
)
def test_renormalising_a_part_cannot_change_the_ranking(case, tempered: bool) -> None:
    """The papers subtract a constant from each part: every difference between two models stays what it was."""
    parts, weights, constants = np.array(case[0]), case[1], np.array(case[2])
    spreads = [max(float(row.std()), 1e-3) for row in parts] if tempered else None
    plain = product_of_experts(parts, weights, spreads=spreads)
    moved = product_of_experts(parts - constants[:, None], weights, spreads=spreads)
    scale = 1 + np.abs(plain).max() + np.abs(moved).max()
    np.testing.assert_allclose(moved - moved[0], plain - plain[0], atol=1e-9 * scale)


@FEW
@given(st.lists(finite, min_size=3, max_size=8).filter(lambda row: np.std(row) > 1e-3), st.floats(0.01, 100))
def test_tempering_makes_a_parts_unit_irrelevant(row: list[float], unit_of_measure: float) -> None:
    part = np.array([row])
    mine = product_of_experts(part, [1], spreads=[part.std()])
    theirs = product_of_experts(part * unit_of_measure, [1], spreads=[(part * unit_of_measure).std()])
    np.testing.assert_allclose(theirs, mine, rtol=1e-7, atol=1e-7)


@FEW
@given(st.integers(2, 60), st.integers(1, 16), st.integers(0, 2**31))
def test_cosine_spread_is_the_empirical_deviation(models: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(models, d)).astype(np.float32)).astype(np.float64)
    query = unit(rng.normal(size=d).astype(np.float32))
    spread = cosine_spread(vectors.T @ vectors / models, vectors.mean(axis=0), query)
    assert spread == pytest.approx((vectors @ query.astype(np.float64)).std(), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("models", [1, 7])
def test_a_part_that_cannot_tell_models_apart_adds_nothing(models: int) -> None:
    """All means alike: what spread there is, is rounding, and must not be blown up to decide the ranking."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        vectors = np.repeat(unit(rng.normal(size=(1, 64)).astype(np.float32)), models, axis=0).astype(np.float64)
        query = unit(rng.normal(size=64).astype(np.float32))
        spread = cosine_spread(vectors.T @ vectors / models, vectors.mean(axis=0), query)
        part = (vectors @ query.astype(np.float64))[None]
        np.testing.assert_array_equal(product_of_experts(part, [1.0], spreads=[spread]), 0)
