"""Lists of similar models: kept up to date one change at a time, they equal those computed from scratch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config import Settings
from engine.distances import FRECHET as BY_FRECHET
from engine.records import EncoderIdentity, EncoderRef
from engine.rerank.statistics_cache import StatisticsCache
from engine.scores import frechet_distance
from engine.scores.frechet import statistics_to_cholesky
from engine.search import IndexViews, Planner, TransformCache
from engine.search.service import SearchService
from engine.search.similar import SimilarModels
from engine.session import Session
from engine.storage import Catalog, Database, Neighbours, Transforms

FRECHET = BY_FRECHET.name

KEEP = 3


@pytest.fixture
def complete(catalog: Catalog, database: Database, encoder_id: int, identity: EncoderIdentity, tmp_path: Path):
    """Compute what is missing; ``complete(only=id)`` for one model."""
    session = Session(database, Settings(neighbours=KEEP, neighbour_candidates=100))
    views, statistics = IndexViews(catalog, tmp_path / "index"), StatisticsCache(catalog, 10**8)
    planner = Planner(views, TransformCache(catalog, Transforms(database)), session.settings)
    search = SearchService(session, views, planner, statistics)
    similar = SimilarModels(session, views, statistics, Neighbours(database), search)

    def run(only: int | None = None) -> int:
        return similar.complete(EncoderRef(encoder_id, identity), only=only)

    return run


def expected(catalog: Catalog, encoder_id: int) -> dict[int, list[tuple[int, float]]]:
    """The nearest models of each, from scratch."""
    stored = catalog.statistics(encoder_id, [model.id for model in catalog.models()])[0]
    moments = {i: s.statistics for i, s in stored.items() if s.statistics.covariance is not None}
    roots = {i: statistics_to_cholesky(s) for i, s in moments.items()}
    return {
        i: sorted(
            ((j, frechet_distance(moments[i].mean, roots[i], moments[j].mean, roots[j])) for j in moments if j != i),
            key=lambda pair: pair[1],
        )
        for i in moments
    }


def assert_lists(catalog: Catalog, database: Database, encoder_id: int) -> None:
    neighbours = Neighbours(database)
    for model_id, others in expected(catalog, encoder_id).items():
        found, true = neighbours.nearest(encoder_id, FRECHET, model_id, 100), dict(others)
        assert len({i for i, _ in found}) == len(found)
        # models of the same samples are equally near, up to rounding: any of them may come first
        np.testing.assert_allclose([v for _, v in found], [v for _, v in others[:KEEP]], atol=1e-9)
        np.testing.assert_allclose([v for _, v in found], [true[i] for i, _ in found], atol=1e-9)


steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "remove"]), st.integers(0, 6), st.integers(0, 10**6)),
    min_size=1, max_size=14,
)  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.booleans())
def test_one_change_at_a_time_equals_from_scratch(
    catalog: Catalog, database: Database, put, cloud, complete, encoder_id: int, steps, at_once: bool
) -> None:
    for model in catalog.models():
        catalog.remove(model.name)
    there: set[int] = set()
    for what, number, seed in steps:
        name = f"model {number}"
        if what == "put":
            put(name, features=cloud(seed), digest=str(seed))
            there.add(number)
        elif number in there:
            catalog.remove(name)
            there.discard(number)
        if not at_once:
            complete()
            assert_lists(catalog, database, encoder_id)
    complete()
    assert_lists(catalog, database, encoder_id)
    assert Neighbours(database).pending(encoder_id) == []
    assert complete() == 0


def test_what_changes_is_pending_until_it_is_computed(
    catalog: Catalog, database: Database, put, complete, encoder_id: int
) -> None:
    neighbours = Neighbours(database)
    models = [put(f"m{i}") for i in range(6)]
    assert neighbours.pending(encoder_id) == [model.id for model in models]
    assert complete(only=models[2].id) == 1
    assert models[2].id not in neighbours.pending(encoder_id)
    assert complete() == 5
    holders = [
        model.id for model in models
        if any(i == models[0].id for i, _ in neighbours.nearest(encoder_id, FRECHET, model.id, KEEP))
    ]  # fmt: skip
    catalog.remove("m0")
    assert neighbours.pending(encoder_id) == holders
    assert all(i != models[0].id for m in models for i, _ in neighbours.nearest(encoder_id, FRECHET, m.id, 9))


def test_models_without_a_covariance_have_no_list(
    catalog: Catalog, database: Database, put, complete, encoder_id: int
) -> None:
    bare = put("bare", covariance=False)
    others = [put(f"m{i}") for i in range(3)]
    assert complete() == 3
    neighbours = Neighbours(database)
    assert neighbours.nearest(encoder_id, FRECHET, bare.id, 9) == []
    assert {i for i, _ in neighbours.nearest(encoder_id, FRECHET, others[0].id, 9)} == {m.id for m in others[1:]}


def test_a_result_computed_from_older_statistics_is_not_stored(
    catalog: Catalog, database: Database, put, encoder_id: int
) -> None:
    fox, owl = put("fox"), put("owl")
    before = catalog.changes_of(encoder_id, [fox.id])[fox.id]
    put("fox", digest="e")  # while the distances of the old content were being computed
    neighbours = Neighbours(database)
    neighbours.put(encoder_id, FRECHET, fox.id, before, [(owl.id, 1.0)], keep=KEEP)
    assert neighbours.nearest(encoder_id, FRECHET, fox.id, 9) == []
    assert fox.id in neighbours.pending(encoder_id)
    now = catalog.changes_of(encoder_id, [fox.id])[fox.id]
    neighbours.put(encoder_id, FRECHET, fox.id, now, [(owl.id, 1.0), (fox.id, 0.0), (999, 2.0)], keep=KEEP)
    assert neighbours.nearest(encoder_id, FRECHET, fox.id, 9) == [(owl.id, 1.0)]  # neither itself nor who is gone
    assert neighbours.nearest(encoder_id, FRECHET, owl.id, 9) == [(fox.id, 1.0)]


def test_lists_of_encoders_do_not_mix(catalog: Catalog, database: Database, put, identity, encoder_id: int) -> None:
    second = catalog.register_encoder(EncoderIdentity(**{**identity.__dict__, "name": "external:other"}))
    fox, owl = put("fox"), put("owl")
    neighbours = Neighbours(database)
    change = catalog.changes_of(encoder_id, [fox.id])[fox.id]
    neighbours.put(encoder_id, FRECHET, fox.id, change, [(owl.id, 1.0)], keep=KEEP)
    put("owl", encoder=second)  # says nothing about the first encoder's lists
    assert neighbours.nearest(encoder_id, FRECHET, fox.id, 9) == [(owl.id, 1.0)]
    assert neighbours.nearest(second, FRECHET, fox.id, 9) == []
