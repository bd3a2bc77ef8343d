"""Moments against NumPy's, in any split and order; and every input that is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from engine.errors import InvalidFeatures, InvalidStatistics, NotEnoughSamples
from engine.scores import statistics_to_factor
from engine.statistics import (
    Moments,
    checked_features,
    checked_statistics,
    features_to_statistics,
    pack_symmetric,
    unpack_symmetric,
)

FEW = settings(max_examples=60, deadline=None)


@st.composite
def features_and_cuts(draw):
    rows = draw(st.integers(2, 40))
    features = draw(npst.arrays(np.float32, (rows, draw(st.integers(1, 6))), elements=st.floats(-1, 1, width=32)))
    return features, sorted(draw(st.lists(st.integers(0, rows), max_size=6)))


def assert_moments(moments: Moments, features: np.ndarray) -> None:
    wide = features.astype(np.float64)
    assert moments.count == len(wide)
    np.testing.assert_allclose(moments.mean, wide.mean(axis=0), rtol=0, atol=1e-13)
    expected = np.cov(wide, rowvar=False, ddof=1).reshape(features.shape[1], -1) * (len(wide) - 1)
    np.testing.assert_allclose(moments.scatter, expected, rtol=1e-12, atol=1e-12)


# --- by hand


def test_two_samples_by_hand() -> None:
    # mean (½, ½); deviations ±(½, −½); covariance with ddof = 1: [[½, −½], [−½, ½]]
    statistics = features_to_statistics([np.array([[1, 0], [0, 1]], np.float32)], epsilon=1e-4)
    np.testing.assert_array_equal(statistics.mean, np.float32([0.5, 0.5]))
    np.testing.assert_array_equal(statistics.covariance, np.float32([[0.5, -0.5], [-0.5, 0.5]]))
    assert (statistics.samples, statistics.epsilon) == (2, 1e-4)
    assert statistics.mean.dtype == statistics.covariance.dtype == np.float32


def test_epsilon_is_not_in_the_stored_covariance() -> None:
    block = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    assert not features_to_statistics([block], epsilon=0.5).covariance.any()


def test_a_constant_far_from_zero_has_no_spread() -> None:
    # the naive E[x²] − E[x]² in float32 would give about 1e-3 here
    block = np.full((1000, 3), 123.456, np.float32)
    moments = Moments(3)
    for part in np.array_split(block, 7):
        moments.update(part)
    assert np.abs(moments.scatter).max() < 1e-15 * 123.456**2 * 1000


# --- properties


@FEW
@given(features_and_cuts())
def test_any_split_gives_numpys_moments(case) -> None:
    features, cuts = case
    moments = Moments(features.shape[1])
    for block in np.split(features, cuts):
        moments.update(block)
    assert_moments(moments, features)


@FEW
@given(features_and_cuts(), st.randoms(use_true_random=False))
def test_merging_in_any_order_gives_numpys_moments(case, random) -> None:
    features, cuts = case
    parts = [Moments.of(block) for block in np.split(features, cuts)]
    random.shuffle(parts)
    while len(parts) > 1:  # a random tree, as shards would be merged
        other = parts.pop(random.randrange(len(parts)))
        parts[random.randrange(len(parts))].merge(other)
    assert_moments(parts[0], features)


@FEW
@given(features_and_cuts())
def test_merging_leaves_the_other_side_alone(case) -> None:
    features, _ = case
    other, mine = Moments.of(features), Moments.of(features[:1])
    before = (other.count, other.mean.copy(), other.scatter.copy())
    mine.merge(other)
    mine.update(features)
    assert other.count == before[0]
    np.testing.assert_array_equal(other.mean, before[1])
    np.testing.assert_array_equal(other.scatter, before[2])


def test_moments_survive_a_hundred_thousand_samples(rng: np.random.Generator) -> None:
    features = rng.normal(size=(100_000, 4)).astype(np.float32) / 8 + np.float32(0.5)
    moments = Moments(4)
    for start in range(0, len(features), 64):
        moments.update(features[start : start + 64])
    wide = features.astype(np.float64)
    np.testing.assert_allclose(moments.mean, wide.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.scatter / (len(wide) - 1), np.cov(wide, rowvar=False), rtol=1e-11, atol=1e-14)


@FEW
@given(st.integers(1, 20).flatmap(lambda d: npst.arrays(np.float32, (d, d), elements=st.floats(-1, 1, width=32))))
def test_packing_round_trip(square) -> None:
    symmetric = np.tril(square) + np.tril(square, -1).T
    packed = pack_symmetric(symmetric)
    d = len(symmetric)
    assert (packed.shape, packed.dtype) == ((d * (d + 1) // 2,), np.float32)
    np.testing.assert_array_equal(unpack_symmetric(packed, d), symmetric)


def test_packing_is_row_by_row() -> None:
    np.testing.assert_array_equal(pack_symmetric(np.float32([[1, 2, 4], [2, 3, 5], [4, 5, 6]])), [1, 2, 3, 4, 5, 6])


@FEW
@given(
    npst.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        st.tuples(st.integers(0, 10), st.integers(1, 8)),
        elements=st.floats(-100, 100, width=16),
    )
)
def test_checked_features_are_unit_rows_or_refused(raw) -> None:
    if not raw.any(axis=1).all():
        with pytest.raises(InvalidFeatures, match="is zero"):
            checked_features(raw)
        return
    clean = checked_features(raw)
    assert clean.dtype == np.float32
    assert clean.shape == raw.shape
    np.testing.assert_allclose(np.linalg.norm(clean.astype(np.float64), axis=1), 1, atol=1e-6)
    wide = raw.astype(np.float64)
    np.testing.assert_allclose(clean, wide / np.linalg.norm(wide, axis=1, keepdims=True), atol=1e-6)


# --- what is refused


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (np.ones(4, np.float32), "2-D"),
        (np.ones((2, 2, 2), np.float32), "2-D"),
        (np.float32(1), "2-D"),
        (np.ones((2, 3), np.int64), "int64"),
        (np.ones((2, 3), np.complex64), "complex64"),
        (np.ones((2, 3), bool), "bool"),
        (np.array([[1.0, "x", 2.0]], object), "object"),
        (np.array([["a", "b", "c"]]), "<U1"),
        (np.float32([[1, 2, 3], [0, 0, 0]]), "row 1 is zero"),
        (np.float32([[1, np.nan, 3]]), "row 0 is not finite"),
        (np.float32([[1, 2, 3], [1, 2, 3], [1, -np.inf, 3]]), "row 2 is not finite"),
        (np.ones((2, 4), np.float32), "4 dimensions, the encoder has 3"),
    ],
)
def test_features_that_are_refused(features, said: str) -> None:
    with pytest.raises(InvalidFeatures, match=said):
        checked_features(features, dimension=3)


def test_the_refusal_counts_the_bad_rows() -> None:
    features = np.ones((5, 2), np.float32)
    features[[1, 3]] = np.nan
    with pytest.raises(InvalidFeatures, match=r"row 1 .*\(2 such rows of 5\)"):
        checked_features(features)


def test_float64_features_too_large_to_square_are_refused() -> None:
    with pytest.raises(InvalidFeatures, match="not finite"):
        checked_features(np.array([[1e300, 1e300]]))


@pytest.mark.parametrize("rows", [0, 1])
def test_a_covariance_needs_two_samples(rows: int) -> None:
    with pytest.raises(NotEnoughSamples, match=f"got {rows}"):
        features_to_statistics([np.ones((rows, 3), np.float32)], epsilon=1e-4)
    with pytest.raises(NotEnoughSamples):
        features_to_statistics([], epsilon=1e-4)


GOOD = np.array([1.0, 2.0, 3.0])
EYE = np.eye(3)


@pytest.mark.parametrize(
    ("mean", "covariance", "samples", "said"),
    [
        (np.ones((1, 3)), EYE, 5, "mean"),
        (np.array([1, 2, 3]), EYE, 5, "mean"),
        (np.array([1.0, "x", 2.0], object), EYE, 5, "mean"),
        (np.array([1.0, np.nan, 3.0]), EYE, 5, "NaN"),
        (np.array([1.0, np.inf, 3.0]), EYE, 5, "beyond"),
        (np.zeros(3), EYE, 5, "zero"),
        (np.full(3, 1e-300), EYE, 5, "zero"),  # zero in float32, which is what is stored
        (np.full(3, 1e300), EYE, 5, "beyond"),
        (np.empty(0), np.empty((0, 0)), 5, "mean|zero"),
        (GOOD, EYE, 0, "count"),
        (GOOD, EYE, -3, "count"),
        (GOOD, EYE, 2**31, "count"),
        (GOOD, np.eye(4), 5, "shape"),
        (GOOD, np.ones(3), 5, "shape"),
        (GOOD, np.eye(3, dtype=np.int64), 5, "int64"),
        (GOOD, EYE.astype(object), 5, "object"),
        (GOOD, np.diag([1, np.nan, 1]), 5, "NaN"),
        (GOOD, np.diag([1, np.inf, 1]), 5, "beyond"),
        (GOOD, np.diag([1, 1e300, 1]), 5, "beyond"),
        (GOOD, np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1.0]]), 5, "symmetric"),
        (GOOD, -EYE, 5, "indefinite"),
        (GOOD, np.array([[1, 2, 0], [2, 1, 0], [0, 0, 1.0]]), 5, "indefinite"),
        (GOOD, np.diag([1, 1, -2e-4]), 5, "indefinite"),
    ],
)
def test_moments_that_are_refused(mean, covariance, samples: int, said: str) -> None:
    with pytest.raises(InvalidStatistics, match=said):
        checked_statistics(mean, covariance, epsilon=1e-4, samples=samples)


def test_moments_that_are_taken() -> None:
    taken = checked_statistics(GOOD, np.diag([1, 1, -0.5e-4]), epsilon=1e-4, samples=1)
    assert (taken.mean.dtype, taken.covariance.dtype, taken.samples) == (np.float32, np.float32, 1)
    assert checked_statistics(GOOD, None, epsilon=1e-4, samples=1).covariance is None
    zero = checked_statistics(GOOD.astype(np.float16), np.zeros((3, 3), np.float32), epsilon=1e-4, samples=9)
    assert not zero.covariance.any()


@FEW
@given(
    npst.arrays(np.float64, (4, 4), elements=st.floats(-1, 1)),
    npst.arrays(np.float64, 4, elements=st.floats(-2e-4, 1)),
)
def test_what_is_taken_can_be_factorised(basis, eigenvalues) -> None:
    """A covariance that is accepted serves every rule later, at the very edge too."""
    q, _ = np.linalg.qr(basis)
    covariance = q @ np.diag(eigenvalues) @ q.T
    try:
        statistics = checked_statistics(np.ones(4), covariance, epsilon=1e-4, samples=2)
    except InvalidStatistics:
        assert eigenvalues.min() < -0.9e-4 * max(covariance.diagonal().max(), 0)
        return
    statistics_to_factor(statistics)
    np.testing.assert_array_equal(statistics.covariance, statistics.covariance.T)
