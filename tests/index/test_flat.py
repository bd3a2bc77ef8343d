"""The flat index against a NumPy scan, over any history of changes."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.index import MISSING, FlatIndex, LiveIndex
from engine.index.base import RowsById
from engine.index.choose import MANY, reason, suited
from engine.scores import unit

D = 5


def vectors(rng: np.random.Generator, n: int) -> np.ndarray:
    return unit(rng.normal(size=(n, D)).astype(np.float32)).reshape(n, D)


def build(contents: dict[int, np.ndarray]) -> FlatIndex:
    ids = np.array(list(contents), np.int64)
    rows = np.stack(list(contents.values())) if contents else np.empty((0, D), np.float32)
    return FlatIndex.build(ids, rows, dimension=D)


def assert_is_a_full_scan(
    index: FlatIndex, contents: dict[int, np.ndarray], queries: np.ndarray, k: int, allowed: np.ndarray | None
) -> None:
    scores, ids = index.search(queries, k, allowed=allowed)
    assert scores.shape == ids.shape == (len(queries), k)
    assert (scores.dtype, ids.dtype) == (np.float32, np.int64)
    admitted = [i for i in contents if allowed is None or i in allowed]
    there = min(k, len(admitted))
    for query, row, found in zip(queries, scores, ids, strict=True):
        assert (row[there:] == -np.inf).all()
        assert (found[there:] == MISSING).all()
        cosines = {i: float(contents[i].astype(np.float64) @ query) for i in admitted}
        assert len(set(found[:there])) == there
        np.testing.assert_allclose(row[:there], [cosines[i] for i in found[:there]], atol=1e-6)
        np.testing.assert_allclose(row[:there], sorted(cosines.values(), reverse=True)[:there], atol=1e-6)


@st.composite
def histories(draw):
    """Upserts and removals, in rounds; ids may be anything that fits."""
    pool = draw(st.lists(st.integers(0, 2**62), min_size=1, max_size=12, unique=True))
    some = st.lists(st.sampled_from(pool), max_size=8, unique=True)
    return pool, draw(some), draw(st.lists(st.tuples(some, some), max_size=4))


@pytest.mark.parametrize("kind", ["flat", "quantized"])
@pytest.mark.parametrize("least", [None, 0, 3, 1000])
@given(history=histories(), k=st.integers(1, 20), queries=st.integers(0, 4), seed=st.integers(0, 2**31), data=st.data())
def test_any_history_answers_as_a_full_scan(
    kind: str, least: int | None, history, k: int, queries: int, seed: int, data
) -> None:
    """The index alone; and a live one over it that folds its tail in at once, now and then, or never."""
    pool, first, rounds = history
    rng = np.random.default_rng(seed)
    contents = dict(zip(first, vectors(rng, len(first)), strict=True))
    index, _ = suited(build(contents), kind)
    assert index.kind == kind
    if least is not None:
        index = LiveIndex.over(index, least=least, wanted=kind)
    for upserts, removals in rounds:
        fresh = vectors(rng, len(upserts))
        before, old = index, dict(contents)
        index = index.updated(np.array(upserts, np.int64), fresh, np.array(removals, np.int64))
        if least is not None and index.overgrown:
            index = index.compacted()
        for gone in removals:
            contents.pop(gone, None)
        contents.update(zip(upserts, fresh, strict=True))
        assert_is_a_full_scan(before, old, vectors(rng, 1), k, None)  # an index in use is never changed
    allowed = data.draw(st.none() | st.lists(st.sampled_from([*pool, 2**62 + 1]), unique=True))
    allowed = None if allowed is None else np.array(allowed, np.int64)
    assert sorted(index.ids) == sorted(contents)
    assert len(index) == len(contents)
    assert_is_a_full_scan(index, contents, vectors(rng, queries), k, allowed)
    wide = np.stack([*contents.values(), np.zeros(D)]).astype(np.float64)
    np.testing.assert_allclose(
        index.moments()[1], wide.T @ wide / max(len(contents), 1), atol=1e-9 if kind == "flat" else 1e-5
    )
    np.testing.assert_allclose(
        index.moments()[0], wide.sum(axis=0) / max(len(contents), 1), atol=1e-9 if kind == "flat" else 1e-5
    )
    for i in pool:
        stored = index.vectors(np.array([i]))[0]
        np.testing.assert_allclose(stored, contents.get(i, np.full(D, np.nan, np.float32)), atol=1e-6)
        if kind == "flat":
            np.testing.assert_array_equal(stored, contents.get(i, stored))


@given(st.integers(0, 30), st.integers(0, 2**31))
def test_moments_are_those_of_the_vectors(n: int, seed: int) -> None:
    rows = vectors(np.random.default_rng(seed), n)
    mean, second = FlatIndex.build(np.arange(n), rows, dimension=D).moments()
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(axis=0) if n else np.zeros(D), atol=1e-12)
    np.testing.assert_allclose(second, wide.T @ wide / max(n, 1), atol=1e-12)


def test_a_filter_finds_the_needle(rng: np.random.Generator) -> None:
    """k answers whenever k exist, though thousands of forbidden models are nearer."""
    rows = vectors(rng, 5000)
    index = FlatIndex.build(np.arange(5000) + 7, rows, dimension=D)
    query = rows[:1]
    worst = np.argsort(rows @ query[0])[:3]
    scores, ids = index.search(query, 3, allowed=worst + 7)
    assert set(ids[0]) == set(worst + 7)
    assert (np.diff(scores[0]) <= 0).all()


def test_an_empty_index_answers_with_padding() -> None:
    index = build({})
    for allowed in (None, np.empty(0, np.int64), np.array([1, 2])):
        scores, ids = index.search(np.ones((2, D), np.float32), 3, allowed=allowed)
        assert (scores == -np.inf).all()
        assert (ids == MISSING).all()
    assert len(index) == 0
    assert np.isnan(index.vectors(np.array([1, 2]))).all()


def test_vectors_are_a_copy(rng: np.random.Generator) -> None:
    rows = vectors(rng, 3)
    index = FlatIndex.build(np.arange(3), rows, dimension=D)
    index.vectors(np.arange(3))[:] = 0
    rows_before = rows.copy()
    rows[:] = 0
    np.testing.assert_array_equal(index.vectors(np.arange(3)), rows_before)
    del index
    gc.collect()


def test_saved_and_loaded_it_is_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    for n in (0, 4):
        index = FlatIndex.build(np.arange(n) * 3, vectors(rng, n), dimension=D)
        folder = tmp_path / str(n)
        folder.mkdir()
        index.save(folder)
        assert sorted(path.name for path in folder.iterdir()) == sorted(index.files)
        loaded = FlatIndex.load(folder, dimension=D)
        np.testing.assert_array_equal(loaded.ids, index.ids)
        np.testing.assert_array_equal(loaded.vectors(loaded.ids), index.vectors(index.ids))


@pytest.mark.parametrize("queries", [1, 3])
def test_ties_and_duplicates_come_back_once_each(rng: np.random.Generator, queries: int) -> None:
    same = np.repeat(vectors(rng, 1), 6, axis=0)
    index = FlatIndex.build(np.arange(6), same, dimension=D)
    _, ids = index.search(np.repeat(same[:1], queries, axis=0), 6)
    assert all(sorted(row) == list(range(6)) for row in ids.tolist())


def test_a_write_leaves_the_base_alone(rng: np.random.Generator) -> None:
    """Few writes share the base; more than a share of it are folded in."""
    first = LiveIndex.over(FlatIndex.build(np.arange(500), vectors(rng, 500), dimension=D))
    second = first.updated(np.array([7, 900]), vectors(rng, 2), np.array([3]))
    assert second.base is first.base
    assert (len(second.tail), second.dead.tolist()) == (2, [3, 7])
    many = second.updated(np.arange(2000, 4000), vectors(rng, 2000), np.empty(0, np.int64))
    assert (second.overgrown, many.overgrown) == (False, True)
    many = many.compacted()
    assert (len(many.tail), len(many.dead), len(many.base)) == (0, 0, 2500)
    assert second.compacted().base.ids.tolist() == [*(i for i in range(500) if i not in (3, 7)), 7, 900]


def test_the_dead_eat_no_place(rng: np.random.Generator) -> None:
    """Though the hundred nearest have been removed, k answers come back, and the right ones."""
    rows = vectors(rng, 3000)
    order = np.argsort(-(rows @ rows[0]))
    index = LiveIndex.over(FlatIndex.build(np.arange(3000), rows, dimension=D))
    index = index.updated(np.empty(0, np.int64), np.empty((0, D), np.float32), order[:100])
    _, ids = index.search(rows[:1], 5)
    assert set(ids[0]) == set(order[100:105])


def gathered(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Unit vectors whose spectrum falls off, in a random basis."""
    wide = rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.8
    return unit((wide @ np.linalg.qr(rng.normal(size=(d, d)))[0]).astype(np.float32))


def test_what_does_not_drift(rng: np.random.Generator) -> None:
    """A vector that stays through a hundred foldings is the same to the bit as after the first."""
    index = FlatIndex.build(np.arange(50), gathered(rng, 50, 64), dimension=64)
    first = index.vectors(np.array([7]))
    for round_ in range(100):
        index = index.updated(np.array([100 + round_]), gathered(rng, 1, 64), np.array([99 + round_]))
    np.testing.assert_array_equal(index.vectors(np.array([7])), first)


def test_the_kind_follows_number(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(MANY - 1) == ("flat", f"{MANY - 1} models are fewer than {MANY}: all of them are read")
    assert reason(MANY)[0] == "quantized"
    monkeypatch.setattr("engine.index.choose.MANY", 300)
    rows = gathered(rng, 300, 64)
    live = LiveIndex.over(FlatIndex.build(np.empty(0, np.int64), np.empty((0, 64), np.float32), dimension=64))
    live = live.updated(np.arange(299), rows[:299], np.empty(0, np.int64)).compacted()
    assert (live.base.kind, live.why) == ("flat", "299 models are fewer than 300: all of them are read")
    live = live.updated(np.arange(299, 300), rows[299:], np.empty(0, np.int64)).compacted()
    assert live.base.kind == "quantized"
    assert "300 or more" in live.why
    assert suited(live.base, "flat")[0].kind == "flat"


@pytest.mark.parametrize("name", ["vectors.npy", "ids.npy"])
def test_files_of_another_shape_are_refused(rng: np.random.Generator, tmp_path: Path, name: str) -> None:
    FlatIndex.build(np.arange(9), gathered(rng, 9, 16), dimension=16).save(tmp_path)
    np.save(tmp_path / name, np.load(tmp_path / name)[:3])
    with pytest.raises(ValueError, match=r"shape|distinct"):
        FlatIndex.load(tmp_path, dimension=16)


@pytest.mark.parametrize("step", [1, 1_000_003])
def test_rows_are_found_by_id(rng: np.random.Generator, step: int) -> None:
    """Of ids close together, and of ids far apart; rows without one are never found, nor ids that are not there."""
    ids = rng.choice(np.arange(5, 305), 200, replace=False) * step
    stored = np.concatenate([ids[:150], [MISSING, MISSING], ids[150:]])
    by_id = RowsById(stored)
    rows = by_id.find(ids)
    assert (stored[rows] == ids).all()
    absent = np.setdiff1d(np.concatenate([np.arange(400) * step, ids - 1, ids + 1]), ids)
    assert (by_id.find(np.concatenate([absent, [MISSING, -step, 2**63 - 1, -(2**63)]])) == -1).all()
    assert by_id.find(np.zeros(0, np.int64)).shape == (0,)
    assert (RowsById(np.full(3, MISSING)).find(np.array([MISSING, 0, 1])) == -1).all()
