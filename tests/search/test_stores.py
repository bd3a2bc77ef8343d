"""The files that exact rules read: what searches answer with and without them, warm, cold, damaged, full, forbidden."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine
from engine.config import Settings
from engine.errors import InvalidInput, StorageError
from engine.records import EncoderRef
from engine.rerank import record_store as factor_store
from engine.rerank import scorer as packed
from engine.scores import (
    best_k,
    blend,
    gaussian_density,
    learned_gaussian_density,
    matrix_to_covariance_map,
    statistics_to_factor,
)
from engine.storage import Database

D, MODELS = 16, 40
Opened = Callable[..., Engine]


def cloud(seed: int, count: int = 40) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.normal(size=D) + 0.5 * random.normal(size=(count, D)) * np.linspace(1, 0.2, D)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def query(seed: int) -> np.ndarray:
    return cloud(seed, 1)[0]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A collection's file."""
    path = tmp_path_factory.mktemp("zoo") / "zoo.db"
    with Engine.open(f"sqlite:///{path}", create=True, encoder="external:test") as eng:
        for seed in range(MODELS):
            eng.ingest(cloud(seed), name=f"m{seed:02}")
        eng.search_vectors(query(0), method="blend")
    return path.read_bytes()


@pytest.fixture
def opened(zoo: bytes, tmp_path: Path) -> Iterator[Opened]:
    """``opened(factor_file_bytes=0)``: the collection, as often as one likes."""
    (tmp_path / "zoo.db").write_bytes(zoo)
    engines: list[Engine] = []

    def again(**changes: Any) -> Engine:
        eng = Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", settings=Settings(**changes))
        engines.append(eng)
        return eng

    yield again
    for eng in engines:
        eng.close()


def expected(eng: Engine, asked: np.ndarray) -> dict[str, dict[str, float]]:
    """Scores by method and name, one model after the other, from what is stored."""
    encoder_id, identity = eng.services.session.encoder()
    ids = {model.name: model.id for model in eng.models()}
    toward = eng.services.transforms.shrinkage(EncoderRef(encoder_id, identity), eng.settings.shrinkage)
    stored, _ = eng.services.catalog.statistics(encoder_id, ids.values())
    features, _ = eng.services.catalog.sample_features(encoder_id, ids.values())
    dense = [gaussian_density(statistics_to_factor(stored[i].statistics, toward), asked) for i in ids.values()]
    near = [best_k(features[i], asked, 10) for i in ids.values()]
    mixed = blend(np.array(dense), np.array(near))
    return {
        "gaussian_density": dict(zip(ids, dense, strict=True)),
        "best_10": dict(zip(ids, near, strict=True)),
        "blend": dict(zip(ids, mixed.tolist(), strict=True)),
    }


def check(eng: Engine, k: int = 7) -> None:
    """Searches answer as one model after the other does."""
    for seed in (3, 900):
        wanted = expected(eng, query(seed))
        for method, scores in wanted.items():
            found, ids = eng.search_vectors(query(seed), k=k, method=method)
            order = sorted(scores, key=lambda name: -scores[name])[:k]
            assert eng.names(ids) == order
            assert found == pytest.approx([scores[name] for name in order], rel=1e-4, abs=1e-3)


def folders(tmp_path: Path) -> dict[str, Path]:
    return {path.name.split("..")[1]: path for path in (tmp_path / "zoo.db.index").iterdir() if ".." in path.name}


@pytest.mark.parametrize("k", [1, 7, MODELS])
def test_answers_are_those_of_one_model_after_the_other(opened: Opened, k: int) -> None:
    check(opened(), k)


@pytest.mark.parametrize(
    "changes",
    [{"factor_file_bytes": 0}, {"sample_file_bytes": 0}, {"factor_cache_bytes": 0}, {"factor_file_bytes": 3000},
     {"shrinkage": 0.0}],
)  # fmt: skip
def test_no_budget_changes_an_answer(opened: Opened, tmp_path: Path, changes: dict[str, Any]) -> None:
    eng = opened(**changes)
    check(eng)
    eng.build_index()
    check(eng)
    if changes.get("factor_file_bytes") == 0:
        assert "factors-0.8" not in folders(tmp_path)
    if changes.get("factor_file_bytes") == 3000:
        assert sum(path.stat().st_size for path in folders(tmp_path)["factors-0.8"].glob("*.factors")) <= 3000


def test_a_warm_search_asks_the_database_nothing(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    eng = opened()
    for method in ("blend", "gaussian_density", "best_10"):
        eng.search_vectors(query(3), method=method)

    def forbidden(self: Database) -> None:
        raise AssertionError("a warm search read the database")

    monkeypatch.setattr(Database, "read", forbidden)
    for method in ("blend", "gaussian_density", "best_10"):
        eng.search_vectors(query(4), method=method)


def test_the_next_process_finds_what_searches_made(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened()
    first.search_vectors(query(3), method="blend")
    first.close()
    second = opened()

    def forbidden(*_: Any) -> None:
        raise AssertionError("it was made again")

    monkeypatch.setattr(packed, "make_records", forbidden)
    second.search_vectors(query(3), method="blend")
    check(second)


def test_new_and_changed_models_are_scored_and_kept(opened: Opened) -> None:
    eng = opened()
    eng.build_index()
    eng.ingest(cloud(500), name="new")
    eng.ingest(cloud(501), name="m03")
    eng.remove("m04")
    check(eng)
    eng.complete_neighbours()
    store = next(store for (_, name), store in eng.services.statistics.stores._stores.items() if name == "factors-0.8")
    versions = eng.services.catalog.all_changes(eng.services.session.encoder()[0])
    assert store.lacks(versions) == []
    check(eng)


@pytest.mark.parametrize("what", ["factors-0.8", "samples"])
@pytest.mark.parametrize("pattern", ["*.factors", "*.rotation", "FACTORS"])
def test_a_damaged_file_is_made_again_and_never_searched(
    opened: Opened, tmp_path: Path, what: str, pattern: str
) -> None:
    eng = opened()
    eng.build_index()
    eng.close()
    for path in folders(tmp_path)[what].glob(pattern):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x55
        path.write_bytes(data)
    eng = opened()
    check(eng)
    eng.build_index()
    check(eng)
    status = eng.index_status()[0]
    assert status[what.split("-")[0]]["models"] == MODELS
    if pattern == "*.factors":
        assert status[what.split("-")[0]]["damaged"] == 1


def test_a_folder_that_takes_nothing_is_said_once(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> str:
        raise StorageError("the factors could not be written")

    monkeypatch.setattr(factor_store, "write_segment", full)
    monkeypatch.setattr(packed, "ENOUGH", 1)
    eng = opened()
    eng.search_vectors(query(3), method="gaussian_density", shortlist=5, k=2)
    eng.services.statistics.stores.flush()
    for seed in range(5):
        eng.search_vectors(query(seed), method="gaussian_density", shortlist=9, k=2)
    check(eng)
    eng.close()
    assert caplog.text.count("could not be written") == 2  # of each file once


def test_an_interrupted_build_goes_on(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "PUBLISHED", 1)
    monkeypatch.setattr(packed, "BLOCK", 8)
    eng = opened()

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "factors" and done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eng.build_index(stop)
    told: list[tuple[str, int, int]] = []
    opened().build_index(lambda *said: told.append(said))
    assert [said for said in told if said[0] == "factors"][-1] == ("factors", 24, 24)
    check(opened())


def test_a_learned_map_is_scored_from_the_same_factors(opened: Opened) -> None:
    eng = opened()
    encoder_id, identity = eng.services.session.encoder()
    view = eng.services.views.current(EncoderRef(encoder_id, identity))
    random = np.random.default_rng(0)
    learned = matrix_to_covariance_map((np.eye(D) + 0.1 * random.standard_normal((D, D))).astype(np.float32))
    found = eng.services.statistics.stores.densities(view, view.index.ids, query(3)[None], None, learned)[0]
    stored, _ = eng.services.catalog.statistics(encoder_id, view.index.ids.tolist())
    wanted = [
        learned_gaussian_density(statistics_to_factor(stored[i].statistics), learned, query(3))
        for i in view.index.ids.tolist()
    ]
    assert found == pytest.approx(wanted, rel=1e-4)


def test_models_without_what_is_needed_cost_one_question(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    eng = opened()
    means = np.stack([query(seed) for seed in (70, 71)])
    eng.ingest_statistics(["bare", "naked"], means, encoder="external:test", samples=9)
    scores, ids = eng.search_vectors(query(70), k=MODELS + 2, method="blend")
    assert (ids[-2:] == -1).all()
    asked: list[Any] = []
    real = packed.make_records
    monkeypatch.setattr(packed, "make_records", lambda *given: asked.append(given) or real(*given))
    eng.search_vectors(query(70), k=MODELS + 2, method="blend")
    assert asked == []
    assert np.isfinite(scores[:-2]).all()


# --- the agreement, and what the status says


def test_status_says_what_files_hold_and_how_stages_agree(opened: Opened, tmp_path: Path) -> None:
    eng = opened()
    before = eng.index_status()[0]
    assert before["factors"]["file"] == "missing"
    assert before["agreement"] is None
    built = eng.build_index()[0]
    assert (built["factors"]["models"], built["samples"]["models"]) == (MODELS, MODELS)
    assert built["factors"]["bytes"] > 0
    assert built["factors"]["hits"] >= MODELS
    agreement = built["agreement"]
    assert agreement["share"].keys() == {"25"}
    assert 0.5 < agreement["share"]["25"] <= 1
    assert (agreement["models"], agreement["queries"], agreement["k"]) == (MODELS, MODELS, 10)
    eng.close()
    assert opened().index_status()[0] == built
    folders(tmp_path)["agreement.json"].write_text(json.dumps({"share": 1}))
    assert opened().index_status()[0]["agreement"] is None


def test_a_shortlist_of_all_agrees_wholly(opened: Opened) -> None:
    from engine.search.agreement import exhaustive_best, measure_agreement

    eng = opened()
    encoder_id, identity = eng.services.session.encoder()
    view = eng.services.views.current(EncoderRef(encoder_id, identity))
    found = measure_agreement(view, eng.services.statistics, None, (10, 20, 39, 1000))
    assert found is not None
    assert list(found.share) == ["10", "20", "39"]
    assert list(found.share.values()) == sorted(found.share.values())
    best = exhaustive_best(view, eng.services.statistics, np.sort(view.index.ids), query(3), None)
    _, ids = eng.search_vectors(query(3), k=10, method="gaussian_density", shortlist=MODELS)
    eng.close()
    with_none = opened(shrinkage=0.0)
    _, ids = with_none.search_vectors(query(3), k=10, method="gaussian_density", shortlist=MODELS)
    assert best.tolist() == ids.tolist()
    assert measure_agreement(view, eng.services.statistics, None, (MODELS,)) is None


@pytest.mark.parametrize("weight", [0.0, 0.8])
def test_models_with_few_samples_rank_among_the_others(tmp_path: Path, weight: float) -> None:
    settings = Settings(index_folder=str(tmp_path / "index"), shrinkage=weight)
    url = f"sqlite:///{tmp_path / 'few.db'}"
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        for seed in range(20):
            eng.ingest(cloud(seed, 3 if seed % 2 else 60), name=f"m{seed:02}")
        check(eng)
        eng.build_index()
        check(eng)
        encoder_id, identity = eng.services.session.encoder()
        view = eng.services.views.current(EncoderRef(encoder_id, identity))
        toward = eng.services.transforms.shrinkage(EncoderRef(encoder_id, identity), weight)
        sizes = np.unique(eng.services.statistics.stores.factors(view, toward)._table.sizes)
        assert len(sizes) == 2
        learned = matrix_to_covariance_map(
            (np.eye(D) + 0.1 * np.random.default_rng(0).random((D, D))).astype(np.float32)
        )
        found = eng.services.statistics.stores.densities(view, view.index.ids, query(3)[None], toward, learned)[0]
        stored, _ = eng.services.catalog.statistics(encoder_id, view.index.ids.tolist())
        wanted = [
            learned_gaussian_density(statistics_to_factor(stored[i].statistics, toward), learned, query(3))
            for i in view.index.ids.tolist()
        ]
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("room", [4 * 2**30, 20_000, 0])
def test_a_card_answers_as_the_processor_does(opened: Opened, room: int) -> None:
    """By the card's own code, on torch's CPU device."""
    from engine.rerank.gpu_densities import Card, GpuDensities

    eng = opened()
    eng.services.statistics.stores.card = GpuDensities(Card("cpu", room))
    check(eng)
    check(eng)


@pytest.mark.parametrize("fault", ["error", "memory", "off", "nan"])
@pytest.mark.parametrize("late", [False, True])
def test_a_card_that_fails_is_left(opened: Opened, monkeypatch, caplog, fault: str, late: bool) -> None:
    """At its first shortlist or later: the processor answers, and it is said once."""
    from engine.index.gpu_factors import GpuFactors
    from engine.rerank.gpu_densities import Card, GpuDensities

    honest = GpuFactors.distances

    def broken(self: GpuFactors, ids, changes, differences):
        if fault == "error":
            raise RuntimeError("CUDA error: unspecified launch failure\nand more")
        if fault == "memory":
            raise MemoryError("CUDA out of memory")
        return honest(self, ids, changes, differences) + (1.0 if fault == "off" else np.nan)

    eng = opened()
    eng.services.statistics.stores.card = card = GpuDensities(Card("cpu", 4 * 2**30))
    if late:
        check(eng)
        if fault == "off":  # it is compared once a store
            return
    monkeypatch.setattr(GpuFactors, "distances", broken)
    with caplog.at_level("WARNING", "engine.search"):
        check(eng)
        check(eng)
    assert card.refused
    assert len([record for record in caplog.records if "scores no more densities" in record.message]) == 1


def test_a_card_that_is_not_there_is_said(opened: Opened) -> None:
    eng = opened(rerank_device="cuda:99")
    with pytest.raises(InvalidInput, match="cannot be computed on"):
        eng.search_vectors(query(3), method="gaussian_density")
