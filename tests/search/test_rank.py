"""Ranking against an exhaustive float64 reference, for every rule, filter, shortlist and number of parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from sqlalchemy import text

from engine.config import Settings
from engine.errors import InvalidQuery
from engine.records import EncoderIdentity, EncoderRef, Ingested, QueryPart
from engine.rerank.statistics_cache import StatisticsCache
from engine.scores import unit
from engine.search import IndexView, IndexViews, Ranking, rank, rule_for
from engine.search.plan import Plan
from engine.statistics import Moments
from engine.storage import Catalog, Database, blobs
from tests.postgres import copy_collection

MODELS = 25
RULES = ["first_moment", "first_second_moment", "gaussian_density", "monte_carlo", "best_1", "best_10"]
SCALE = 10.0  # the test encoder's logit scale, see conftest


@pytest.fixture(scope="module")
def stored_zoo(new_collection: Callable[[], str]) -> tuple[str, dict[int, np.ndarray]]:
    """A collection's address, and the samples behind each of its models."""
    address = new_collection()
    database = Database(address, Settings())
    catalog = Catalog(database)
    encoder = catalog.register_encoder(EncoderIdentity("external:test", "f" * 64, 8, SCALE, frozenset()))
    clouds = {}
    for number in range(MODELS):
        rng = np.random.default_rng(number)
        features = unit((rng.normal(size=8) + 0.4 * rng.normal(size=(30, 8))).astype(np.float32))
        statistics = Moments.of(features).to_statistics(1e-4)
        details = {"tags": ["even" if number % 2 == 0 else "odd"]}
        kept = features.astype(np.float16)
        model = catalog.put(Ingested(f"m{number:02}", details, statistics, {}, "d", sample_features=kept), encoder)
        clouds[model.id] = features
    database.close()
    return address, clouds


@pytest.fixture
def database(url: str, settings: Settings, stored_zoo: tuple[str, Any]) -> Iterator[Database]:
    """That collection, a copy for each test."""
    copy_collection(stored_zoo[0], url)
    database = Database(url, settings)
    yield database
    database.close()


@pytest.fixture
def zoo(stored_zoo: tuple[str, dict[int, np.ndarray]]) -> dict[int, np.ndarray]:
    """Sample features by model id."""
    return stored_zoo[1]


def reference(method: str, features: np.ndarray, query: np.ndarray) -> float:
    """One model's score from its samples, in float64."""
    wide, h = features.astype(np.float64), query.astype(np.float64)
    mean, sigma = wide.mean(axis=0), np.cov(wide, rowvar=False) + 1e-4 * np.eye(wide.shape[1])
    kept = features.astype(np.float16).astype(np.float64)
    match method:
        case "first_moment":
            return float(mean @ h / np.linalg.norm(mean))
        case "first_second_moment":
            return float(SCALE * (mean @ h) + SCALE**2 / 2 * (h @ sigma @ h))
        case "gaussian_density":
            return float(scipy.stats.multivariate_normal.logpdf(h, mean, sigma))
        case "monte_carlo":
            return float(scipy.special.logsumexp(SCALE * (kept @ h), b=1 / len(kept)))
        case "best_1":
            return float((kept @ h).max())
        case "best_10":
            return float(np.sort(kept @ h)[-10:].mean())
    raise AssertionError(method)


def table(method: str, zoo: dict[int, np.ndarray], parts: Sequence[QueryPart]) -> np.ndarray:
    """``(parts, models)``: each part's score of each model, exhaustively."""
    return np.array([[reference(method, features, p.feature) for features in zoo.values()] for p in parts])


def assert_ranking(found: Ranking, ids: Sequence[int], scores: np.ndarray, k: int) -> None:
    order = np.argsort(-scores, kind="stable")[:k]
    assert found.ids.tolist() == [list(ids)[i] for i in order]
    np.testing.assert_allclose(found.scores, scores[order], rtol=1e-3, atol=1e-3)
    assert found.parts.shape[1] == len(found.ids)
    np.testing.assert_allclose(found.parts.sum(axis=0), found.scores, rtol=1e-9, atol=1e-9)


# --- each rule, all models looked at


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("k", [1, 7, MODELS, 100])
def test_each_rule_is_exhaustive_when_the_shortlist_is(ask, zoo, method: str, k: int, part) -> None:
    for seed in range(3):
        parts = [part(seed)]
        found = ask(method, parts, k)
        assert_ranking(found, list(zoo), table(method, zoo, parts)[0], k)
        assert found.shortlist == (None if method == "first_moment" else MODELS)
        assert found.left_out == 0


@pytest.mark.parametrize("method", RULES)
def test_a_short_shortlist_ranks_the_nearest_means(ask, zoo, method: str, part) -> None:
    parts = [part(1)]
    nearest = np.argsort(-table("first_moment", zoo, parts)[0])[:10]
    scores = table(method, zoo, parts)[0][nearest]
    assert_ranking(ask(method, parts, 4, shortlist=10), [list(zoo)[i] for i in nearest], scores, 4)


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize(("k", "shortlist"), [(5, 1), (25, 3), (100, 10)])
def test_k_answers_come_back_from_any_shortlist(ask, zoo, method: str, k: int, shortlist: int, part) -> None:
    found = ask(method, [part(2)], k, shortlist=shortlist)
    assert len(found.ids) == min(k, MODELS)
    assert len(set(found.ids.tolist())) == len(found.ids)
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize(("k", "shortlist"), [(0, 10), (-1, 10), (5, 0)])
def test_less_than_one_is_refused(ask, zoo, k: int, shortlist: int, part) -> None:
    with pytest.raises(InvalidQuery, match="at least 1"):
        ask("first_moment", [part(1)], k, shortlist=shortlist)


# --- filters


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("shortlist", [1, 1000])
def test_a_filter_is_a_search_among_the_admitted(ask, zoo, catalog: Catalog, method: str, shortlist: int, part) -> None:
    allowed = catalog.matching({"tag": "odd"})[0]
    parts = [part(3)]
    admitted = {i: zoo[i] for i in zoo if i in allowed}
    found = ask(method, parts, 100, allowed=allowed, shortlist=shortlist)
    assert_ranking(found, list(admitted), table(method, admitted, parts)[0], 100)
    three = ask(method, parts, 3, allowed=allowed, shortlist=shortlist)
    assert len(three.ids) == 3
    assert set(three.ids.tolist()) <= set(allowed.tolist())


@pytest.mark.parametrize("method", RULES)
def test_a_filter_that_admits_none_answers_with_nothing(ask, zoo, method: str, part) -> None:
    for allowed in (np.empty(0, np.int64), np.array([10**6])):
        found = ask(method, [part(3)], allowed=allowed)
        assert (found.ids.shape, found.scores.shape, found.parts.shape) == ((0,), (0,), (1, 0))


# --- several parts


def spread_of(row: np.ndarray) -> float:
    return float(row.std())


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize("k", [3, 100])
def test_first_moment_of_several_parts_tempered(ask, zoo, weights: tuple[float, float], k: int, part) -> None:
    parts = [part(4, "text", weights[0]), part(5, "image", weights[1])]
    rows = table("first_moment", zoo, parts)
    scaled = np.stack([w * row / spread_of(row) for w, row in zip(weights, rows, strict=True)])
    found = ask("first_moment", parts, k)
    assert_ranking(found, list(zoo), scaled.sum(axis=0), k)
    places = [list(zoo).index(i) for i in found.ids]
    np.testing.assert_allclose(found.parts, scaled[:, places], rtol=1e-3)


def test_first_moment_of_several_parts_plain_is_cosine_over_tau(ask, zoo, part) -> None:
    parts = [part(4, "text", 2.0), part(5, "sketch", 1.0), part(6, "image", 0.5)]
    rows = table("first_moment", zoo, parts)
    scores = SCALE * (np.array([2.0, 1.0, 0.5]) @ rows)
    assert_ranking(ask("first_moment", parts, 9, tempered=False), list(zoo), scores, 9)


@pytest.mark.parametrize("method", [rule for rule in RULES if rule != "first_moment"])
@pytest.mark.parametrize("tempered", [True, False])
def test_an_exact_rule_of_several_parts(ask, zoo, method: str, tempered: bool, part) -> None:
    parts = [part(4, "sketch", 2.0), part(5, "image", 0.5)]
    rows = table(method, zoo, parts)
    scales = [2.0 / spread_of(rows[0]), 0.5 / spread_of(rows[1])] if tempered else [2.0, 0.5]
    assert_ranking(ask(method, parts, 100, tempered=tempered), list(zoo), np.array(scales) @ rows, 100)


def test_a_lone_parts_weight_scales_its_scores(ask, zoo, part) -> None:
    for method in RULES:
        one, heavy = ask(method, [part(4)]), ask(method, [part(4, weight=7.0)])
        assert one.ids.tolist() == heavy.ids.tolist()
        np.testing.assert_allclose(7 * one.scores, heavy.scores, rtol=1e-6)


def test_two_equal_parts_rank_as_one(ask, zoo, part) -> None:
    for tempered in (True, False):
        twice = ask("first_moment", [part(4, "text"), part(4, "image")], tempered=tempered)
        assert twice.ids.tolist() == ask("first_moment", [part(4)]).ids.tolist()


# --- models as queries


def test_a_model_query_leaves_itself_out(ask, zoo, views: IndexViews, encoder_id: int, identity, part) -> None:
    view = views.current(EncoderRef(encoder_id, identity))
    for model_id in list(zoo)[:3]:
        vector = view.index.vectors(np.array([model_id]))[0]
        query = QueryPart("model", vector, 1.0, model_id)
        found = ask("first_moment", [query], 100)
        rest = {i: zoo[i] for i in zoo if i != model_id}
        assert_ranking(found, list(rest), table("first_moment", rest, [query])[0], 100)
        alone = ask("first_moment", [query], 5, allowed=np.array([model_id]))
        assert alone.ids.tolist() == []
        assert len(ask("first_moment", [query, part(1, "text")], 100).ids) == MODELS - 1


# --- models that lack what a rule needs


def test_scores_that_are_not_finite_never_rank(ask, zoo, put, database: Database, part) -> None:
    """Stored moments with a NaN, checksum and all, as a broken writer would leave them."""
    mean, covariance = np.full(8, 1.0, np.float32), np.full((8, 8), np.nan, np.float32)
    data = (blobs.mean_to_blob(mean), blobs.covariance_to_blob(covariance))
    victim = next(iter(zoo))
    with database.write() as session:
        session.execute(
            text("UPDATE statistics SET mean=:m, covariance=:c, mean_checksum=:mc, checksum=:cc WHERE model_id=:i"),
            {"m": data[0], "c": data[1], "mc": blobs.checksum(data[0]), "cc": blobs.checksum(*data), "i": victim},
        )
    for method in ("gaussian_density", "first_second_moment"):
        found = ask(method, [part(1)], 100)
        assert victim not in found.ids
        assert len(found.ids) == MODELS - 1
        assert found.left_out == 1
        assert np.isfinite(found.scores).all()


@pytest.mark.parametrize("bad", ["nan", "zero"])
def test_a_mean_that_cannot_be_normalised_is_left_out(ask, zoo, database: Database, bad: str, part) -> None:
    mean = blobs.mean_to_blob(np.full(8, np.nan if bad == "nan" else 0, np.float32))
    victim = next(iter(zoo))
    with database.write() as session:
        session.execute(
            text("UPDATE statistics SET mean=:m, mean_checksum=:c WHERE model_id=:i"),
            {"m": mean, "c": blobs.checksum(mean), "i": victim},
        )
    found = ask("first_moment", [part(1)], 100)
    assert (victim in found.ids, len(found.ids), found.left_out) == (False, MODELS - 1, 1)


def test_a_damaged_model_is_left_out_and_the_rest_served(ask, zoo, database: Database, caplog, part) -> None:
    victim = next(iter(zoo))
    with database.write() as session:
        statement = text("UPDATE statistics SET covariance = :zeros WHERE model_id = :i")
        session.execute(statement, {"i": victim, "zeros": bytes(144)})
    found = ask("gaussian_density", [part(1)], 100)
    assert (victim in found.ids, len(found.ids), found.left_out) == (False, MODELS - 1, 1)
    assert "engine doctor" in caplog.text
    assert victim in ask("first_moment", [part(1)], 100).ids  # its mean is whole


# --- what is cached


def test_a_cache_too_small_changes_no_answer(views: IndexViews, catalog, encoder_id, identity, zoo, part) -> None:
    view: IndexView = views.current(EncoderRef(encoder_id, identity))
    for method in RULES:
        rule = rule_for(method, ["image"])
        answers = [
            rank(Plan(rule, view), StatisticsCache(catalog, budget), [part(1)], 9, shortlist=20).ids.tolist()
            for budget in (0, 3000, 10**8)
        ]
        assert answers[0] == answers[1] == answers[2]


def test_replaced_statistics_are_used_at_once(ask, zoo, put, cloud, catalog: Catalog, part) -> None:
    parts = [part(1)]
    for method in RULES:
        ask(method, parts)  # everything is in the cache now
    features = cloud(999, rows=30)
    changed = put("m03", features=features, digest="other")
    fresh = {**zoo, changed.id: features}
    for method in RULES:
        assert_ranking(ask(method, parts), list(fresh), table(method, fresh, parts)[0], MODELS)
