"""Accuracy, average precision and drop-off: by hand, and against plain Python."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation.accuracy import found_within
from engine.evaluation.average_precision import average_precision
from engine.evaluation.drop_off import drop_off
from engine.evaluation.relevance import tags_to_relevant


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(("own", "found"), [(7, (1, 1, 1)), (8, (0, 1, 1)), (9, (0, 0, 1)), (5, (0, 0, 0))])
def test_top_k_by_hand(own: int, found: tuple[int, int, int]) -> None:
    assert tuple(found_within(ids(7, 8, 9), ids(own), k) for k in (1, 2, 3)) == found


@pytest.mark.parametrize(("right", "found"), [((9, 8), (0, 1, 1)), ((5, 9), (0, 0, 1)), ((9, 8, 7), (1, 1, 1))])
def test_the_best_ranked_right_answer_counts(right: tuple[int, ...], found: tuple[int, int, int]) -> None:
    assert tuple(found_within(ids(7, 8, 9), ids(*right), k) for k in (1, 2, 3)) == found


@pytest.mark.parametrize(
    ("answers", "relevant", "k", "expected"),
    [
        ((1, 2, 3, 4), (1, 3, 9), 4, Fraction(5, 9)),  # (1/1 + 2/3) / min(3, 4)
        ((1, 2, 3, 4), (1, 3, 9), 2, Fraction(1, 2)),  # (1/1) / min(3, 2)
        ((1, 2, 3, 4), (1, 3, 9), 1, Fraction(1)),
        ((1, 2, 3, 4), (1, 3, 9), None, Fraction(5, 9)),  # 9 was not found, and counts
        ((2, 4), (1,), None, Fraction(0)),
        ((2, 1), (1,), 5, Fraction(1, 2)),  # fewer answers than k
        ((), (1,), 5, Fraction(0)),
        ((4, 3, 2, 1), (1, 2, 3, 4), None, Fraction(1)),
    ],
)
def test_average_precision_by_hand(answers, relevant, k: int | None, expected: Fraction) -> None:
    assert average_precision(ids(*answers), ids(*relevant), k) == pytest.approx(float(expected))


def test_average_precision_without_relevant_models_is_none() -> None:
    assert math.isnan(average_precision(ids(1, 2), ids(), 5))


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        found_within(ids(1), ids(1), k)
    with pytest.raises(ValueError, match="at least 1"):
        average_precision(ids(1), ids(1), k)


def slow_average_precision(answers: list[int], relevant: set[int], k: int) -> float:
    total = Fraction(0)
    for j in range(1, min(k, len(answers)) + 1):
        precision = Fraction(sum(answer in relevant for answer in answers[:j]), j)
        total += precision * (answers[j - 1] in relevant)
    return float(total / min(len(relevant), k))


rankings = st.integers(1, 30).flatmap(lambda n: st.permutations(range(n)))


@given(rankings, st.sets(st.integers(0, 35), min_size=1), st.integers(1, 40), st.integers(0, 30))
def test_average_precision_is_that_of_plain_python(answers, relevant, k: int, found: int) -> None:
    answers = list(answers)[:found]
    value = average_precision(ids(*answers), ids(*sorted(relevant)), k)
    assert value == pytest.approx(slow_average_precision(answers, relevant, k))
    assert 0 <= value <= 1


@given(rankings, st.data())
def test_a_model_counts_from_its_rank_on(answers, data) -> None:
    own = data.draw(st.sampled_from(list(answers)))
    found = [found_within(ids(*answers), ids(own), k) for k in range(1, len(answers) + 1)]
    assert found == sorted(found)
    assert found.index(1.0) == answers.index(own)
    alone = average_precision(ids(*answers), ids(own))
    assert alone == pytest.approx(1 / (answers.index(own) + 1))  # one relevant model: the reciprocal rank


def test_drop_off_by_hand() -> None:
    curve = drop_off(np.array([4.0, 2.0, 0.0]))  # σ = √(8/3)
    np.testing.assert_allclose(curve[:3], [0, -2 / math.sqrt(8 / 3), -4 / math.sqrt(8 / 3)])
    assert np.isnan(curve[3:]).all()
    assert np.isnan(drop_off(np.array([2.0, 2.0]))).all()
    assert np.isnan(drop_off(np.array([0.1, 0.1, 0.1]))).all()  # whose deviation is 1e-17, by rounding
    assert np.isnan(drop_off(np.array([]))).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40), st.floats(0.1, 10), st.floats(-5, 5))
def test_drop_off_knows_no_scale(values: list[float], factor: float, shift: float) -> None:
    scores = np.array(sorted((round(value, 2) for value in values), reverse=True))
    np.testing.assert_allclose(drop_off(scores), drop_off(factor * scores + shift), atol=1e-6)


def test_models_that_share_a_tag_are_relevant() -> None:
    tags = {1: ("a", "b"), 2: ("b",), 3: ("c",), 4: (), 5: ("a",)}
    right = ((1,), (2,), (3,), (4,), (3, 2), (4, 5), (4, 3))
    relevant = dict(zip(right, tags_to_relevant(tags, [ids(*models) for models in right]), strict=True))
    assert {models: found.tolist() for models, found in relevant.items()} == {
        (1,): [1, 2, 5], (2,): [1, 2], (3,): [3], (4,): [], (3, 2): [1, 2, 3], (4, 5): [1, 5], (4, 3): [3],
    }  # fmt: skip
