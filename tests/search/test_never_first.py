"""A model whose score is no number never ranks: by any method, in any index, alone or in company."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import delete, update

from engine import Engine
from engine.config import Settings
from engine.errors import CorruptData, EngineError, MissingStatistics
from engine.search import METHODS
from engine.storage import blobs
from engine.storage.tables import NeighbourRow, SampleFeaturesRow, StatisticsRow
from tests.postgres import copy_collection

pytestmark = pytest.mark.backends("sqlite")  # what is stored is the same bytes; see test_rank for both databases
D, GOOD = 16, 30
KINDS = ("flat", "quantized")
PICTURES = [method for method in METHODS if method not in ("auto", "best_k")]


def cloud(seed: int, rows: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=D) + 0.4 * rng.normal(size=(rows, D))
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def indefinite() -> np.ndarray:
    found = np.eye(D, dtype=np.float32) * 0.01
    found[0, 0] = -5
    return found


PLANTED: dict[str, dict[str, np.ndarray]] = {
    "nan mean": {"mean": np.full(D, np.nan, np.float32)},
    "infinite mean": {"mean": np.full(D, np.inf, np.float32)},
    "zero mean": {"mean": np.zeros(D, np.float32)},
    "overflowing mean": {"mean": np.full(D, 3e38, np.float32)},
    "nan covariance": {"covariance": np.full((D, D), np.nan, np.float32)},
    "overflowing covariance": {"covariance": np.full((D, D), 3e38, np.float32)},
    "indefinite covariance": {"covariance": indefinite()},
    "nan features": {"features": np.full((40, D), np.nan, np.float16)},
    "infinite features": {"features": np.full((40, D), np.inf, np.float16)},
}
"""Each with a checksum that holds, as a broken writer would leave it."""


@pytest.fixture(scope="module")
def stored(new_collection: Callable[[], str]) -> str:
    """The address of a collection of thirty good models, and one for each way to be broken."""
    address = new_collection()
    with Engine.open(address) as eng:
        for seed in range(GOOD):
            eng.ingest(cloud(seed), name=f"good {seed:02}")
        for seed, (name, arrays) in enumerate(PLANTED.items(), GOOD):
            plant(eng, eng.ingest(cloud(seed), name=name).id, arrays)
        with eng.services.database.write() as session:
            session.execute(delete(NeighbourRow))
            session.execute(update(StatisticsRow).values(neighbours_change=None))
    return address


@pytest.fixture(params=KINDS)
def eng(request: pytest.FixtureRequest, url: str, settings: Settings, stored: str) -> Iterator[Engine]:
    """That collection, a copy for each test, whose index has yet to be made."""
    copy_collection(stored, url)
    with Engine.open(url, settings=replace(settings, index_kind=request.param, shortlist=1000)) as eng:
        yield eng


def plant(eng: Engine, model_id: int, arrays: dict[str, np.ndarray]) -> None:
    with eng.services.database.write() as session:
        row = session.get_one(StatisticsRow, (model_id, 1))
        mean = blobs.mean_to_blob(arrays["mean"]) if "mean" in arrays else row.mean
        covariance = blobs.covariance_to_blob(arrays["covariance"]) if "covariance" in arrays else row.covariance
        row.mean, row.covariance = mean, covariance
        row.mean_checksum, row.checksum = blobs.checksum(mean), blobs.checksum(mean, covariance or b"")
        if "features" in arrays:
            data = blobs.features_to_blob(arrays["features"])
            session.execute(
                update(SampleFeaturesRow)
                .where(SampleFeaturesRow.model_id == model_id)
                .values(data=data, checksum=blobs.checksum(data))
            )


def breaks(name: str, method: str) -> bool:
    """Whether what is planted is something that the method needs."""
    if "mean" in name:
        return True
    if "covariance" in name:
        return method in ("first_second_moment", "gaussian_density", "linear_density")
    return method in ("monte_carlo", "best_1", "best_10", "best_k")


@pytest.mark.parametrize("method", PICTURES)
def test_it_never_ranks(eng: Engine, method: str) -> None:
    wanted = {name for name in PLANTED if breaks(name, method)}
    for query in (cloud(3)[0], np.ones(D, np.float32), cloud(GOOD + 1)[0]):
        scores, ids = eng.search_vectors(query, 100, method)
        there = ids >= 0
        assert np.isfinite(scores[there]).all()
        assert (np.diff(scores[there]) <= 0).all()
        found = {str(name) for name in eng.names(ids) if name}
        assert not found & wanted, f"{found & wanted} answer"
        assert len({name for name in found if name.startswith("good")}) == GOOD


@pytest.mark.parametrize("method", ["first_moment", "best_10", "monte_carlo"])
def test_good_models_are_answered_as_without_it(eng: Engine, method: str) -> None:
    queries = np.stack([cloud(seed)[1] for seed in range(4)])
    ids = eng.search_vectors(queries, 100, method)[1]
    for row in range(len(queries)):
        alone = eng.search_vectors(queries[row], 100, method)
        np.testing.assert_array_equal(alone[1], ids[row])
    names = eng.names(ids)
    good = [[name for name in row if name and name.startswith("good")] for row in names]
    for name in PLANTED:
        eng.remove(name)
    again = eng.search_vectors(queries, 100, method)[1]
    assert good == [[name for name in row if name] for row in eng.names(again)]


def test_searches_count_what_is_left_out(eng: Engine) -> None:
    means = sum("mean" in name for name in PLANTED)
    hits = eng.search(model="good 03", k=100)
    assert {hit.name for hit in hits} == {f"good {i:02}" for i in range(GOOD) if i != 3} | {
        name for name in PLANTED if "mean" not in name
    }
    assert hits.left_out == means
    assert all(np.isfinite(hit.score) for hit in hits)
    for name in PLANTED:
        if "mean" in name:
            with pytest.raises(EngineError):
                eng.search(model=name)


def test_similar_models_are_never_those(eng: Engine) -> None:
    broken = {name for name in PLANTED if "features" not in name}
    for distance in ("frechet", "cosine"):
        hits = eng.similar("good 03", 50, distance=distance)
        bad = broken if distance == "frechet" else {name for name in broken if "mean" in name}
        assert not {hit.name for hit in hits} & bad
        assert all(np.isfinite(hit.score) for hit in hits)
    for name in broken:
        with pytest.raises((CorruptData, MissingStatistics)):
            eng.similar(name)
