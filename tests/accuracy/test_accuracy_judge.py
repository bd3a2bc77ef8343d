"""Ranks, intervals, comparisons and tables of the experiments, on answers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.further import paired_sketches
from benchmarks.accuracy.judge import accuracy, compare, scores_to_ranks
from benchmarks.accuracy.load import Models, Queries
from benchmarks.accuracy.papers import full_text
from benchmarks.accuracy.tables import Table, to_data
from engine.evaluation.average_precision import average_precision


def models(*names: str, descriptions: tuple[str, ...] = ()) -> Models:
    n = len(names)
    nothing = tuple("" for _ in names)
    return Models(
        names, ("k",) * n, ("main",) * n, nothing, nothing, (frozenset(),) * n, descriptions or nothing,
        tuple(np.zeros((1, 2), np.float32) for _ in names), 10.0,
    )  # fmt: skip


def test_the_best_right_answer_counts_and_ties_are_lost() -> None:
    scores = np.array([[3, 2, 1], [1, 2, 3], [2, 2, 0], [np.nan, 1, 0]], np.float32)
    targets = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]], bool)
    assert scores_to_ranks(scores, targets).tolist() == [0, 1, 1, 2]


def test_accuracy_resamples_models_not_queries() -> None:
    ranks = np.array([0] * 50 + [9] * 50)
    alone = accuracy(ranks, [str(i) for i in range(100)], 1)
    clustered = accuracy(ranks, ["a"] * 50 + ["b"] * 50, 1)
    assert alone.value == clustered.value == 0.5
    assert alone.high - alone.low < 0.25
    assert (clustered.low, clustered.high) == (0.0, 1.0)


def test_a_paired_comparison_sees_a_small_steady_gain() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, 400)
    better = np.where(rng.random(400) < 0.1, 0, base)
    found = compare(better, base, [str(i) for i in range(400)])
    assert found.low > 0
    assert found.value == pytest.approx((better == 0).mean() - (base == 0).mean())
    same = compare(base, base, [str(i) for i in range(400)])
    assert (same.low, same.high, same.p) == (0, 0, 1)


def test_average_precision_by_hand() -> None:
    found = average_precision(np.array([4, 3, 2, 1]), np.array([4, 2]))
    assert found == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_full_text_search_ignores_filler_and_knows_stems() -> None:
    zoo = models("a", "b", "c", descriptions=("Cats on a sofa", "the dog of the house", "a bird"))
    scores = full_text(zoo, ["the cat", "of the", "birds and dogs", 'quo"te'])
    assert scores[0].argmax() == 0
    assert np.isneginf(scores[1]).all()
    assert np.isfinite(scores[2]).tolist() == [False, True, True]


def test_targets_are_every_right_answer_that_is_there() -> None:
    features = np.zeros((3, 2), np.float32)
    asked = Queries("image", "unseen", features, (("a", "c"), ("z",), ("b",)), ("x", "y", "z"), ("", "", ""))
    among = asked.among(models("a", "b", "c"))
    assert among.owners == ("x", "z")
    assert among.targets(models("a", "b", "c")).tolist() == [[True, False, True], [False, True, False]]


def test_sketches_go_with_their_pictures() -> None:
    pictures = np.arange(4, dtype=np.float32)[:, None]
    images = Queries("image", "in-sample", pictures, (("a",), ("a",), ("b",), ("b",)), ("a", "a", "b", "b"), ("",) * 4)
    right = (("a",),) * 4 + (("b",),) * 4
    sketches = Queries("sketch", "in-sample", np.zeros((8, 1), np.float32), right, ("a",) * 4 + ("b",) * 4, ("",) * 8)
    paired, _ = paired_sketches(images, sketches)
    assert paired[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_table_is_what_was_added(tmp_path: Path) -> None:
    table = Table("t", "T", "A note.", ("name", "value"))
    table.add(("one", "1.0"), name="one", value=1.0)
    table.write(tmp_path)
    assert (tmp_path / "t.md").read_text() == "A note.\n\n| name | value |\n|---|--:|\n| one | 1.0 |\n"
    with pytest.raises(AssertionError):
        table.add(("too", "many", "cells"))


def test_figures_are_rounded_once() -> None:
    ranks = np.array([0, 0, 1, 1, 0, 2])
    assert to_data(compare(ranks, ranks, list("aabbcc"))) == {"value": 0, "low": 0, "high": 0, "p": 1}
    assert to_data(accuracy(ranks, list("abcdef"), 2))["value"] == 0.83333
    assert to_data(accuracy(ranks, ["a"] * 6, 1)) == {"value": 0.5, "low": None, "high": None}  # JSON has no NaN
