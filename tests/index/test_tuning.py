"""A promised recall holds for queries that the tuning has not seen, of kinds that it has not seen either."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.index import FlatIndex, QuantizedIndex
from engine.index.quantized.calibrate import cells_tried, estimates_kept
from engine.index.quantized.query_families import FEWEST, query_families, vectors_to_shape
from engine.index.quantized.tuning import DEPTHS, JUDGES, QUERIES, SURE, Tuning, assured, exact_rows, without_own
from engine.scores import unit

D, MODELS, HELD = 48, 20_000, 400
BASIS = np.linalg.qr(np.random.default_rng(1).normal(size=(D, D)))[0]


def shaped(rng: np.random.Generator, rows: np.ndarray, exponent: float, cosine: float, count: int) -> np.ndarray:
    """Queries at a cosine from rows; the noise falls off as a power of the direction's rank."""
    own = rows[rng.integers(0, len(rows), count)].astype(np.float64)
    noise = (rng.standard_normal(own.shape) * np.arange(1, D + 1) ** -exponent) @ BASIS
    noise -= np.einsum("qd,qd->q", noise, own)[:, None] * own
    return np.asarray(cosine * own + np.sqrt(1 - cosine**2) * unit(noise.astype(np.float32)), np.float32)


@pytest.fixture(scope="module")
def collection() -> tuple[np.ndarray, np.ndarray, QuantizedIndex]:
    """Unit vectors around 400 topics, others that were held out, and the index of the first."""
    rng = np.random.default_rng(5)
    fall = np.arange(1, D + 1) ** -0.5
    topics = rng.normal(size=(400, D)) * fall
    wide = topics[rng.integers(0, 400, MODELS + HELD)] + 1.2 * rng.normal(size=(MODELS + HELD, D)) * fall
    rows = unit((wide @ BASIS).astype(np.float32))
    return rows[:MODELS], rows[MODELS:], QuantizedIndex.build(np.arange(MODELS), rows[:MODELS], dimension=D)


def reached(index: QuantizedIndex, rows: np.ndarray, asked: np.ndarray, recall: float) -> float:
    truth = exact_rows(rows, asked, 10)
    _, ids = index.search(asked, 10, recall=recall)
    return float(np.mean([np.isin(one, true).mean() for one, true in zip(ids, truth, strict=True)]))


@pytest.mark.parametrize(
    ("exponent", "cosine"), [(0.0, 0.8), *((e, c) for e in (0.5, 1.0, 1.5) for c in (0.6, 0.8, 0.9))]
)
def test_recall_holds_for_any_noise(collection, exponent: float, cosine: float) -> None:
    """Noise of spectra that the tuning does not use. A hundredth is allowed for chance: 400 queries."""
    rows, _, index = collection
    asked = shaped(np.random.default_rng([7, int(10 * exponent), int(10 * cosine)]), rows, exponent, cosine, 400)
    assert reached(index, rows, asked, 0.9) >= 0.89
    assert reached(index, rows, asked, 0.99) >= 0.985


def test_recall_holds_for_models_held_out(collection) -> None:
    rows, held, index = collection
    assert reached(index, rows, held, 0.9) >= 0.89
    assert reached(index, rows, held, 0.99) >= 0.985


@pytest.mark.usefixtures("few_tuning_queries")
def test_the_hardest_family_decides() -> None:
    """Queries between two models far apart, which nothing else asks: given as the collection's own, they are heeded."""
    rng = np.random.default_rng(2)
    rows = unit((rng.normal(size=(50, D))[rng.integers(0, 50, 2000)] + 0.5 * rng.normal(size=(2000, D))).astype("f4"))
    between = unit(rows[rng.integers(0, 2000, QUERIES + JUDGES)] + rows[rng.integers(0, 2000, QUERIES + JUDGES)])
    plain = QuantizedIndex.build(np.arange(2000), rows, dimension=D)
    told = QuantizedIndex.build(np.arange(2000), rows, dimension=D, real=lambda: between)
    assert "the collection's own" not in plain.tuning.families
    assert told.tuning.families[-1] == "the collection's own"
    np.testing.assert_array_equal(told.real, between)
    for target in (0.9, 0.99):
        before, after = plain.tuning.setting(10, target), told.tuning.setting(10, target)
        assert before is not None
        assert after is not None
        assert after.codes >= before.codes
        fresh = unit(rows[rng.integers(0, 2000, 300)] + rows[rng.integers(0, 2000, 300)])
        assert reached(told, rows, fresh, target) >= target - 0.02


@pytest.mark.usefixtures("few_tuning_queries")
def test_settings_say_what_they_were_measured_on() -> None:
    rows = unit(np.random.default_rng(3).normal(size=(1000, 16)).astype(np.float32))
    tuning = QuantizedIndex.build(np.arange(1000), rows, dimension=16).tuning
    assert tuning.settings
    assert {one.hardest for one in tuning.settings} <= set(tuning.families)
    assert all(one.recall > one.target - 0.06 for one in tuning.settings)
    assert Tuning.from_json(json.loads(json.dumps(tuning.to_json()))) == tuning


def test_families_are_what_they_say() -> None:
    rng = np.random.default_rng(4)
    rows = unit((rng.normal(size=(2000, 8)) * [4, 2, 1, 1, 1, 1, 1, 1]).astype(np.float32))
    index = FlatIndex.build(np.arange(2000) + 7, rows, dimension=8)
    shape = vectors_to_shape(index)
    np.testing.assert_allclose(shape.T @ shape, np.cov(rows.T, ddof=0), atol=1e-6)
    families = {one.name: one for one in query_families(index, 50, rng, rows[:FEWEST])}
    cosines = {"isotropic": 0.8, "varying": 0.8, "varying, far": 0.6, "varying, steep": 0.6, "varying, text": 0.3}
    for name, cosine in cosines.items():
        queries = families[name].queries
        np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
        assert (np.abs(queries @ rows.T - cosine).min(axis=1) < 1e-5).all(), "a model is at that cosine"
        assert (families[name].own == -1).all()
    held = families["models held out"]
    np.testing.assert_array_equal(held.queries, rows[held.own - 7])
    assert len(families["the collection's own"].queries) == FEWEST
    assert len(query_families(index, 50, rng, rows[: FEWEST - 1])) == len(families) - 1


def test_the_promise_has_a_margin_for_chance() -> None:
    hits = np.array([[1.0, 0.0], [0.8, 0.4], [0.6, 0.8], [0.4, 1.0]])
    np.testing.assert_allclose(assured(hits), hits.mean(0) - SURE * hits.std(0) / 2)


def test_exact_rows_are_those_of_a_sort(rng: np.random.Generator, monkeypatch) -> None:
    monkeypatch.setattr("engine.index.quantized.tuning.BLOCK", 64)
    rows = -np.abs(rng.normal(size=(300, 5))).astype(np.float32)  # a filling of zeros would be best
    there = rng.random(300) < 0.7
    rows[~there] = 0
    asked = np.abs(rng.normal(size=(9, 5))).astype(np.float32)
    places = np.flatnonzero(there)
    expected = places[np.argsort(-(asked @ rows[places].T), axis=1)[:, :12]]
    np.testing.assert_array_equal(exact_rows(rows, asked, 12, there), expected)


def test_a_query_does_not_find_its_own_model() -> None:
    index = FlatIndex.build(np.arange(4) + 10, np.eye(4, dtype=np.float32), dimension=4)
    family = query_families(index, 3, np.random.default_rng(0))[-1]
    family.own[:] = [11, 13, -1]
    rows = np.array([[1, 0, 2], [0, 3, 2], [3, 2, 1]])
    np.testing.assert_array_equal(without_own(rows, index.ids, family), [[0, 2], [0, 2], [3, 2]])


def test_what_is_tried_covers_everything() -> None:
    assert cells_tried(1).tolist() == [1]
    assert cells_tried(500)[[0, -1]].tolist() == [1, 500]
    for depth in DEPTHS:
        assert estimates_kept(depth, 10**6)[0] == depth
        assert max(estimates_kept(depth, 300)) <= 300


@pytest.mark.parametrize("d", [64, 200])
def test_estimates_are_near_whatever_is_searched(d: int) -> None:
    """However many cells: what estimates are made of must not be freed while they are made."""
    rng = np.random.default_rng(6)
    rows = unit((rng.normal(size=(40, d))[rng.integers(0, 40, 3000)] + 0.5 * rng.normal(size=(3000, d))).astype("f4"))
    index = QuantizedIndex._coded(np.arange(3000), rows)
    for query in rows[:: len(rows) // 20]:
        turned = index.turned(query)
        for probes in (1, 2, 3, 4, 5, 6, 8, 11, 15, 20):
            places, estimates, _ = index.candidates(turned, probes, len(rows))
            assert np.abs(estimates - index.rows.vectors[places] @ query).max() < 0.5
