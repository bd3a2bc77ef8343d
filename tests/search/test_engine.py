"""The Engine end to end, on arrays of features: ingest, describe, search, compare, doctor."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from sqlalchemy import text

from engine import Engine
from engine.config import Settings
from engine.errors import (
    CorruptData,
    DuplicateName,
    EncoderMismatch,
    EncoderNotFound,
    EngineError,
    InvalidFeatures,
    InvalidFilter,
    InvalidInput,
    InvalidQuery,
    MissingStatistics,
    ModelNotFound,
    NotEnoughSamples,
)
from engine.samples import MomentsSource
from tests.postgres import copy_collection

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox"]
METHODS = ["first_moment", "first_second_moment", "gaussian_density", "monte_carlo", "best_1", "best_10"]


@pytest.fixture
def eng(url: str, settings: Settings) -> Iterator[Engine]:
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        yield eng


@pytest.fixture(scope="module")
def stored_zoo(new_collection: Callable[[], str]) -> tuple[str, dict[str, np.ndarray]]:
    """The address of a collection of six models of forty samples each, and their features."""
    address, features = new_collection(), {}
    with Engine.open(address) as eng:
        for seed, name in enumerate(NAMES):
            rng = np.random.default_rng(seed)
            rows = rng.normal(size=8) + 0.4 * rng.normal(size=(40, 8))
            features[name] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
            eng.ingest(features[name], name=name, tags=["small" if seed < 3 else "large"], kind="test")
    return address, features


@pytest.fixture
def url(request: pytest.FixtureRequest, url: str) -> str:
    """Where the collection of a test is: a copy of the zoo, for the tests that ask for one."""
    if "zoo" in request.fixturenames:
        copy_collection(request.getfixturevalue("stored_zoo")[0], url)
    return url


@pytest.fixture
def zoo(stored_zoo: tuple[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The features of the six models."""
    return stored_zoo[1]


def cosines(features: dict[str, np.ndarray], query: np.ndarray) -> dict[str, float]:
    means = {name: rows.astype(np.float64).mean(axis=0) for name, rows in features.items()}
    return {name: float(m @ query / np.linalg.norm(m) / np.linalg.norm(query)) for name, m in means.items()}


# --- ingest


def test_unchanged_content_changes_nothing(eng: Engine, cloud) -> None:
    first = eng.ingest(cloud(1), name="fox", tags=["animal"])
    change = eng.services.catalog.last_change()
    assert eng.ingest(cloud(1), name="fox") == first
    again = eng.ingest(cloud(1).copy(), name="fox", description="red")
    assert (again.id, again.tags, again.description) == (first.id, ("animal",), "red")
    assert eng.services.catalog.last_change() == change
    other = eng.ingest(cloud(2), name="fox")
    assert (other.id, other.tags, eng.services.catalog.last_change()) == (first.id, ("animal",), change + 1)
    scores, ids = eng.search_vectors(cloud(2).mean(axis=0), k=1)
    assert (ids.tolist(), scores[0]) == ([first.id], pytest.approx(1.0, abs=1e-6))


def test_another_epsilon_is_other_content(url: str, settings: Settings, cloud) -> None:
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        eng.ingest(cloud(1), name="fox")
        change = eng.services.catalog.last_change()
    with Engine.open(url, settings=Settings(epsilon=1e-3, index_folder=settings.index_folder)) as eng:
        model = eng.ingest(cloud(1), name="fox")
        assert eng.services.catalog.last_change() == change + 1
        assert eng.services.catalog.statistics(1, [model.id])[0][model.id].statistics.epsilon == 1e-3


def test_the_stored_moments_are_numpys(eng: Engine, cloud) -> None:
    raw = 7.5 * cloud(3, rows=50).astype(np.float64)  # not of unit norm: rows are normalised first
    model = eng.ingest(raw, name="fox")
    stored = eng.services.catalog.statistics(1, [model.id])[0][model.id].statistics
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(stored.mean, unit.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(stored.covariance, np.cov(unit, rowvar=False), atol=1e-7)
    assert (model.samples, stored.samples) == (50, 50)


@pytest.mark.parametrize(
    ("features", "error"),
    [
        (np.full((5, 8), np.nan, np.float32), InvalidFeatures), (np.zeros((5, 8), np.float32), InvalidFeatures),
        (np.ones((5, 8), np.int64), InvalidFeatures), (np.ones(8, np.float32), InvalidFeatures),
        (np.ones((0, 8), np.float32), InvalidFeatures), (np.ones((1, 8), np.float32), NotEnoughSamples),
        (np.array([["a"]]), InvalidFeatures), (np.array([[None]], object), InvalidFeatures),
    ],
)  # fmt: skip
def test_features_that_are_refused_leave_nothing(eng: Engine, cloud, features, error: type[EngineError]) -> None:
    with pytest.raises(error):
        eng.ingest(features, name="fox")
    assert eng.models() == []
    assert eng.encoders() == []
    eng.ingest(cloud(1, dimension=5), name="fox")  # what was refused did not settle the encoder's dimension
    with pytest.raises((InvalidFeatures, EncoderMismatch), match="dimensions"):
        eng.ingest(cloud(1, dimension=6), name="owl")
    assert [model.name for model in eng.models()] == ["fox"]


def test_an_array_needs_a_name(eng: Engine, cloud) -> None:
    with pytest.raises(InvalidInput, match="name"):
        eng.ingest(cloud(1))


def test_moments_alone_serve_what_needs_no_samples(eng: Engine, zoo, cloud) -> None:
    rows = cloud(9).astype(np.float64)
    eng.ingest(MomentsSource(rows.mean(axis=0), np.cov(rows, rowvar=False), 12), name="moments")
    query = rows.mean(axis=0)
    assert eng.names(eng.search_vectors(query, 1)[1]) == ["moments"]
    for method in ("gaussian_density", "first_second_moment"):
        assert "moments" in eng.names(eng.search_vectors(query, 7, method)[1])
    assert "moments" not in eng.names(eng.search_vectors(query, 9, "monte_carlo")[1])
    assert {hit.name for hit in eng.similar("moments")} == set(zoo)


# --- describing


def test_update_rename_remove(eng: Engine, zoo) -> None:
    ant = eng.get("ant")
    assert eng.update("ant", name="emmet", tags=["insect"]).id == ant.id
    assert [model.name for model in eng.models({"tag": "insect"})] == ["emmet"]
    with pytest.raises(DuplicateName):
        eng.update("emmet", name="bee")
    with pytest.raises(ModelNotFound):
        eng.get("ant")
    assert "emmet" in [hit.name for hit in eng.search(model="bee")]
    query = zoo["ant"].mean(axis=0)
    assert eng.names(eng.search_vectors(query, 1)[1]) == ["emmet"]
    eng.remove("emmet")
    assert eng.names(eng.search_vectors(query, 6)[1]).count("emmet") == 0
    assert eng.names([ant.id]) == [None]
    assert ant.id not in eng.search_vectors(query, 100)[1]
    assert "emmet" not in [hit.name for hit in eng.search(model="bee", k=100)]
    assert eng.ingest(zoo["ant"], name="ant").id > max(model.id for model in eng.models({"name!": "ant"}))


# --- search_vectors


def test_search_vectors_shapes(eng: Engine, zoo) -> None:
    rng = np.random.default_rng(0)
    many = rng.normal(size=(5, 8))
    for queries in (many, many.astype(np.float32), np.asfortranarray(many), many[:, ::1][::-1][::-1]):
        scores, ids = eng.search_vectors(queries, k=4)
        assert (scores.shape, ids.shape, scores.dtype, ids.dtype) == ((5, 4), (5, 4), np.float32, np.int64)
        for query, row, found in zip(many, scores, ids, strict=True):
            expected = sorted(cosines(zoo, query).items(), key=lambda pair: -pair[1])[:4]
            assert eng.names(found) == [name for name, _ in expected]
            np.testing.assert_allclose(row, [value for _, value in expected], atol=1e-6)
            alone = eng.search_vectors(query, k=4)
            assert (alone[0].shape, alone[1].shape) == ((4,), (4,))
            np.testing.assert_array_equal(alone[1], found)
    assert [array.shape for array in eng.search_vectors(np.empty((0, 8), np.float32), k=3)] == [(0, 3), (0, 3)]


@pytest.mark.parametrize("method", METHODS)
def test_search_vectors_pads_what_does_not_exist(eng: Engine, zoo, method: str) -> None:
    scores, ids = eng.search_vectors(np.ones((2, 8), np.float32), 9, method)
    assert (scores.shape, ids.shape) == ((2, 9), (2, 9))
    assert np.isfinite(scores[:, :6]).all()
    assert (scores[:, 6:] == -np.inf).all()
    assert (ids[:, 6:] == -1).all()
    assert eng.names(ids)[0][6:] == [None] * 3
    _, few = eng.search_vectors(np.ones(8, np.float32), 4, method, where={"tag": "small"})
    assert sorted(eng.names(few[:3])) == NAMES[:3]
    assert few[3] == -1


def test_search_vectors_leaves_the_query_as_it_was(eng: Engine, zoo) -> None:
    query = np.full((2, 8), 3.0, np.float32)
    eng.search_vectors(query)
    assert (query == 3.0).all()


def test_the_scale_of_a_query_says_nothing(eng: Engine, zoo) -> None:
    query = np.random.default_rng(1).normal(size=8)
    expected = eng.search_vectors(query)
    for scale in (1e-30, 1e-3, 1e10, 1e30, 1e-200, 1e200):
        scores, ids = eng.search_vectors(query * scale)
        np.testing.assert_array_equal(ids, expected[1])
        np.testing.assert_allclose(scores, expected[0], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_query_of_unit_norm_is_taken_as_it_is(eng: Engine, zoo, cloud, method: str) -> None:
    unit = cloud(2, rows=1)[0]
    kept = unit.copy()
    expected = eng.search_vectors(3 * unit.astype(np.float64), 4, method)
    readable = unit.copy()
    readable.setflags(write=False)
    for query in (unit, readable, np.repeat(unit, 2)[::2], unit.astype(">f4"), torch.from_numpy(unit)):
        scores, ids = eng.search_vectors(query, 4, method)
        np.testing.assert_array_equal(ids, expected[1])
        np.testing.assert_allclose(scores, expected[0], rtol=1e-5)
        assert (unit == kept).all()


@pytest.mark.parametrize(
    "query",
    [
        np.full(8, np.nan, np.float32), np.full(8, np.inf, np.float32),
        np.zeros(8, np.float32), np.full(8, np.nan), np.full(8, np.inf), np.ones(7), np.ones((2, 7)),
        np.ones((1, 1, 8)), np.float32(1), np.ones(8, int), np.array(["a"] * 8), np.array([None] * 8), "text", None,
        [[1.0] * 8, [1.0]],
        np.array([[1.0] * 8, [0.0] * 8]),
    ],
    ids=str,
)  # fmt: skip
def test_query_vectors_that_are_refused(eng: Engine, zoo, query) -> None:
    for method in ("first_moment", "gaussian_density"):
        with pytest.raises(InvalidFeatures):
            eng.search_vectors(query, method=method)


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", None, True])
def test_a_k_that_is_refused(eng: Engine, zoo, k) -> None:
    for ask in (
        lambda: eng.search_vectors(np.ones(8, np.float32), k),
        lambda: eng.search_vectors(np.ones(8, np.float32), k, "best_1"),
        lambda: eng.search(model="ant", k=k),
        lambda: eng.similar("ant", k=k),
        lambda: eng.similar("ant", k=k, distance="cosine"),
    ):
        with pytest.raises(InvalidQuery, match="k must be"):
            ask()


def test_names_take_the_shape_of_the_ids(eng: Engine, zoo) -> None:
    first, second = eng.get("ant").id, eng.get("bee").id
    assert eng.names(first) == "ant"
    assert eng.names([first, -1, 999]) == ["ant", None, None]
    assert eng.names(np.array([[first, second], [second, -1]])) == [["ant", "bee"], ["bee", None]]
    assert eng.names([]) == []


# --- search


def test_a_model_query(eng: Engine, zoo) -> None:
    hits = eng.search(model="ant", k=100)
    expected = cosines({n: f for n, f in zoo.items() if n != "ant"}, zoo["ant"].astype(np.float64).mean(axis=0))
    assert [hit.name for hit in hits] == sorted(expected, key=expected.__getitem__, reverse=True)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([hit.score for hit in hits], sorted(expected.values(), reverse=True), atol=1e-6)
    assert hits[0].model == eng.get(hits[0].name)
    assert (hits.method, hits.left_out, hits[0].parts) == ("first_moment", 0, {})
    assert hits.timings_ms["total"] > 0
    assert {hit.name for hit in eng.search(model="ant", where={"tag": "small"})} == {"bee", "cat"}
    assert eng.search(model="ant", where={"tag": "nothing"}) == ()
    assert len(eng.search(model="ant", where={"tag!": "small"}, k=2)) == 2


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({}, InvalidQuery), ({"text": "a fox"}, EncoderNotFound), ({"text": " "}, InvalidQuery),
        ({"text": 5}, InvalidQuery), ({"model": "owl"}, ModelNotFound), ({"model": 5}, InvalidQuery),
        ({"model": "ant", "method": "gaussian_density"}, InvalidQuery), ({"model": "ant", "method": "x"}, InvalidQuery),
        ({"model": "ant", "method": None}, InvalidQuery), ({"model": "ant", "weights": {"image": 1}}, InvalidQuery),
        ({"model": "ant", "weights": {"model": 0}}, InvalidQuery),
        ({"model": "ant", "weights": {"model": float("nan")}}, InvalidQuery),
        ({"model": "ant", "weights": {"model": "2"}}, InvalidQuery), ({"model": "ant", "weights": 5}, InvalidQuery),
        ({"model": "ant", "where": {"colour": "red"}}, InvalidFilter), ({"model": "ant", "where": 5}, InvalidFilter),
        ({"model": "ant", "encoder": "external:other"}, EncoderNotFound),
        ({"model": "ant", "shortlist": -1}, InvalidQuery),
    ],
    ids=str,
)  # fmt: skip
def test_searches_that_are_refused(eng: Engine, zoo, asked: dict, error: type[EngineError]) -> None:
    with pytest.raises(error) as caught:
        eng.search(**asked)
    assert caught.value.message


def test_searching_before_anything_was_ingested(eng: Engine) -> None:
    with pytest.raises(EncoderNotFound) as caught:
        eng.search(model="ant")
    assert "ingest" in str(caught.value.hint)


def test_two_encoders_in_one_collection(eng: Engine, zoo, cloud) -> None:
    for seed, name in enumerate(["ant", "bee", "gnu"]):
        eng.ingest(cloud(50 + seed, dimension=5), name=name, encoder="external:other")
    assert eng.get("ant").encoders == ("external:other", "external:test")
    query = cloud(52, dimension=5).mean(axis=0)
    assert eng.names(eng.search_vectors(query, 9, encoder="external:other")[1])[:1] == ["gnu"]
    assert {hit.name for hit in eng.search(model="ant", encoder="external:other", k=9)} == {"bee", "gnu"}
    assert "gnu" not in {hit.name for hit in eng.search(model="ant", k=9)}
    with pytest.raises(InvalidFeatures, match="shape"):
        eng.search_vectors(query)
    with pytest.raises(MissingStatistics, match="gnu"):
        eng.search(model="gnu")
    assert [status["models"] for status in eng.index_status()] == [6, 3]


# --- similar models


def test_similar_by_both_distances(eng: Engine, zoo) -> None:
    means = {n: f.astype(np.float64).mean(axis=0) for n, f in zoo.items()}
    sigmas = {n: np.cov(f.astype(np.float64), rowvar=False) + 1e-4 * np.eye(8) for n, f in zoo.items()}

    def frechet(a: str, b: str) -> float:
        root = scipy.linalg.sqrtm(sigmas[a])
        cross = np.real(scipy.linalg.sqrtm(root @ sigmas[b] @ root))
        return float(((means[a] - means[b]) ** 2).sum() + np.trace(sigmas[a] + sigmas[b] - 2 * cross))

    for name in zoo:
        expected = sorted((frechet(name, other), other) for other in zoo if other != name)
        hits = eng.similar(name, k=4)
        assert [hit.name for hit in hits] == [other for _, other in expected[:4]]
        np.testing.assert_allclose([hit.score for hit in hits], [d for d, _ in expected[:4]], atol=1e-5)
        assert (hits.method, [hit.rank for hit in hits]) == ("frechet", [1, 2, 3, 4])
        near = eng.similar(name, k=4, distance="cosine")
        assert [hit.name for hit in near] == [hit.name for hit in eng.search(model=name, k=4)]
        assert near.method == "cosine"


def test_similar_follows_every_change(eng: Engine, zoo, cloud) -> None:
    eng.similar("ant")
    eng.remove("bee")
    assert {hit.name for hit in eng.similar("ant", k=9)} == {"cat", "dog", "eel", "fox"}
    eng.ingest(zoo["ant"] + np.float32(0.001), name="twin")
    assert eng.similar("ant", k=1)[0].name == "twin"
    assert eng.similar("twin", k=1)[0].name == "ant"
    eng.ingest(cloud(77), name="twin")
    assert eng.similar("ant", k=9)[0].score > 1e-3


def test_bulk_models_are_listed_once_lists_are_completed(eng: Engine, zoo) -> None:
    assert eng.similar("ant", k=9)
    outcome = eng.ingest_outcome(zoo["ant"] + np.float32(0.001), name="twin")
    assert outcome.status == "added"
    assert eng.similar("twin", k=1)[0].name == "ant"  # its own list is made when it is asked for
    eng.ingest_outcome(zoo["bee"] + np.float32(0.001), name="other twin")
    assert eng.complete_neighbours() == 1
    assert eng.complete_neighbours() == 0
    assert (eng.similar("ant", k=1)[0].name, eng.similar("bee", k=1)[0].name) == ("twin", "other twin")


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"name": "owl"}, ModelNotFound), ({"name": "ant", "distance": "euclid"}, InvalidQuery),
        ({"name": "ant", "distance": None}, InvalidQuery), ({"name": "ant", "encoder": "external:x"}, EncoderNotFound),
    ],
    ids=str,
)  # fmt: skip
def test_similar_that_is_refused(eng: Engine, zoo, asked: dict, error: type[EngineError]) -> None:
    with pytest.raises(error):
        eng.similar(**asked)


# --- other processes, other threads


def test_another_process_is_seen(eng: Engine, zoo, url: str, settings: Settings, cloud) -> None:
    query = cloud(70).mean(axis=0)
    eng.search_vectors(query, 1)
    with Engine.open(url, settings=settings) as other:
        other.ingest(cloud(70), name="gnu")
        assert {hit.name for hit in eng.search(model="ant", k=99)} >= {"gnu"}
        eng.refresh()
        assert eng.names(eng.search_vectors(query, 1)[1]) == ["gnu"]
        other.remove("gnu")
    assert "gnu" not in {hit.name for hit in eng.search(model="ant", k=99)}
    eng.refresh()
    assert "gnu" not in eng.names(eng.search_vectors(query, 99)[1])


def test_a_change_during_a_fast_search_is_seen_by_the_next(eng: Engine, zoo, cloud, monkeypatch) -> None:
    """The view that a search was opening when a model came must not be kept as the current one."""
    real = eng.services.views.current

    def current(*arguments, **options):
        view = real(*arguments, **options)
        monkeypatch.setattr(eng.services.views, "current", real)
        eng.ingest(cloud(70), name="gnu")
        return view

    eng.refresh()
    monkeypatch.setattr(eng.services.views, "current", current)
    query = cloud(70).mean(axis=0)
    eng.search_vectors(query, 1)
    assert eng.names(eng.search_vectors(query, 1)[1]) == ["gnu"]


def test_threads_search_while_another_ingests(eng: Engine, zoo, cloud) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def search(method: str) -> None:
        rng = np.random.default_rng(hash(method) % 1000)
        try:
            while not done.is_set():
                scores, ids = eng.search_vectors(rng.normal(size=8), 9, method)
                there = ids[ids >= 0]
                assert len(there) == len(set(there.tolist())) >= len(NAMES)
                assert np.isfinite(scores[ids >= 0]).all()
                assert (np.diff(scores[ids >= 0]) <= 0).all()
                names = [hit.name for hit in eng.search(model="fox", k=50)]
                assert len(names) == len(set(names))
                assert set(NAMES) - {"fox"} <= set(names)
        except BaseException as error:  # a thread's failure must reach the test
            errors.append(error)

    threads = [threading.Thread(target=search, args=(method,)) for method in METHODS]
    for thread in threads:
        thread.start()
    for number in range(12):
        eng.ingest(cloud(200 + number), name=f"new {number % 10}")
        if number % 4 == 3:
            eng.remove(f"new {number % 10}")
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    expected = {model.name for model in eng.models()} - {"fox"}
    assert {hit.name for hit in eng.search(model="fox", k=50)} == expected


# --- the doctor


def findings(eng: Engine) -> list[tuple[str, str]]:
    found = eng.doctor()
    assert all(finding.repair for finding in found)
    return [(finding.severity, finding.what) for finding in found]


def test_a_healthy_collection_has_no_findings(eng: Engine, zoo, url: str, settings: Settings) -> None:
    eng.search(model="ant")  # a view that was opened is published at the end
    eng.close()
    with Engine.open(url, settings=settings) as again:
        assert findings(again) == []
        again.build_index()
        assert findings(again) == []


@pytest.mark.parametrize(
    ("table", "column"), [("statistics", "mean"), ("statistics", "covariance"), ("sample_features", "data")]
)
def test_the_doctor_finds_a_flipped_byte(eng: Engine, zoo, table: str, column: str) -> None:
    eng.build_index()
    victim = eng.get("cat").id
    with eng.services.database.write() as session:
        key = {"i": victim}
        data = bytearray(session.execute(text(f"SELECT {column} FROM {table} WHERE model_id = :i"), key).scalar_one())
        data[-1] ^= 1
        session.execute(text(f"UPDATE {table} SET {column} = :d WHERE model_id = :i"), {**key, "d": bytes(data)})
    (finding,) = eng.doctor()
    assert finding.severity == "damage"
    assert finding.what.startswith("cat (external:test)")
    assert "again" in finding.repair
    assert {hit.name for hit in eng.search(model="ant", k=9)} == set(NAMES) - {"ant"}  # still served from the index
    assert "dog" in eng.names(eng.search_vectors(zoo["dog"].mean(axis=0), 9, "gaussian_density")[1])
    eng.ingest(zoo["cat"][:20], name="cat")
    eng.build_index()
    assert findings(eng) == []


def test_damage_is_mended_by_the_same_content(eng: Engine, zoo) -> None:
    """As the doctor advises: ingesting this model again must not find it unchanged."""
    with eng.services.database.write() as session:
        session.execute(text("UPDATE statistics SET covariance = :zeros"), {"zeros": bytes(144)})
    assert len(findings(eng)) >= len(NAMES)
    for name, rows in zoo.items():
        eng.ingest(rows, name=name)
    eng.build_index()
    assert findings(eng) == []


def test_the_doctor_finds_a_stale_snapshot(eng: Engine, zoo, cloud) -> None:
    eng.build_index()
    eng.ingest(cloud(40), name="gnu")
    found = findings(eng)
    assert [(severity, "1 changes behind" in what) for severity, what in found] == [("stale", True)] * 2
    assert sum("whitened_first_moment" in what for _, what in found) == 1


def test_another_encoders_models_do_not_make_a_snapshot_stale(eng: Engine, zoo, cloud) -> None:
    eng.ingest(cloud(41), name="gnu", encoder="external:other")
    eng.build_index()
    eng.ingest(cloud(42), name="yak", encoder="external:other")
    found = [what for _, what in findings(eng)]
    assert [what for what in found if "snapshot" in what] == ["external:other: the index snapshot is 1 changes behind"]
    eng.remove("ant")  # concerns whoever had it: every snapshot may
    assert sum("snapshot" in what for _, what in findings(eng)) == 3


def test_similar_names_a_damaged_covariance(eng: Engine, zoo) -> None:
    with eng.services.database.write() as session:
        session.execute(
            text("UPDATE statistics SET covariance = :zeros, neighbours_change = NULL WHERE model_id = :i"),
            {"i": eng.get("cat").id, "zeros": bytes(144)},
        )
        session.execute(text("DELETE FROM neighbours"))
    with pytest.raises(CorruptData, match="cat") as caught:
        eng.similar("cat")
    assert "again" in str(caught.value.hint)


def test_the_doctor_finds_a_missing_and_a_damaged_snapshot(eng: Engine, zoo, settings: Settings) -> None:
    ((severity, what),) = findings(eng)
    assert (severity, "no index snapshot" in what) == ("stale", True)
    eng.build_index()
    both = sorted(Path(settings.index_folder).rglob("vectors.npy"))
    for vectors in both:
        vectors.write_bytes(vectors.read_bytes()[:-4] + b"oops")
    found = findings(eng)
    assert [(severity, "vectors.npy" in what) for severity, what in found] == [("damage", True)] * len(both)
    assert len(both) == 2  # of first moments and of whitened ones
    eng.build_index()
    assert findings(eng) == []


def test_the_doctor_finds_an_index_that_disagrees(eng: Engine, zoo) -> None:
    eng.build_index()
    with eng.services.database.write() as session:  # behind the engine's back
        victim = eng.get("cat").id
        session.execute(text("DELETE FROM statistics WHERE model_id = :i"), {"i": victim})
        session.execute(
            text(
                "UPDATE statistics SET (mean, mean_checksum, covariance, checksum) = (SELECT mean, mean_checksum, "
                "covariance, checksum FROM statistics WHERE model_id = :a) WHERE model_id = :b"
            ),
            {"a": eng.get("ant").id, "b": eng.get("bee").id},
        )
    found = findings(eng)
    assert [severity for severity, _ in found] == ["damage"] * 5
    assert sum(f"disagree about cat (model id {victim})" in what for _, what in found) == 2
    assert sum("another vector for bee" in what for _, what in found) == 2
    assert sum("1 rows of sample_features" in what for _, what in found) == 1
    assert all(finding.repaired for finding in eng.doctor(repair=True))
    assert findings(eng) == []


def test_the_doctor_finds_lists_that_are_not_made(eng: Engine, cloud) -> None:
    eng.ingest_outcome(cloud(1), name="fox")
    eng.build_index()
    assert findings(eng) == []
    eng.ingest_outcome(cloud(2), name="owl")
    assert ("stale", "1 models have no current list of similar models") in findings(eng)


# --- manifests


def test_a_manifest_goes_on_past_bad_entries(eng: Engine, cloud, tmp_path: Path) -> None:
    for seed, name in enumerate(["ant", "bee", "nan"]):
        np.save(tmp_path / f"{name}.npy", cloud(seed) if name != "nan" else np.full((4, 8), np.nan, np.float32))
    entries = [
        json.dumps({"name": "ant", "source": "ant.npy", "tags": ["insect"]}),
        json.dumps({"name": "gone", "source": "gone.npy"}),
        "{ this is not JSON",
        json.dumps({"name": "nan", "source": "nan.npy"}),
        json.dumps({"name": "bee", "source": "bee.npy", "colour": "black"}),
        json.dumps({"name": "bee", "source": "bee.npy"}),
    ]
    path = tmp_path / "zoo.jsonl"
    path.write_text("\n".join(entries))
    seen = []
    report = eng.ingest_manifest(path, on_outcome=lambda outcome: seen.append(outcome.name))
    assert [outcome.status for outcome in report.outcomes] == ["added", *["failed"] * 4, "added"]
    assert (len(seen), len(report.failed), report.count("added")) == (6, 4, 2)
    assert all(isinstance(outcome.error, EngineError) for outcome in report.failed)
    assert [model.name for model in eng.models()] == ["ant", "bee"]
    again = eng.ingest_manifest(path)
    assert [outcome.status for outcome in again.outcomes] == ["unchanged", *["failed"] * 4, "unchanged"]


def test_similar_finds_a_model_whose_own_list_is_still_pending(url: str, settings: Settings) -> None:
    clouds = [np.random.default_rng(n).normal(size=8) + np.random.default_rng(n).normal(size=(40, 8)) for n in range(5)]
    with Engine.open(url, create=True, settings=settings) as eng:
        for number, features in enumerate(clouds):
            eng.ingest(features, name=f"m{number}", encoder="external:test")
        eng.ingest_outcome(clouds[0] + 1e-3, name="twin", encoder="external:test")  # its lists are left for later
        assert eng.similar("m0", k=1)[0].name == "twin"
