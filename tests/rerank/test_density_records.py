"""Packed factors and the early dropping against float64 SciPy, and what is dropped against what is not."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from engine.errors import InvalidStatistics
from engine.records import Statistics
from engine.rerank.density_layout import STEPS, UPPER, pack_nibbles, record_bytes, unpack_nibbles
from engine.rerank.density_records import (
    PackedFactor,
    distances_to_densities,
    feature_to_rotated,
    packed_densities,
    packed_distances,
    spectral_bound,
    statistics_to_packed,
    statistics_to_rotation,
)
from engine.scores.gaussian_density import Shrinkage, gaussian_density, shrunk_covariance, statistics_to_factor


def collection(models: int, dimension: int, seed: int, samples: int = 40, epsilon: float = 1e-3) -> list[Statistics]:
    random = np.random.default_rng(seed)
    scales = np.arange(1, dimension + 1) ** -0.5
    found = []
    for _ in range(models):
        rows = random.standard_normal(dimension) * scales + 0.6 * random.standard_normal((samples, dimension)) * scales
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        covariance = np.atleast_2d(np.cov(rows, rowvar=False)).astype(np.float32)
        found.append(Statistics(rows.mean(axis=0).astype(np.float32), covariance, epsilon, samples))
    return found


def unit(dimension: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.random.default_rng(seed).standard_normal(dimension) * np.arange(1, dimension + 1) ** -0.5
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def reference(models: list[Statistics], query: Any, shrinkage: Shrinkage | None = None) -> Any:
    return np.array([
        multivariate_normal(m.mean.astype(np.float64), shrunk_covariance(m, shrinkage)).logpdf(query.astype(np.float64))
        for m in models
    ])  # fmt: skip


def packed(models: list[Statistics], shrinkage: Shrinkage | None = None) -> tuple[Any, list[PackedFactor]]:
    rotation = statistics_to_rotation(models)
    return rotation, [statistics_to_packed(model, rotation, shrinkage) for model in models]


def test_a_density_worked_by_hand() -> None:
    # Σ = diag(4, 1/4), μ = (1, 0), h = (3, 1): ‖L⁻¹z‖² = 4/4 + 1·4 = 5, log det = 0, so −½(5 + 2 log 2π).
    model = Statistics(np.array([1, 0], np.float32), np.diag([4, 0.25]).astype(np.float32), 0.0, 9)
    rotation = statistics_to_rotation([model])
    assert np.abs(rotation).tolist() == [[1, 0], [0, 1]]
    factor = statistics_to_packed(model, rotation)
    assert np.abs(factor.packed).tolist() == [0.5, 0, 2]
    query = feature_to_rotated(rotation, np.array([3, 1], np.float32))
    assert packed_densities([factor], query, 1)[0] == pytest.approx(-0.5 * (5 + 2 * np.log(2 * np.pi)))


@pytest.mark.parametrize("dimension", [1, 2, 3, 5, 8, 31, 64])
@pytest.mark.parametrize("weight", [0.0, 0.6])
def test_it_agrees_with_scipy(dimension: int, weight: float) -> None:
    models = collection(12, dimension, seed=dimension)
    target = np.mean([np.float64(model.covariance) for model in models], axis=0)  # type: ignore[arg-type]
    shrinkage = Shrinkage(target, weight, "1") if weight else None
    rotation, factors = packed(models, shrinkage)
    query = unit(dimension, seed=1)
    scores = packed_densities(factors, feature_to_rotated(rotation, query), len(models))
    assert scores == pytest.approx(reference(models, query, shrinkage), abs=1e-3)


def test_it_agrees_with_scipy_where_it_is_worst_conditioned() -> None:
    models = collection(6, 256, seed=3, samples=50, epsilon=1e-4)  # no rank, no shrinkage: 1/√ε = 100 in L⁻¹
    rotation, factors = packed(models)
    query = unit(256, seed=4)
    scores = packed_densities(factors, feature_to_rotated(rotation, query), len(models))
    wanted = reference(models, query)
    assert np.max(np.abs(scores - wanted) / np.maximum(1, np.abs(wanted))) < 1e-5
    assert np.argsort(-scores).tolist() == np.argsort(-wanted).tolist()


def test_the_numbers_are_those_of_the_square_factor() -> None:
    models = collection(3, 16, seed=0)
    identity = np.eye(16, dtype=np.float32)
    for model in models:
        ours, theirs = statistics_to_packed(model, identity), statistics_to_factor(model)
        beside = np.abs(theirs.inverse - np.diag(np.diag(theirs.inverse))).max(axis=1, keepdims=True)
        step = beside / (STEPS * UPPER)
        error = np.abs(ours.square() - theirs.inverse)
        assert (error <= 0.51 * step + 1e-6 * np.abs(theirs.inverse)).all()
        assert ours.log_det == pytest.approx(theirs.log_det)
        query = unit(16, seed=2)
        score = packed_densities([ours], query.astype(np.float64), 1)[0]
        assert score == pytest.approx(gaussian_density(theirs, query), abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(dimension=st.integers(1, 40), models=st.integers(1, 30), k=st.integers(1, 35), seed=st.integers(0, 1000))
def test_the_k_best_are_never_dropped(dimension: int, models: int, k: int, seed: int) -> None:
    statistics = collection(models, dimension, seed)
    rotation, factors = packed(statistics)
    query = feature_to_rotated(rotation, unit(dimension, seed + 1))
    everything, read = packed_distances(factors, query, models)
    assert np.isfinite(everything).all()
    assert (read == dimension).all()
    distances, read = packed_distances(factors, query, k)
    kept = np.isfinite(distances)
    assert distances[kept].tolist() == everything[kept].tolist()
    last = np.sort(everything)[min(k, models) - 1]
    assert kept[everything < last].all()
    assert kept.sum() >= min(k, models)
    assert not kept.all() or (read == dimension).all()
    assert (read[kept] == dimension).all()


def test_most_is_dropped_where_models_differ() -> None:
    models = collection(100, 64, seed=7)
    rotation, factors = packed(models)
    query = feature_to_rotated(rotation, models[3].mean / np.linalg.norm(models[3].mean))
    distances, read = packed_distances(factors, query, 1)
    assert np.argmin(distances) == 3
    assert np.isfinite(distances).sum() < 10
    assert (read * (read + 1)).mean() < 0.3 * 64 * 65


def test_what_ties_with_the_kth_is_kept() -> None:
    models = collection(1, 8, seed=0) * 5
    rotation, factors = packed(models)
    scores = packed_densities(factors, feature_to_rotated(rotation, unit(8, 1)), 2)
    assert np.isfinite(scores).all()
    assert len(set(scores.tolist())) == 1


def test_a_score_that_is_no_number_takes_no_place() -> None:
    models = collection(6, 8, seed=0)
    rotation, factors = packed(models)
    query = feature_to_rotated(rotation, unit(8, 1))
    whole = packed_densities(factors, query, 6)
    factors[2].mean[:] = np.nan
    scores = packed_densities(factors, query, 5)
    assert np.isnan(scores[2])
    others = [0, 1, 3, 4, 5]
    assert scores[others] == pytest.approx(whole[others])


def test_no_candidates() -> None:
    assert packed_densities([], np.zeros(4), 3).shape == (0,)


def test_the_rotation_puts_the_largest_variance_first() -> None:
    models = collection(30, 12, seed=5)
    rotation = statistics_to_rotation(models).astype(np.float64)
    assert rotation @ rotation.T == pytest.approx(np.eye(12), abs=1e-5)
    means = np.stack([model.mean for model in models]).astype(np.float64)
    total = np.cov(means, rowvar=False, ddof=0) + np.mean([model.covariance for model in models], axis=0)  # type: ignore[arg-type]
    turned = rotation @ total @ rotation.T
    assert turned == pytest.approx(np.diag(np.diag(turned)), abs=1e-5)
    assert (np.diff(np.diag(turned)) <= 1e-6).all()
    with pytest.raises(InvalidStatistics, match="at least one"):
        statistics_to_rotation([])


def test_models_without_a_covariance_have_no_factor_but_a_mean() -> None:
    models = collection(4, 6, seed=1)
    bare = Statistics(models[0].mean, None, 1e-3, 3)
    rotation = statistics_to_rotation([*models, bare])
    with pytest.raises(ValueError, match="needs a covariance"):
        statistics_to_packed(bare, rotation)
    indefinite = Statistics(models[0].mean, -np.eye(6, dtype=np.float32), 1e-3, 3)
    with pytest.raises(InvalidStatistics, match="not positive definite"):
        statistics_to_packed(indefinite, rotation)


@pytest.mark.parametrize("dimension", [1, 7, 256, 512])
def test_a_record_holds_what_it_must_in_whole_cache_lines(dimension: int) -> None:
    size = record_bytes(dimension)
    assert size % 64 == 0
    assert size >= 8 * (dimension + 5) + 4 * dimension + 5 * dimension * (dimension + 1) // 4
    assert dimension < 256 or size < 1.42 * dimension**2


def test_distances_become_densities() -> None:
    assert distances_to_densities(np.array([0.0, np.inf]), 2).tolist() == [-np.log(2 * np.pi), -np.inf]


def factors_of(squares: np.ndarray[Any, np.dtype[np.float64]], means: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    """Factors whose L⁻¹ are given ``(n, d, d)``."""
    d = squares.shape[1]
    empty = [PackedFactor(np.zeros(record_bytes(d), np.uint8), d) for _ in squares]
    return [one.fill(0.0, mean, square) for one, mean, square in zip(empty, means, squares, strict=True)]


@pytest.mark.parametrize("dimension", [4, 130, 512])
@pytest.mark.parametrize("kind", ["signs", "ones", "diagonal", "falling"])
@pytest.mark.parametrize("length", [1e-6, 1.0, 1e6])
def test_sums_fit_whatever_the_rows_and_the_query(dimension: int, kind: str, length: float) -> None:
    """Rows whose products are as large as they can be, of one sign or of both: no sum of whole numbers overflows."""
    random = np.random.default_rng(dimension)
    squares = {
        "signs": random.choice([-3.0, 3.0], (6, dimension, dimension)),
        "ones": np.full((6, dimension, dimension), 50.0),
        "diagonal": np.tile(np.eye(dimension), (6, 1, 1)) * np.geomspace(1e-3, 1e3, dimension)[:, None],
        "falling": random.standard_normal((6, dimension, dimension)) * np.geomspace(1, 1e-6, dimension),
    }[kind]
    squares = np.tril(squares)
    query = length * (np.ones(dimension) if kind == "ones" else random.choice([-1.0, 1.0], dimension))
    factors = factors_of(squares, length * 0.01 * random.standard_normal((6, dimension)))
    z = np.stack([query - factor.mean for factor in factors]).astype(np.float32).astype(np.float64)
    kept = np.stack([factor.square().astype(np.float64) for factor in factors])
    wanted = np.sum(np.einsum("nij,nj->ni", kept, z) ** 2, axis=1)
    found, _ = packed_distances(factors, query, 6)
    np.testing.assert_allclose(found, wanted, rtol=2e-6)
    few, _ = packed_distances(factors, query, 1)
    assert few.min() == found.min()
    factor = factors[0]
    assert np.linalg.norm(factor.square() - np.tril(squares[0]), 2) <= factor.slack


@pytest.mark.parametrize("dimension", [1, 2, 7, 64, 300])
@pytest.mark.parametrize("kind", ["normal", "one", "signs", "steep"])
def test_a_matrix_bound_is_at_least_its_spectral_norm(dimension: int, kind: str) -> None:
    random = np.random.default_rng(dimension)
    matrix = {
        "normal": random.standard_normal((dimension, dimension)) * 1e-9,
        "one": np.outer(random.standard_normal(dimension), random.standard_normal(dimension)) * 1e9,
        "signs": random.choice([-1.0, 1.0], (dimension, dimension)),
        "steep": random.standard_normal((dimension, dimension)) * np.geomspace(1, 1e-30, dimension),
    }[kind]
    largest = np.linalg.norm(matrix, 2)
    assert largest * (1 - 1e-9) <= spectral_bound(matrix) <= np.linalg.norm(matrix) * (1 + 1e-9)
    if kind == "normal" and dimension == 300:
        assert spectral_bound(matrix) < 1.6 * largest
    assert spectral_bound(np.zeros((3, 3))) == 0


@pytest.mark.parametrize("weight", [0.0, 0.6])
def test_what_fewer_bits_leave_out_is_bounded(weight: float) -> None:
    """The singular value of all that is wrong without the last bits, and without the middle ones besides, which nothing
    but a test computes."""
    models = collection(8, 96, seed=11)
    target = np.mean([np.float64(model.covariance) for model in models], axis=0)  # type: ignore[arg-type]
    _, factors = packed(models, Shrinkage(target, weight, "1") if weight else None)
    for factor in factors:
        exact = factor.square().astype(np.float64)
        upper = exact
        for place, bound in ((4, factor.less), (3, factor.slack)):
            factor._parts()[place][:] = 0
            upper = factor.square().astype(np.float64)
            wrong = np.linalg.norm(exact - upper, 2)
            assert 0 < wrong <= bound < 3 * wrong
        assert factor.less < factor.slack / 8
        np.fill_diagonal(upper, 0)
        assert np.linalg.norm(upper) == pytest.approx(factor.norm, rel=1e-3)
        assert np.diag(factor.square()).tolist() == np.diag(exact).tolist()


@pytest.mark.parametrize("pairs", [True, False])
def test_products_are_the_same_with_and_without_the_instruction(pairs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.rerank import integer_products as packed_products

    monkeypatch.setattr(packed_products, "HAS_PAIRS", packed_products.HAS_PAIRS and pairs)
    upper_squares, middle_squares, last_squares = (
        numba.extending.intrinsic(getattr(packed_products, f"_{name}_squares")) for name in ("upper", "middle", "last")
    )

    @numba.njit
    def squares(rows: Any, middle: Any, last: Any, asked: Any, rest: Any, four: Any, sums: Any, totals: Any) -> Any:
        apart, width = np.uint64(rows.shape[1]), rows.shape[1]
        first, query = np.uint64(rows.ctypes.data), np.uint64(asked.ctypes.data)
        units = np.uint64(four.ctypes.data)
        diagonal, z = units + np.uint64(16), units + np.uint64(32)
        sums_at, totals_at = np.uint64(sums.ctypes.data), np.uint64(totals.ctypes.data)
        one = upper_squares(first, apart, width, query, 0.5, units, diagonal, z, sums_at)
        two = middle_squares(
            np.uint64(middle.ctypes.data), apart, width, query, 0.5, units, diagonal, z, sums_at, totals_at
        )  # fmt: skip
        return one, two, last_squares(
            first, np.uint64(last.ctypes.data), apart, width, query, np.uint64(rest.ctypes.data), 0.25, 0.5, units,
            diagonal, z, totals_at,
        )  # fmt: skip

    random = np.random.default_rng(0)
    rows, last = random.integers(-127, 128, (2, 4, 48)).astype(np.int8)
    middle = random.integers(-7, 8, (4, 48)).astype(np.int32)
    asked, rest = random.integers(-32767, 32768, (2, 48)).astype(np.int16)
    four = (random.standard_normal((3, 4)) * [[1e-5], [3], [2]]).astype(np.float32)
    units, diagonal, z = four.astype(np.float64)
    sums, totals = np.zeros(4, np.int32), np.zeros(4)
    found = squares(rows, pack_nibbles(middle.ravel()), last, asked, rest, four, sums, totals)
    wide = asked.astype(np.int64)
    upper = rows @ wide
    better = upper + middle @ wide / 15
    whole = better + 0.25 * (rows @ rest.astype(np.int64)) + last @ wide / 3825
    wanted = [np.sum((0.5 * units * total + diagonal * z) ** 2) for total in (upper, better, whole)]
    assert found == pytest.approx(wanted, rel=1e-6)
    assert sums.tolist() == upper.tolist()
    assert totals == pytest.approx(better)


def test_four_bits_are_packed_and_unpacked() -> None:
    numbers = np.random.default_rng(0).integers(-8, 8, 64)
    halves = pack_nibbles(numbers)
    assert halves.nbytes == 32
    assert unpack_nibbles(halves).tolist() == numbers.tolist()
    assert halves[0] == (int(numbers[0]) & 15) | (int(numbers[16]) & 15) << 4
    assert halves[16] == (int(numbers[32]) & 15) | (int(numbers[48]) & 15) << 4
