"""The bootstrap: by hand, against plain Python, and what must hold for any values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation import bootstrap
from engine.evaluation.bootstrap import Estimate, estimate, paired_difference, resampled_means

OWNERS = np.array([5, 5, 7, 7, 7, 9])
VALUES = np.array([1.0, 0, 1, 1, 0, 0])


def test_two_models_by_hand() -> None:
    """Model a has one query, found; b three, none found: resamples are aa (1), ab (1/4) and bb (0)."""
    means = resampled_means(np.array([[1.0], [0], [0], [0]]), np.array([1, 2, 2, 2]), 4000, seed=1)[:, 0]
    shares = [(means == value).mean() for value in (1.0, 0.25, 0.0)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.03)


def test_means_are_those_of_plain_python() -> None:
    found = resampled_means(VALUES[:, None], OWNERS, 50, seed=3)[:, 0]
    rng = np.random.default_rng(3)
    models = sorted(set(OWNERS.tolist()))
    for mean, weights in zip(found, rng.multinomial(3, np.full(3, 1 / 3), size=50), strict=True):
        drawn = [
            float(value)
            for model, weight in zip(models, weights, strict=True)
            for value in list(VALUES[model == OWNERS]) * int(weight)
        ]
        assert mean == pytest.approx(sum(drawn) / len(drawn))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = resampled_means(VALUES[:, None], OWNERS, 50)
    monkeypatch.setattr(bootstrap, "BLOCK", 7)
    np.testing.assert_array_equal(resampled_means(VALUES[:, None], OWNERS, 50), whole)


def test_the_interval_is_wider_than_if_queries_were_independent() -> None:
    """Ten models of fifty queries that stand or fall together tell as much as ten queries."""
    owners = np.repeat(np.arange(10), 50)
    values = (owners % 2).astype(np.float64)
    together = estimate(values, owners)
    alone = estimate(values, np.arange(500))
    assert together.high - together.low > 4 * (alone.high - alone.low)
    spread = 1.96 * math.sqrt(0.25 / 500)  # the normal approximation
    assert alone.high - alone.low == pytest.approx(2 * spread, rel=0.1)


def test_one_model_gives_no_interval() -> None:
    found = estimate(np.array([1.0, 0.0]), np.array([4, 4]))
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(paired_difference(np.array([1.0, 0]), np.array([0.0, 0]), np.array([4, 4])).p)


def test_queries_without_a_value_are_left_out() -> None:
    found = estimate(np.array([1.0, np.nan, 0.5, np.nan]), np.array([1, 1, 2, 3]))
    assert found.value == 0.75
    assert 0.5 <= found.low <= found.high <= 1
    nothing = estimate(np.array([np.nan, np.nan]), np.array([1, 2]))
    assert all(math.isnan(value) for value in (nothing.value, nothing.low, nothing.high))


def test_paired_difference() -> None:
    owners = np.arange(200)
    rng = np.random.default_rng(0)
    other = (rng.random(200) < 0.5).astype(np.float64)
    better = np.where(rng.random(200) < 0.3, 1.0, other)
    found = paired_difference(better, other, owners)
    assert 0 < found.low < found.value < found.high
    assert found.p == pytest.approx(2 / 2001)  # no resample at or below zero: the smallest that there is
    mirrored = paired_difference(other, better, owners)
    assert (mirrored.value, mirrored.p) == (pytest.approx(-found.value), found.p)
    same = paired_difference(other, other, owners)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


unit_values = st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1)), min_size=1, max_size=40)


@given(unit_values, st.integers(0, 5))
def test_intervals_hold_their_value_and_repeat(rows, seed: int) -> None:
    owners = np.array([owner for owner, _ in rows])
    values = np.array([value for _, value in rows])
    found = estimate(values, owners, 200, seed)
    assert found.value == pytest.approx(values.mean())
    if len(set(owners.tolist())) > 1:
        assert values.min() - 1e-12 <= found.low <= found.high <= values.max() + 1e-12
        assert found == estimate(values, owners, 200, seed)
    else:
        assert math.isnan(found.low)


def test_a_sure_thing_has_no_width() -> None:
    assert estimate(np.ones(9), np.arange(9)) == Estimate(1.0, 1.0, 1.0)
