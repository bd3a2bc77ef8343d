"""Searching in other spaces: whitened and learned, their indexes, and which transform a query uses."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from engine import Engine
from engine.config import Settings
from engine.errors import CorruptData, InvalidInput, InvalidQuery, MissingStatistics, TransformNotFound
from engine.records import EncoderIdentity, EncoderRef, QueryPart, Transform
from engine.samples import MomentsSource
from engine.scores import fit_whitening, learned_first_moment, unit
from engine.search import IndexViews, TransformCache, rank, rule_for
from engine.search.plan import Plan, PlanRequest
from engine.storage import Catalog, Database, Transforms
from tests.postgres import copy_collection

D = 8
NAMES = [f"m{number}" for number in range(9)]
WHITENED = "whitened_first_moment"


@pytest.fixture
def database(url: str, settings: Settings, stored_zoo: str) -> Iterator[Database]:
    """A collection of nine models, a copy for each test."""
    copy_collection(stored_zoo, url)
    database = Database(url, settings)
    yield database
    database.close()


@pytest.fixture(scope="module")
def stored_zoo(new_collection: Callable[[], str]) -> str:
    address = new_collection()
    with Engine.open(address) as eng:
        for seed, name in enumerate(NAMES):
            eng.ingest(features_of(seed), name=name, tags=["even" if seed % 2 == 0 else "odd"])
    return address


def features_of(seed: int, rows: int = 40) -> np.ndarray:
    """Samples that scatter most along the first axes."""
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=D) + np.linspace(2, 0.1, D) * rng.normal(size=(rows, D))
    return unit(wide.astype(np.float32))


@pytest.fixture
def identity(eng: Engine) -> EncoderIdentity:
    """The encoder of the nine."""
    return eng.encoders()[0]


@pytest.fixture
def eng(database: Database, url: str, settings: Settings) -> Iterator[Engine]:
    """That collection, open."""
    with Engine.open(url, settings=settings) as eng:
        yield eng


@pytest.fixture
def query() -> np.ndarray:
    return unit(np.random.default_rng(77).normal(size=D).astype(np.float32))


def whitenings(eng: Engine) -> list[Transform]:
    return [one for one in eng.services.transforms.transforms.all() if one.method == WHITENED]


def expected_order(eng: Engine, query: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Every model by whitened cosine, from the statistics themselves."""
    encoder_id, _ = eng.services.session.encoder()
    stored = eng.services.catalog.statistics(encoder_id, [model.id for model in eng.models()])[0]
    whitening = fit_whitening([stored[i].statistics for i in sorted(stored)])
    means = unit(np.stack([stored[i].statistics.mean for i in sorted(stored)]))
    scores = whitening.means_to_vectors(means) @ whitening.queries_to_vectors(query[None])[0]
    order = np.argsort(-scores)
    return [eng.names(sorted(stored))[place] for place in order], scores[order]


# --- whitened


def test_whitened_search_is_fitted_on_first_use(eng: Engine, query: np.ndarray) -> None:
    assert whitenings(eng) == []
    scores, ids = eng.search_vectors(query, 9, WHITENED)
    names, expected = expected_order(eng, query)
    assert eng.names(ids) == names
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    (stored,) = whitenings(eng)
    assert (stored.active, stored.report["models"], stored.report["shrinkage"]) == (True, 9, 0.05)
    plain = eng.names(eng.search_vectors(query, 9)[1])
    assert plain != names  # or the test tells nothing


def test_it_takes_models_filters_and_several_parts(eng: Engine, query: np.ndarray, settings: Settings) -> None:
    hits = eng.search(model="m3", method=WHITENED, k=4, where={"tag": "odd"})
    assert (len(hits), hits.method, hits.transform) == (3, WHITENED, "any-whitened_first_moment-whitening-1")
    assert {hit.name for hit in hits} == {"m1", "m5", "m7"}
    encoder_id, identity = eng.services.session.encoder()
    space = eng.services.transforms.whitened(EncoderRef(encoder_id, identity))
    view = eng.services.views.current(EncoderRef(encoder_id, identity), space)
    parts = [QueryPart("text", query, 2.0), QueryPart("image", unit(query[::-1].copy()), 1.0)]
    rule = rule_for(WHITENED, ["text", "image"])
    found = rank(Plan(rule, view), eng.services.statistics, parts, 9, shortlist=5)
    vectors = view.index.vectors(view.index.ids).astype(np.float64)
    rows = vectors @ space.queries_to_vectors(np.stack([p.feature for p in parts])).T.astype(np.float64)
    total = (rows / rows.std(axis=0)) @ np.array([2.0, 1.0])
    assert found.ids.tolist() == view.index.ids[np.argsort(-total)].tolist()
    np.testing.assert_allclose(found.scores, np.sort(total)[::-1], rtol=1e-4)


def test_the_index_build_fits_it_again_only_after_a_change(eng: Engine, query: np.ndarray) -> None:
    eng.build_index()
    (first,) = whitenings(eng)
    eng.build_index()
    eng.update("m1", description="other words")
    eng.build_index()
    assert whitenings(eng) == [first]
    eng.ingest(features_of(50), name="new")
    assert "new" in eng.names(eng.search_vectors(query, 10, WHITENED)[1])
    assert whitenings(eng) == [first]  # a new model joins the index as it is
    built = eng.build_index()
    (second,) = whitenings(eng)
    assert (second.version, second.report["models"]) == (2, 10)
    assert [(one["space"], one["snapshot"]) for one in built] == [("first_moment", "current"), (WHITENED, "current")]
    names, _ = expected_order(eng, query)
    assert eng.names(eng.search_vectors(query, 10, WHITENED)[1]) == names
    assert eng.doctor() == []


def test_a_collection_that_has_doubled_is_fitted_again(eng: Engine, query: np.ndarray) -> None:
    eng.search_vectors(query, 1, WHITENED)
    for number in range(9):
        assert [one.version for one in whitenings(eng)] == [1]
        eng.ingest_outcome(features_of(100 + number), name=f"new{number}")
    names, _ = expected_order(eng, query)
    eng.refresh()
    assert eng.names(eng.search_vectors(query, 18, WHITENED)[1]) == names
    assert [one.version for one in whitenings(eng)] == [2]


def test_without_enough_statistics_it_is_refused(url: str, settings: Settings, query: np.ndarray) -> None:
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        for name in ("one", "two"):
            mean, still = features_of(len(name)).mean(axis=0), np.zeros((D, D), np.float32)
            eng.ingest(MomentsSource(mean, still, 12), name=name)
            with pytest.raises(MissingStatistics, match="whitening") as caught:
                eng.search(model=name, method=WHITENED)
            assert "first_moment" in str(caught.value.hint)
        eng.build_index()
        assert [one["space"] for one in eng.index_status()] == ["first_moment"]


def test_a_damaged_whitening_is_fitted_again(eng: Engine, query: np.ndarray, url: str, settings, caplog) -> None:
    before = eng.search_vectors(query, 9, WHITENED)[1].tolist()
    with eng.services.database.write() as session:
        session.execute(text("UPDATE transforms SET data = :zeros"), {"zeros": bytes(100)})
    repairs = [finding.repair for finding in eng.doctor() if finding.severity == "damage"]
    assert repairs == [f"engine doctor --repair --database {shlex.quote(eng.services.database.shown_url)}"]
    with Engine.open(url, settings=settings) as other, caplog.at_level(logging.WARNING):
        assert other.search_vectors(query, 9, WHITENED)[1].tolist() == before
        assert "damaged" in caplog.text
        assert [one.version for one in whitenings(other)] == [2]


# --- the shortlist


@pytest.mark.parametrize("how", ["setting", "argument"])
def test_a_shortlist_can_come_from_the_whitened_space(
    url: str, database: Database, settings: Settings, query: np.ndarray, how: str
) -> None:
    chosen = Settings(shortlist_space=WHITENED, index_folder=settings.index_folder) if how == "setting" else settings
    named: dict[str, Any] = {} if how == "setting" else {"shortlist_space": WHITENED}
    with Engine.open(url, settings=chosen) as eng:
        names, _ = expected_order(eng, query)
        plain = eng.names(eng.search_vectors(query, 3, shortlist_space="first_moment")[1])
        assert set(plain) != set(names[:3])
        _, ids = eng.search_vectors(query, 3, "gaussian_density", shortlist=3, **named)
        assert set(eng.names(ids)) == set(names[:3])
        _, ids = eng.search_vectors(query, 3, "gaussian_density", shortlist=3, shortlist_space="first_moment")
        assert set(eng.names(ids)) == set(plain)
        with pytest.raises(InvalidQuery, match="unknown shortlist space"):
            eng.search_vectors(query, 3, shortlist_space="nonsense")
    with pytest.raises(InvalidInput, match="shortlist_space"):
        Settings(shortlist_space="nonsense")


def test_a_shortlist_of_one_model_needs_no_whitening(url: str, settings: Settings, query: np.ndarray) -> None:
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        eng.ingest(features_of(1), name="one")
        found = eng.search_vectors(query, 1, "gaussian_density", shortlist_space=WHITENED)
        assert eng.names(found[1]) == ["one"]


# --- learned


def learn(eng: Engine, method: str = "first_moment", modality: str = "sketch", matrix: Any = None, **more: Any) -> str:
    """Store a transform as if it had been learned; its name."""
    arrays = {"matrix": np.tril(features_of(5, D)).astype(np.float32) if matrix is None else matrix}
    encoder_id, _ = eng.services.session.encoder()
    added = eng.services.transforms.transforms.add(
        encoder_id, method, modality, "full", arrays, {}, **{"activate": True, **more}
    )
    eng.refresh()
    return added.name


@pytest.mark.parametrize("method", ["first_moment", "gaussian_density"])
def test_the_identity_ranks_as_none(eng: Engine, query: np.ndarray, method: str) -> None:
    name = learn(eng, method, matrix=np.eye(D, dtype=np.float32))
    asked = {"modality": "sketch", "method": method}
    scores, ids = eng.search_vectors(query, 9, **asked)
    for transform in (name, "auto"):
        found = eng.search_vectors(query, 9, transform=transform, **asked)
        assert found[1].tolist() == ids.tolist()
        np.testing.assert_allclose(found[0], scores, rtol=1e-5, atol=1e-6)


def test_a_learned_first_moment_is_searched_exactly(eng: Engine, query: np.ndarray) -> None:
    matrix = np.random.default_rng(8).normal(size=(D, D)).astype(np.float32)
    learn(eng, matrix=matrix)
    means = np.stack([features_of(seed).astype(np.float64).mean(axis=0) for seed in range(9)]).astype(np.float32)
    scores = learned_first_moment(matrix, means, query)
    many = np.stack([query, -query])
    found, ids = eng.search_vectors(many, 9, modality="sketch", transform="auto")
    assert eng.names(ids[0]) == [NAMES[i] for i in np.argsort(-scores)]
    assert eng.names(ids[1]) == [NAMES[i] for i in np.argsort(scores)]
    np.testing.assert_allclose(found[0], np.sort(scores)[::-1], atol=1e-5)
    eng.ingest(features_of(60), name="new")  # the index follows
    assert "new" in eng.names(eng.search_vectors(query, 10, modality="sketch", transform="auto")[1])


def test_auto_takes_the_active_one_of_method_and_modality(eng: Engine) -> None:
    sketch, density = learn(eng), learn(eng, "gaussian_density", "image")
    idle = learn(eng, modality="image", activate=False)
    encoder = eng.services.session.encoder()

    def chosen(given: str | None, method: str, *modalities: str) -> str | None:
        active = eng.services.session.facts().active[encoder.id]
        found = eng.services.transforms.chosen(given, encoder, rule_for(method, modalities), modalities, active)
        return found.name if found else None

    assert chosen("auto", "first_moment", "sketch") == sketch
    assert chosen("auto", "gaussian_density", "image") == density
    assert chosen(idle, "first_moment", "image") == idle
    for nothing in (
        chosen(None, "first_moment", "sketch"), chosen("auto", "first_moment", "image"),
        chosen("auto", "gaussian_density", "sketch"), chosen("auto", "first_moment", "model"),
        chosen("auto", "monte_carlo", "sketch"), chosen("auto", WHITENED, "sketch"),
        chosen("auto", "first_moment", "sketch", "text"),
    ):  # fmt: skip
        assert nothing is None
    anything = learn(eng, modality="any")
    assert chosen("auto", "first_moment", "sketch") == sketch  # the nearer one
    assert chosen("auto", "first_moment", "text", "image") == anything
    assert chosen("auto", "first_moment", "text", "sketch") is None
    assert chosen("auto", "first_moment", "text", "model") is None
    with pytest.raises(TransformNotFound):
        chosen("nope", "first_moment", "text")
    for named, method, modality in (
        (sketch, "first_moment", "image"), (sketch, "gaussian_density", "sketch"), (anything, "first_moment", "model"),
        (density, "monte_carlo", "image"),
    ):  # fmt: skip
        with pytest.raises(InvalidQuery):
            chosen(named, method, modality)


def test_a_named_transform_brings_its_method(eng: Engine, query: np.ndarray) -> None:
    name = learn(eng, "gaussian_density", "image")
    plan = eng.services.search.plan(PlanRequest(None, ("image",), "auto", name))
    assert (plan.rule.name, plan.transform) == ("gaussian_density", name)
    for bad in (5, ["auto"]):
        with pytest.raises(InvalidQuery, match="transform"):
            eng.services.search.plan(PlanRequest(None, ("image",), "auto", bad))
    with pytest.raises(InvalidQuery, match="modality"):
        eng.search_vectors(query, 1, modality="model")
    eng.search_vectors(query, 1, WHITENED)
    with pytest.raises(InvalidQuery, match="cannot serve") as caught:
        eng.search_vectors(query, 1, WHITENED, transform=whitenings(eng)[0].name)
    assert WHITENED in str(caught.value.hint)


def test_another_encoders_transform_is_refused(eng: Engine, query: np.ndarray) -> None:
    name = learn(eng)
    eng.ingest(features_of(3), name="other", encoder="external:other")
    with pytest.raises(InvalidQuery, match="another encoder"):
        eng.search_vectors(query, 1, encoder="external:other", modality="sketch", transform=name)


@pytest.mark.parametrize("method", ["first_moment", "gaussian_density"])
def test_a_damaged_transform_is_said_and_others_are_served(
    eng: Engine, query: np.ndarray, method: str, url: str, settings: Settings
) -> None:
    name = learn(eng, method)
    with eng.services.database.write() as session:
        session.execute(text("UPDATE transforms SET data = :zeros"), {"zeros": bytes(64)})
    (finding,) = [finding for finding in eng.doctor() if finding.severity == "damage"]
    assert name in finding.repair
    with Engine.open(url, settings=settings) as other:
        for transform in ("auto", name):
            with pytest.raises(CorruptData, match=name):
                other.search_vectors(query, 1, method, modality="sketch", transform=transform)
        assert len(other.search_vectors(query, 9, method, modality="sketch")[1]) == 9


# --- indexes of spaces


def test_a_snapshot_of_another_version_is_rebuilt(eng: Engine, query: np.ndarray, url: str, settings) -> None:
    eng.search_vectors(query, 1, WHITENED)
    eng.close()
    with Engine.open(url, settings=settings) as other:  # while we have the whitening of version 1 on disk
        other.ingest(features_of(61), name="new")
        other.services.transforms.whitened(other.services.session.encoder(), exactly=True)
        states = {one["space"]: one["snapshot"] for one in other.index_status()}
        assert states[WHITENED] == "behind"
        assert any("another transform" in finding.what for finding in other.doctor())
        names, _ = expected_order(other, query)
        assert other.names(other.search_vectors(query, 10, WHITENED)[1]) == names
    with Engine.open(url, settings=settings) as again:
        assert {one["snapshot"] for one in again.index_status() if one["space"] == WHITENED} == {"current"}
        assert again.names(again.search_vectors(query, 10, WHITENED)[1]) == names


def test_another_process_sees_a_new_version_at_once(eng: Engine, query: np.ndarray, url: str, settings) -> None:
    with Engine.open(url, settings=settings) as other:
        other.search(model="m1", method=WHITENED)
        eng.ingest(features_of(62), name="new")
        eng.build_index()
        hits = other.search(model="m1", method=WHITENED, k=20)
        assert hits.transform == whitenings(eng)[0].name
        assert [hit.score for hit in hits] == [hit.score for hit in eng.search(model="m1", method=WHITENED, k=20)]


steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "remove", "publish", "reopen", "refit"]), st.integers(0, 4)), max_size=12
)


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_any_history_ends_with_the_whitened_database(
    catalog: Catalog, put, tmp_path: Path, encoder_id: int, identity: EncoderIdentity, steps
) -> None:
    root = tmp_path / "history"
    shutil.rmtree(root, ignore_errors=True)
    maps = TransformCache(catalog, Transforms(catalog.database))
    views = IndexViews(catalog, root)
    for what, number in steps:
        if what == "put":
            put(f"h{number}", digest=str(catalog.last_change()))
        elif what == "remove" and catalog.models({"name": f"h{number}"}):
            catalog.remove(f"h{number}")
        elif what == "publish":
            views.current(EncoderRef(encoder_id, identity), maps.whitened(EncoderRef(encoder_id, identity)))
            views.publish_stale()
        elif what == "reopen":
            views = IndexViews(catalog, root)
        else:
            maps.whitened(EncoderRef(encoder_id, identity), exactly=True)
    space = maps.whitened(EncoderRef(encoder_id, identity))
    ids, means, *_ = catalog.means_since(encoder_id, 0)
    for fresh in (views, IndexViews(catalog, root)):
        view = fresh.current(EncoderRef(encoder_id, identity), space)
        assert sorted(view.index.ids.tolist()) == ids.tolist()
        np.testing.assert_allclose(view.index.vectors(ids), space.means_to_vectors(unit(means)), atol=1e-6)
        plain = fresh.current(EncoderRef(encoder_id, identity))
        np.testing.assert_array_equal(plain.index.vectors(ids), unit(means))
