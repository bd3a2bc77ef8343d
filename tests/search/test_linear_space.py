"""Densities searched as inner products: their own index, its snapshots, and models that come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from sqlalchemy import text

from engine import Engine
from engine.config import Settings
from engine.errors import InvalidQuery, MissingStatistics
from engine.scores import Shrinkage, Whitening, blend, unit
from engine.scores.linear_density import LinearDensity
from engine.search import service
from tests.postgres import copy_collection

D = 8
LINEAR = "linear_density"


def features_of(seed: int, rows: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=D) + np.linspace(1.5, 0.1, D) * rng.normal(size=(rows, D))
    return unit(wide.astype(np.float32))


@pytest.fixture(scope="module")
def filled(new_collection: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Fifteen models with samples, to be copied; the address."""
    address = new_collection()
    with Engine.open(address, settings=Settings(index_folder=str(tmp_path_factory.mktemp("index")))) as opened:
        for seed in range(15):
            opened.ingest(features_of(seed), name=f"m{seed}", tags=["odd" if seed % 2 else "even"])
    return address


@pytest.fixture
def eng(filled: str, url: str, settings: Settings) -> Iterator[Engine]:
    """A copy of them, without an index."""
    copy_collection(filled, url)
    with Engine.open(url, settings=settings) as opened:
        yield opened


@pytest.fixture
def query() -> np.ndarray:
    """Something that no model drew."""
    return unit(np.random.default_rng(99).normal(size=(1, D)).astype(np.float32))[0]


def expected(eng: Engine, query: np.ndarray, names: list[str]) -> list[float]:
    """By the rule itself, from the stored whitening and statistics."""
    encoder_id, _ = eng.services.session.encoder()
    (stored,) = [one for one in eng.services.transforms.transforms.all() if one.method == "whitened_first_moment"]
    whitening = Whitening.from_arrays(eng.services.transforms.transforms.arrays(stored))
    shrinkage = Shrinkage(whitening.covariance(), eng.settings.shrinkage, "")
    linear = LinearDensity(whitening.average.astype(np.float64), whitening.total(), shrinkage)
    good, _ = eng.services.catalog.statistics(encoder_id, [eng.get(name).id for name in names])
    vectors = linear.statistics_to_vectors([good[eng.get(name).id].statistics for name in names])
    return (vectors.astype(np.float64) @ linear.queries_to_vectors(query[None])[0]).tolist()


def test_it_ranks_by_the_rule(eng: Engine, query: np.ndarray) -> None:
    names = [f"m{seed}" for seed in range(15)]
    scores, ids = eng.search_vectors(query, 15, LINEAR)
    wanted = expected(eng, query, names)
    assert eng.names(ids) == [names[i] for i in np.argsort(-np.array(wanted))]
    np.testing.assert_allclose(scores, sorted(wanted, reverse=True), rtol=1e-4)


def test_models_come_and_go(eng: Engine, query: np.ndarray) -> None:
    eng.search_vectors(query, 1, LINEAR)
    eng.ingest(features_of(70), name="new")
    eng.remove("m3")
    eng.ingest(features_of(71), name="m4")
    names = [*(f"m{seed}" for seed in range(15) if seed != 3), "new"]
    scores, ids = eng.search_vectors(query, 20, LINEAR)
    found = dict(zip(eng.names(ids[:15]), scores[:15].tolist(), strict=True))
    assert ids[15:].tolist() == [-1] * 5
    assert found == pytest.approx(dict(zip(names, expected(eng, query, names), strict=True)), rel=1e-4)


def test_its_snapshot_is_kept_and_found_out(eng: Engine, url: str, settings: Settings, query: np.ndarray) -> None:
    assert LINEAR not in {one["space"] for one in eng.index_status()}
    before = eng.search_vectors(query, 15, LINEAR)
    eng.build_index()
    assert {one["space"]: one["snapshot"] for one in eng.index_status()}[LINEAR] == "current"
    with Engine.open(url, settings=settings) as other:
        np.testing.assert_array_equal(other.search_vectors(query, 15, LINEAR)[1], before[1])
        assert [f.what for f in other.doctor() if LINEAR in f.what] == []
    heavier = Settings(shrinkage=0.9, index_folder=settings.index_folder)
    with Engine.open(url, settings=heavier) as other:
        assert {one["space"]: one["snapshot"] for one in other.index_status()}[LINEAR] == "behind"
        scores, _ = other.search_vectors(query, 15, LINEAR)
        assert not np.allclose(scores, before[0])
        found = [finding for finding in other.doctor() if LINEAR in finding.what]
        assert [finding.severity for finding in found] == ["stale"]
        assert found[0].repair.startswith("engine index build --database ")


def test_a_whitening_that_serves_densities_alone_is_not_stale(eng: Engine, query: np.ndarray) -> None:
    eng.search_vectors(query, 3, "gaussian_density")
    eng.build_index()
    assert [f for f in eng.doctor() if "no index snapshot" in f.what] == []


def test_the_shortlist_can_come_from_it(eng: Engine, query: np.ndarray) -> None:
    exhaustive = eng.search_vectors(query, 15, "gaussian_density", shortlist=15)[1]
    nearest = eng.search_vectors(query, 3, LINEAR)[1]
    _, ids = eng.search_vectors(query, 3, "gaussian_density", shortlist=3, shortlist_space=LINEAR)
    assert set(ids.tolist()) == set(nearest.tolist())
    assert ids.tolist() == [i for i in exhaustive.tolist() if i in set(nearest.tolist())]


def test_a_damaged_covariance_is_left_out(eng: Engine, url: str, settings: Settings, query: np.ndarray) -> None:
    with eng.services.database.write() as session:
        session.execute(text("UPDATE statistics SET covariance = :zeros WHERE model_id = 4"), {"zeros": bytes(144)})
    with Engine.open(url, settings=settings) as other:
        _, ids = other.search_vectors(query, 15, LINEAR)
        assert 4 not in ids.tolist()
        assert set(ids.tolist()) - {-1} == set(range(1, 16)) - {4}


def test_it_is_for_pictures(eng: Engine) -> None:
    with pytest.raises(InvalidQuery, match="cannot score a model query"):
        eng.search(model="m1", method=LINEAR)


def test_one_model_has_none(url: str, settings: Settings, query: np.ndarray) -> None:
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        eng.ingest(features_of(1), name="one")
        with pytest.raises(MissingStatistics, match="whitening"):
            eng.search_vectors(query, 1, LINEAR)
        found = eng.search_vectors(query, 1, "gaussian_density", shortlist_space=LINEAR)
        assert eng.names(found[1]) == ["one"]


def test_the_blend_is_of_density_and_samples(eng: Engine, query: np.ndarray) -> None:
    names = [f"m{seed}" for seed in range(15)]
    scores, ids = eng.search_vectors(query, 15, "blend")
    density = dict(zip(*(x.tolist() for x in reversed(eng.search_vectors(query, 15, "gaussian_density"))), strict=True))
    nearest = dict(zip(*(x.tolist() for x in reversed(eng.search_vectors(query, 15, "best_10"))), strict=True))
    order = [eng.get(name).id for name in names]
    wanted = blend(np.array([density[i] for i in order]), np.array([nearest[i] for i in order]))
    assert ids.tolist() == [order[i] for i in np.argsort(-wanted)]
    np.testing.assert_allclose(scores, np.sort(wanted)[::-1], atol=1e-3)


def test_the_blend_without_samples_is_the_density(url: str, settings: Settings, query: np.ndarray) -> None:
    none = Settings(kept_features=0, index_folder=settings.index_folder)
    with Engine.open(url, create=True, encoder="external:test", settings=none) as eng:
        for seed in range(9):
            eng.ingest(features_of(seed), name=f"m{seed}")
        blended = eng.search_vectors(query, 9, "blend")[1]
        np.testing.assert_array_equal(blended, eng.search_vectors(query, 9, "gaussian_density")[1])


def test_a_model_without_samples_is_blended_by_its_density(url: str, settings: Settings, query: np.ndarray) -> None:
    """Bare moments among models with kept samples: all of them rank, by what there is of each."""
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        for seed in range(6):
            eng.ingest(features_of(seed), name=f"m{seed}")
        rows = features_of(40).astype(np.float64)
        moments = {"mean": rows.mean(axis=0)[None], "covariance": np.cov(rows, rowvar=False)[None]}
        eng.ingest_statistics(["bare"], *moments.values(), encoder="external:test", samples=60)
        scores, ids = eng.search_vectors(query, 7, "blend")
        assert set(eng.names(ids)) == {"bare", *(f"m{seed}" for seed in range(6))}
        assert np.isfinite(scores).all()
        density, order = eng.search_vectors(query, 7, "gaussian_density")
        alone = (density - density.mean()) / density.std()
        place = order.tolist().index(eng.get("bare").id)
        assert scores[ids.tolist().index(eng.get("bare").id)] == pytest.approx(alone[place], abs=1e-3)


def test_auto_takes_the_linear_density_once_it_is_there(
    eng: Engine, query: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before, not for a blend, and with a shortlist of its own length."""
    seen: list[tuple[str, int]] = []
    rank = service.rank

    def watched(plan, *arguments, shortlist, **named):
        seen.append((plan.view.space.key, shortlist))
        return rank(plan, *arguments, shortlist=shortlist, **named)

    monkeypatch.setattr(service, "rank", watched)
    expected = eng.search_vectors(query, 3, "gaussian_density")
    eng.search_vectors(query, 3, "linear_density")
    eng.refresh()
    for method in ("gaussian_density", "blend"):
        ids = eng.search_vectors(query, 3, method)[1]
        if method == "gaussian_density":
            np.testing.assert_array_equal(ids, expected[1])
    eng.search_vectors(query, 3, "gaussian_density", shortlist=7)
    eng.search_vectors(query, 3, "gaussian_density", shortlist_space="first_moment")
    assert seen == [
        ("first_moment", 200),
        ("linear_density", 500),
        ("first_moment", 200),
        ("linear_density", 7),
        ("first_moment", 200),
    ]
