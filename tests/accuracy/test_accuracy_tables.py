"""The tables on precision, confusions and many samples, on collections small enough to work out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy import many_samples as many
from benchmarks.accuracy.confusions import scores_to_pairs
from benchmarks.accuracy.load import Float32, Models, Queries
from benchmarks.accuracy.papers import PAPERS, Scored
from benchmarks.accuracy.precision import precision_table
from engine.scores import unit

D = 256


def models(features: tuple[Float32, ...], tags: tuple[frozenset[str], ...]) -> Models:
    names = tuple("abcdefgh"[: len(features)])
    same = tuple("" for _ in names)
    return Models(names, same, ("main",) * len(names), same, same, tags, same, features, 10.0)


def asked(features: Float32, right: str) -> Queries:
    each = tuple((name,) for name in right)
    return Queries("image", "in-sample", features, each, tuple(right), ("",) * len(right))


def test_precision_counts_every_model_that_shares_a_tag() -> None:
    nothing = np.zeros((1, 2), np.float32)
    tags = (frozenset({"x"}), frozenset({"x", "y"}), frozenset({"y"}), frozenset[str]())
    zoo = models((nothing,) * 4, tags)
    queries = asked(np.zeros((3, 2), np.float32), "abd")
    scores = np.array([[3, 1, 2, 0], [1, 4, 3, 2], [1, 2, 3, 4]], np.float32)
    known = dict.fromkeys(PAPERS, scores)
    scored = Scored(zoo, None, queries, queries.targets(zoo), known)  # type: ignore[arg-type]
    table = precision_table({("image", "in-sample"): scored})
    assert [row["method"] for row in table.data] == list(PAPERS)
    row = table.data[0]
    whole = [(1 + 2 / 3) / 2, (1 + 1 + 3 / 4) / 3]  # of a: a, b; of b: a, b, c; d has no tag, and is left out
    assert row["mAP@5"]["value"] == row["mAP"]["value"] == pytest.approx(np.mean(whole), abs=1e-5)
    assert row["chance"] == pytest.approx((2 + 3 + 0) / 3 / 4)


def test_pairs_are_those_of_the_errors() -> None:
    targets = np.array([[1, 0, 0]] * 3 + [[0, 1, 1]], bool)
    scores = np.array([[3, 1, 2], [1, 2, 3], [2, 0, 2], [5, 1, 4]], np.float32)  # right, wrong, a tie, wrong
    assert scores_to_pairs(scores, targets) == {(0, 2): 2, (2, 0): 1}


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.setattr(many, "COUNTS", (20, 30, 60))
    monkeypatch.setattr(many, "KEPT", 30)
    rng = np.random.default_rng(0)
    drawn = tuple(unit(rng.normal(size=D) + rng.normal(size=(n, D))) for n in (60, 30, 60))
    return models(drawn, (frozenset(),) * 3)


def test_only_models_with_many_samples_are_cut(zoo: Models) -> None:
    cut = many.first_of_many(zoo, 20)
    assert [len(rows) for rows in cut] == [20, 30, 20]
    np.testing.assert_array_equal(cut[2], zoo.features[2][:20])


def test_many_samples_asks_for_the_models_that_have_them(zoo: Models) -> None:
    queries = asked(np.concatenate([rows[:3] for rows in zoo.features]), "aaabbbccc")
    few = zoo.take([1])
    table = many.many_samples({"all": zoo, "few": few}, queries, 0.5)
    assert {row["among"] for row in table.data} == {"all"}
    assert all((row["models"], row["collection"], row["queries"]) == (2, 3, 6) for row in table.data)
    found = {row["estimator"]: row for row in table.data}
    assert found["Monte-Carlo"]["top1"]["60"]["value"] == 1  # the queries are among the samples
    assert list(found["first moment"]["top1"]) == ["20", "30", "60"]
    wrong = replace(queries, features=queries.features[::-1].copy())
    again = many.many_samples({"all": zoo}, wrong, 0.5).data[0]["top1"]
    assert again["60"]["value"] == 0
