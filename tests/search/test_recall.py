"""Recall, damage and change, as a collection's user meets them: with the quantized kind, at a few thousand models."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from engine import Engine
from engine.cli import app
from engine.config import Settings
from engine.errors import InvalidInput, InvalidQuery
from engine.index import LiveIndex
from engine.index.quantized.query_families import VARYING
from engine.index.quantized.tuning import DEPTHS
from engine.records import EncoderRef
from engine.scores import unit
from engine.search.real_queries import real_queries

D, N = 32, 4000
QUANTIZED = Settings(index_kind="quantized", refresh_interval=0)


def rows(seed: int, n: int = N) -> np.ndarray:
    rng = np.random.default_rng(seed)
    fall = np.arange(1, D + 1) ** -0.4
    topics = rng.normal(size=(20, D)) * fall
    return unit((topics[rng.integers(0, 20, n)] + rng.normal(size=(n, D)) * fall).astype(np.float32))


def names(n: int, first: int = 0) -> list[str]:
    return [f"m{i:05d}" for i in range(first, first + n)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recall") / "many.db"
    with Engine.open(f"sqlite:///{path}", create=True, encoder="external:x", settings=QUANTIZED) as eng:
        eng.ingest_statistics(names(N), rows(1), encoder="external:x", samples=10)
        eng.build_index()
    return path


@pytest.fixture
def opened(stored: Path):
    with Engine.open(f"sqlite:///{stored}", settings=QUANTIZED) as eng:
        yield eng


def test_recall_is_asked_for(opened: Engine) -> None:
    queries = unit(rows(1)[:200] + 0.5 * rows(9, 200))
    truth = 1 + np.argsort(-(queries @ rows(1).T), axis=1)[:, :10]
    _, exact = opened.search_vectors(queries, 10, recall=1.0)
    np.testing.assert_array_equal(exact, truth)
    _, nearly = opened.search_vectors(queries, 10)
    share = np.mean([np.isin(one, true).mean() for one, true in zip(nearly, truth, strict=True)])
    assert share >= 0.93


@pytest.mark.parametrize("recall", [0, -1, 1.01, "all", True, float("nan")])
def test_a_recall_that_is_none(opened: Engine, recall: object) -> None:
    with pytest.raises(InvalidQuery, match="recall"):
        opened.search_vectors(rows(1)[0], 10, recall=recall)
    with pytest.raises(InvalidQuery, match="recall"):
        opened.search(model="m00001", recall=recall)
    if not isinstance(recall, bool) or recall != 1:
        with pytest.raises(InvalidInput, match="recall"):
            Settings(recall=recall)


def test_a_model_query_leaves_itself_out_and_nothing_else(opened: Engine) -> None:
    means = rows(1)
    hits = opened.search(model="m00007", k=20, recall=1.0)
    expected = np.argsort(-(means @ means[7]))[1:21]
    assert [hit.name for hit in hits] == [f"m{i:05d}" for i in expected]


def test_torch_tensors_are_taken(opened: Engine) -> None:
    query = rows(1)[3]
    expected = opened.search_vectors(query, 5)
    for tensor in (torch.from_numpy(query), torch.from_numpy(query).requires_grad_()):
        for ours, theirs in zip(opened.search_vectors(tensor, 5), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    half = opened.search_vectors(torch.from_numpy(query).bfloat16(), 5)
    assert half[1][0] == expected[1][0]


@pytest.mark.gpu
def test_cuda_tensors_are_taken(opened: Engine) -> None:
    query = rows(1)[3]
    ours = opened.search_vectors(torch.from_numpy(query).cuda(), 5)
    np.testing.assert_array_equal(ours[1], opened.search_vectors(query, 5)[1])


def test_status_says_what_was_chosen_and_measured(stored: Path, opened: Engine) -> None:
    (status,) = [one for one in opened.index_status() if one["space"] == "first_moment"]
    assert status["kind"] == "quantized"
    assert status["why"] == "the setting index_kind says so"
    asked = {(said["answers"], said["asked"]): said["measured"] for said in status["recall"]}
    assert asked[10, 0.95] > 0.93
    shown = CliRunner().invoke(app, ["index", "status", "--database", f"sqlite:///{stored}"])
    assert shown.exit_code == 0
    assert "quantized, because the setting index_kind says so" in " ".join(shown.output.split())
    assert "95 %, 98 %" in shown.output
    assert {said["hardest"] for said in status["recall"]} <= {"isotropic", *VARYING, "models held out"}


@pytest.mark.usefixtures("few_tuning_queries")
def test_a_recall_is_tuned_on_what_the_collection_is_asked(tmp_path: Path) -> None:
    """Draws from stored covariances, kept samples before these; means alone have neither."""
    rng = np.random.default_rng(0)
    n = DEPTHS[-1] + 10  # of fewer nothing is tuned
    means = unit(rng.normal(size=(n, 16)).astype(np.float32))
    covariances = np.broadcast_to(0.01 * np.eye(16), (n, 16, 16))
    names = [f"m{number}" for number in range(n)]
    plain = replace(QUANTIZED, neighbours=1, neighbour_candidates=1)  # lists of similar models take long
    with Engine.open(f"sqlite:///{tmp_path}/zoo.db", create=True, encoder="external:a", settings=plain) as eng:
        eng.ingest_statistics(names, means, encoder="external:a", samples=50)
        assert "the collection's own" not in built_families(eng)
        eng.ingest_statistics(names, means, covariances, encoder="external:a", samples=50)
        assert "the collection's own" in built_families(eng)
        kept = unit(rng.normal(size=(4, 16)).astype(np.float32))
        eng.ingest(kept, name="kept")
        encoder_id = eng.services.session.encoder("external:a")[0]
        queries = real_queries(eng.services.catalog, encoder_id, 400)
        assert len(queries) == n + 1
        assert (np.abs(queries @ kept.T - 1).min(axis=1) < 1e-3).sum() == 1, "one of its samples"
        assert (queries[:n] @ means.T).max(axis=1).mean() > 0.8


def built_families(eng: Engine) -> tuple[str, ...]:
    eng.build_index()
    encoder_id, identity = eng.services.session.encoder("external:a")
    return eng.services.views.current(EncoderRef(encoder_id, identity)).index.live.base.tuning.families


@pytest.mark.usefixtures("few_tuning_queries")
@pytest.mark.parametrize("method", ["search_vectors", "search"])
def test_a_damaged_file_is_rebuilt_and_not_searched(stored: Path, tmp_path: Path, method: str, caplog) -> None:
    """Found while it is searched: the answer is the right one all the same."""
    path = tmp_path / "copy.db"
    path.write_bytes(stored.read_bytes())
    shutil.copytree(stored.with_name("many.db.index"), path.with_name("copy.db.index"))
    for name in ("fine.npy", "vectors.npy"):
        (file,) = path.with_name("copy.db.index").glob(f"*/*/{name}")
        data = bytearray(file.read_bytes())
        data[200:] = bytes(255 - byte for byte in data[200:])
        file.write_bytes(data)
    means = rows(1)
    with caplog.at_level(logging.WARNING), Engine.open(f"sqlite:///{path}", settings=QUANTIZED) as eng:
        if method == "search":
            found = [hit.name for hit in eng.search(model="m00007", k=3)]
        else:
            found = eng.names(eng.search_vectors(means[7], 4)[1])[1:]
        assert found == [f"m{i:05d}" for i in np.argsort(-(means @ means[7]))[1:4]]
    assert "npy is damaged at row" in caplog.text
    assert "rebuilding" in caplog.text


def test_others_changes_are_noticed_by_themselves(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'two.db'}"
    means = rows(2, 50)
    with Engine.open(url, create=True, encoder="external:x", settings=Settings(refresh_interval=0.05)) as reader:
        reader.ingest_statistics(names(50), means, encoder="external:x", samples=10)
        assert reader.search_vectors(means[3], 1)[0][0] == pytest.approx(1)
        new = rows(3, 1)
        with Engine.open(url) as writer:
            writer.ingest_statistics(["new"], new, encoder="external:x", samples=10)
        end = time.monotonic() + 20
        while reader.names(reader.search_vectors(new[0], 1)[1]) != ["new"]:
            assert time.monotonic() < end, "never noticed"
            time.sleep(0.02)


def test_refresh_sees_them_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'two.db'}"
    with Engine.open(url, create=True, encoder="external:x", settings=QUANTIZED) as reader:
        reader.ingest_statistics(names(5), rows(2, 5), encoder="external:x", samples=10)
        reader.search_vectors(rows(2, 5)[0], 1)
        new = rows(3, 1)
        with Engine.open(url) as writer:
            writer.ingest_statistics(["new"], new, encoder="external:x", samples=10)
        assert reader.names(reader.search_vectors(new[0], 1)[1]) != ["new"]
        reader.refresh()
        assert reader.names(reader.search_vectors(new[0], 1)[1]) == ["new"]


@pytest.mark.usefixtures("few_tuning_queries")
def test_folding_goes_on_behind_the_searches(tmp_path: Path, monkeypatch) -> None:
    """Writes beyond the share are folded in by a thread, and what is written meanwhile is not lost."""
    monkeypatch.setattr("engine.search.views.LARGE", 100)
    monkeypatch.setitem(LiveIndex.over.__func__.__kwdefaults__, "least", 10)
    with Engine.open(f"sqlite:///{tmp_path / 'fold.db'}", create=True, encoder="external:x", settings=QUANTIZED) as eng:
        eng.ingest_statistics(names(400), rows(1, 400), encoder="external:x", samples=10)
        eng.search_vectors(rows(1)[0], 1)
        encoder_id, identity = eng.services.session.encoder()
        for first in range(400, 700, 60):
            fresh = rows(first, 60)
            eng.ingest_statistics(names(60, first), fresh, encoder="external:x", samples=10)
            scores, ids = eng.search_vectors(fresh, 1, recall=1.0)
            np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)
            assert [name for (name,) in eng.names(ids)] == names(60, first)
        eng.services.views.wait()
        view = eng.services.views.current(EncoderRef(encoder_id, identity))
        assert len(view.index) == 700
        assert len(view.index.live.base) > 400
        assert view.index.live.base.kind == "quantized"
