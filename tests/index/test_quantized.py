"""The quantized index: exact where that is asked for, and as good as it promises where it is not."""

from __future__ import annotations

import functools
import json
import time
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CorruptData
from engine.index import MISSING, FlatIndex, LiveIndex, QuantizedIndex
from engine.index import snapshot as snapshots
from engine.index.checked import Checked, checksums
from engine.index.choose import MANY, reason, suited
from engine.index.quantized import scan_kernel
from engine.index.quantized.block_products import products_by, ways_here
from engine.index.quantized.codes import WIDTHS, interleaved, packed, separated, variances_to_layout, variances_to_long
from engine.index.quantized.tuning import DEPTHS, RECALLS, Setting, Tuning
from engine.scores import unit

D = 48


def gathered(rng: np.random.Generator, n: int, d: int = D) -> np.ndarray:
    """Unit vectors around 40 topics, with a spectrum that falls off, in a random basis."""
    fall = np.arange(1, d + 1) ** -0.5
    topics = rng.normal(size=(40, d)) * fall
    wide = topics[rng.integers(0, 40, n)] + rng.normal(size=(n, d)) * fall
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))[0]
    return unit((wide @ basis).astype(np.float32))


def near(rng: np.random.Generator, rows: np.ndarray, count: int) -> np.ndarray:
    own = rows[rng.integers(0, len(rows), count)]
    return unit((own + 0.75 * unit(rng.normal(size=own.shape))).astype(np.float32))


@pytest.fixture(scope="module")
def collection() -> tuple[np.ndarray, QuantizedIndex]:
    rows = gathered(np.random.default_rng(5), 20_000)
    return rows, QuantizedIndex.build(np.arange(20_000) * 3, rows, dimension=D)


@pytest.mark.usefixtures("few_tuning_queries")
@pytest.mark.parametrize(
    ("structure", "d"),
    [
        *(("gathered", d) for d in (1, 3, 30, 97, 257)),
        *((structure, d) for structure in ("none", "lengths") for d in (1, 30, 257)),
    ],
)
def test_exact_means_exact(rng: np.random.Generator, tmp_path: Path, structure: str, d: int) -> None:
    """Whatever d, and whatever the vectors: also saved and loaded, with a filter, for a batch."""
    n = 1000
    rows = gathered(rng, n, d) if structure != "none" else unit(rng.normal(size=(n, d)).astype(np.float32))
    if structure == "lengths":
        rows = rows * rng.uniform(0.1, 30, size=(n, 1)).astype(np.float32)
    ids = rng.permutation(10_000)[:n]
    flat = FlatIndex.build(ids, rows, dimension=d)
    index = QuantizedIndex.build(ids, rows, dimension=d)
    index.save(tmp_path)
    asked = near(rng, unit(rows), 9)
    for allowed in (None, ids[::40], np.arange(5000)):
        scores, _ = flat.search(asked, 10, allowed=allowed)
        for one in (index, QuantizedIndex.load(tmp_path, dimension=d)):
            found, others = one.search(asked, 10, allowed=allowed)
            np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-5)
            own = np.einsum("qkd,qd->qk", flat.vectors(others.ravel()).reshape(*others.shape, d), asked)
            np.testing.assert_allclose(own, found, rtol=1e-4, atol=1e-4)
            assert allowed is None or np.isin(others, allowed).all()
    np.testing.assert_array_equal(index.vectors(ids[:50]), rows[:50])


def test_a_large_filter_is_exact_when_that_is_asked_for(collection, monkeypatch) -> None:
    """More models than are scored one by one."""
    rows, index = collection
    monkeypatch.setattr("engine.index.quantized.index.FEW", 100)
    flat = FlatIndex.build(np.arange(20_000) * 3, rows, dimension=D)
    asked = near(np.random.default_rng(3), rows, 20)
    allowed = np.arange(0, 60_000, 9)
    np.testing.assert_array_equal(
        index.search(asked, 10, allowed=allowed)[1], flat.search(asked, 10, allowed=allowed)[1]
    )
    _, ids = index.search(asked, 10, allowed=allowed, recall=0.9)
    assert np.isin(ids, allowed).all()
    assert (ids != MISSING).all()


@pytest.mark.parametrize("k", [1, 10, 60, 200, 500])
@pytest.mark.parametrize("recall", [0.5, 0.9, 0.95, 0.99])
def test_the_recall_that_is_promised_is_reached(collection, k: int, recall: float) -> None:
    """On queries that had no part in the tuning. Two hundredths are allowed for chance: 300 queries."""
    rows, index = collection
    asked = near(np.random.default_rng(77), rows, 300)
    truth = np.argsort(-(asked @ rows.T), axis=1)[:, :k] * 3
    scores, ids = index.search(asked, k, recall=recall)
    reached = np.mean([np.isin(one, true).mean() for one, true in zip(ids, truth, strict=True)])
    assert reached >= recall - 0.02
    assert (np.diff(scores, axis=1) <= 0).all()
    np.testing.assert_allclose(scores[:, 0], np.einsum("qd,qd->q", rows[ids[:, 0] // 3], asked), atol=1e-4)


def test_more_recall_reads_more(collection) -> None:
    _, index = collection
    for depth in DEPTHS:
        found = [one for one in index.tuning.settings if one.depth == depth]
        assert [one.target for one in found] == [target for target in RECALLS if target <= found[-1].target]
        costs = [one.codes * one.wanted for one in found]
        assert costs[0] < costs[-1]
        assert all(one.recall > one.target - 0.03 for one in found)


def test_cells_are_ranked_by_what_they_promise(collection) -> None:
    """Short codes say which centroids are multiplied, as good as all that are among the best; these then are right."""
    rows, index = collection
    partition, rough = index.partition, index.partition.rough_layout
    cells = len(partition.centroids)
    for probes in (1, 8, 40, cells):
        assert (scan_kernel.worth_ranking(probes) < cells) == (probes < cells), "both ways"
        same = []
        for query in near(np.random.default_rng(8), rows, 50):
            turned = index.turned(query)
            chosen, bases = np.empty(cells, np.int64), np.empty(cells, np.float32)
            count = scan_kernel.cells_ranked(
                turned, partition.coarse, partition.coarse_steps, partition.centre, partition.bonus, partition.rough,
                partition.rough_order, rough.counts, rough.steps, rough.halves, probes, chosen, bases,
            )  # fmt: skip
            assert count == probes
            keys = partition.centroids @ turned + partition.bonus * np.linalg.norm(turned)
            np.testing.assert_allclose(bases[:count], (partition.centroids @ turned)[chosen[:count]], atol=8e-3)
            assert (np.diff(keys[chosen[:count]]) < 16e-3).all()
            same.append(np.isin(np.argsort(-keys)[:probes], chosen[:count]).mean())
        assert np.mean(same) > 0.97


def test_few_kept_vectors_are_in_blocks_that_are_left_early(collection) -> None:
    rows, index = collection
    layout = replace(index.partition.layout)
    assert 0 < layout.first.sum() < layout.counts.sum()
    layout.__dict__["first"] = layout.counts
    whole = QuantizedIndex(replace(index.partition, layout=layout), index.rows, index.tuning)
    kept = []
    for query in near(np.random.default_rng(9), rows, 100):
        turned = index.turned(query)
        by_both, _, scanned = index.candidates(turned, 30, 40)
        by_all, estimates, scanned_too = whole.candidates(turned, 30, 40)
        assert scanned == scanned_too
        best = by_all[np.argsort(-estimates)[:40]]
        kept.append(np.isin(best, by_both).mean())
    assert np.mean(kept) > 0.98


def test_one_call_answers_as_its_steps_do(collection, tmp_path: Path, monkeypatch) -> None:
    """Rows that are not verified yet send a search the other way; so does a depth that so few cells do not hold."""
    rows, index = collection
    index.save(tmp_path)
    monkeypatch.setattr(Checked, "ensure_behind", lambda self: None)
    asked = near(np.random.default_rng(10), rows, 20)
    fresh = QuantizedIndex.load(tmp_path, dimension=D)
    assert not fresh.rows.fine_checked.good.any()
    for expected, found in zip(index.search(asked, 10, recall=0.9), fresh.search(asked, 10, recall=0.9), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert fresh.rows.fine_checked.good.any()
    one = QuantizedIndex(index.partition, index.rows, Tuning(20_000, 1, (Setting(10, 0.9, 1, 10, 0.9, 100),)))
    scores, ids = one.search(asked[:3], 2000, recall=0.9)
    assert np.isfinite(scores).all()
    assert all(len(set(row.tolist())) == 2000 for row in ids)


def test_what_no_setting_reaches_is_exact() -> None:
    tuning = Tuning(9, 9, (Setting(10, 0.9, 3, 40, 0.91, 100), Setting(200, 0.9, 5, 400, 0.92, 900)))
    assert tuning.setting(10, 0.8) == tuning.settings[0]
    assert tuning.setting(10, 0.95) is None
    assert tuning.setting(11, 0.9) == tuning.settings[1]
    deeper = tuning.setting(500, 0.9)
    assert deeper is not None
    assert (deeper.probes, deeper.wanted) == (15, 1200)
    assert Tuning.from_json(json.loads(json.dumps(tuning.to_json()))) == tuning
    hundred = Setting(100, 0.9, 4, 200, 0.92, 500)
    with_hundred = Tuning(9, 9, (tuning.settings[0], hundred, tuning.settings[1]))
    assert [with_hundred.setting(k, 0.9) for k in (10, 60, 101)] == list(with_hundred.settings)


@pytest.mark.parametrize("said", [[], {}, {"settings": 3}, {"models": 1, "queries": 1, "settings": [{}]}, None, "x"])
def test_settings_that_are_none(said: object) -> None:
    with pytest.raises(ValueError, match="settings"):
        Tuning.from_json(said)


def test_a_filter_finds_the_needle(collection) -> None:
    """k answers whenever k exist, though all others are nearer."""
    rows, index = collection
    order = np.argsort(-(rows @ rows[0]))
    allowed = order[-7:] * 3
    for recall in (0.5, 1.0):
        scores, ids = index.search(rows[:1], 9, allowed=allowed, recall=recall)
        assert ids[0].tolist() == [*allowed, MISSING, MISSING]
        assert (scores[0, 7:] == -np.inf).all()


def test_what_is_read_is_what_was_written(collection, tmp_path: Path) -> None:
    rows, index = collection
    index.save(tmp_path)
    loaded = QuantizedIndex.load(tmp_path, dimension=D)
    assert loaded.tuning == index.tuning
    asked = near(np.random.default_rng(3), rows, 20)
    for recall in (0.9, 1.0):
        for ours, theirs in zip(
            index.search(asked, 10, recall=recall), loaded.search(asked, 10, recall=recall), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(loaded.moments()[1], index.moments()[1])


@pytest.mark.parametrize("name", QuantizedIndex.mapped)
def test_a_flipped_byte_is_found_before_it_is_used(collection, tmp_path: Path, name: str, monkeypatch) -> None:
    """Also if it lies in a file that opening does not read; whatever is not in that block is still answered."""
    monkeypatch.setattr(Checked, "ensure_behind", lambda self: None)
    rows, index = collection
    index.save(tmp_path)
    path = tmp_path / name
    array = np.load(path, mmap_mode="r")
    bad = int(np.flatnonzero(index.rows.ids == 0)[0])
    place = path.stat().st_size - array.nbytes + bad * len(array) // len(index.rows.ids) * array.strides[0]
    with path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))
    loaded = QuantizedIndex.load(tmp_path, dimension=D)
    reads = {
        "long.npy": lambda: loaded.search(rows[:1], 1, recall=1.0),
        "fine.npy": lambda: loaded.search(rows[:1], 1, recall=0.5),
        "vectors.npy": lambda: loaded.vectors(np.array([0])),
    }
    with pytest.raises(CorruptData, match=name):
        reads[name]()
    with pytest.raises(CorruptData, match=name):
        loaded.search(rows[:1], 1)
    far = int(index.rows.ids[(bad + 4000) % len(index.rows.ids)])
    assert far == MISSING or np.isfinite(loaded.vectors(np.array([far]))).all()


@pytest.mark.parametrize("name", ["sizes", "codes", "errors", "long", "fine", "vectors", "ids", "long_sums"])
def test_arrays_that_do_not_go_together_are_refused(rng: np.random.Generator, tmp_path: Path, name: str) -> None:
    QuantizedIndex.build(np.arange(50), gathered(rng, 50), dimension=D).save(tmp_path)
    np.save(tmp_path / f"{name}.npy", np.load(tmp_path / f"{name}.npy")[:-1])
    with pytest.raises(ValueError, match=r"shape|rows|cells|checksums"):
        QuantizedIndex.load(tmp_path, dimension=D)


@pytest.mark.parametrize(
    "name", ["rotation", "centroids", "fine_steps", "spreads", "counts", "bits", "long_steps", "trained"]
)
@pytest.mark.parametrize("forged", [np.zeros(3), np.array([object()]), None])
def test_a_partition_that_is_none(rng: np.random.Generator, tmp_path: Path, name: str, forged: object) -> None:
    """Nothing is unpickled."""
    QuantizedIndex.build(np.arange(50), gathered(rng, 50), dimension=D).save(tmp_path)
    with np.load(tmp_path / "partition.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    if forged is None:
        del arrays[name]
    else:
        arrays[name] = np.asarray(forged)
    with (tmp_path / "partition.npz").open("wb") as stream:
        np.savez(stream, **arrays)
    with pytest.raises(ValueError, match=r".+"):
        QuantizedIndex.load(tmp_path, dimension=D)


@pytest.mark.parametrize("name", ["moments.npz", "partition.npz"])
@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", b"pickled"])
def test_an_archive_that_is_none(rng: np.random.Generator, tmp_path: Path, name: str, content: bytes) -> None:
    QuantizedIndex.build(np.arange(50), gathered(rng, 50), dimension=D).save(tmp_path)
    if content == b"pickled":
        with (tmp_path / name).open("wb") as stream:
            np.savez(stream, mean=np.array([object()]), second=np.zeros(3))
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r".+"):
        QuantizedIndex.load(tmp_path, dimension=D)


@pytest.mark.usefixtures("few_tuning_queries")
def test_cells_are_made_anew_when_they_are_outgrown(rng: np.random.Generator) -> None:
    index = QuantizedIndex.build(np.arange(2000), gathered(rng, 2000), dimension=D)
    some = index.updated(np.arange(5000, 5500), gathered(rng, 500), np.arange(100))
    assert some.partition is index.partition
    short = 0.5 * gathered(rng, 700)  # within the range of the rows: only their number makes the cells anew
    many = some.updated(np.arange(6000, 6700), short, np.empty(0, np.int64))
    assert many.partition.trained == len(many) == 2000 - 100 + 500 + 700


@pytest.mark.usefixtures("few_tuning_queries")
def test_numbers_beyond_the_range_are_kept(rng: np.random.Generator) -> None:
    """A vector far longer than all before does not fit the rows' units: they are made anew."""
    rows = gathered(rng, 250)
    index = QuantizedIndex.build(np.arange(250), rows, dimension=D)
    long = index.updated(np.array([900]), 50 * rows[:1], np.empty(0, np.int64))
    scores, ids = long.search(rows[:1], 2)
    assert ids[0, 0] == 900
    np.testing.assert_allclose(scores[0, 0], 50, rtol=1e-4)


@given(st.integers(0, 2**31), st.booleans())
def test_what_is_written_while_folding_is_carried_over(seed: int, quantized: bool) -> None:
    rng = np.random.default_rng(seed)
    base, _ = suited(
        FlatIndex.build(np.arange(30), gathered(rng, 30), dimension=D), "quantized" if quantized else "flat"
    )
    began = LiveIndex.over(base)

    def written(live: LiveIndex) -> LiveIndex:
        ids = rng.choice(40, rng.integers(0, 12), replace=False)
        return live.updated(ids, gathered(rng, len(ids)), rng.choice(45, rng.integers(0, 12), replace=False))

    began = written(began)
    now = written(written(began))
    carried = now.carried(began, began.compacted())
    assert sorted(carried.ids) == sorted(now.ids)
    np.testing.assert_array_equal(carried.vectors(np.arange(45)), now.vectors(np.arange(45)))
    assert len(carried.tail) <= len(now.tail)


@given(st.lists(st.integers(0, 4), min_size=4, max_size=4).filter(any), st.integers(0, 2**31))
def test_the_compiled_sums_are_those_of_the_numbers(counts: list[int], seed: int) -> None:
    """Of every way that this processor has."""
    rng = np.random.default_rng(seed)
    bits = np.concatenate([np.full(count * 32 // width, width) for count, width in zip(counts, WIDTHS, strict=True)])
    numbers = (rng.integers(0, 256, size=(32, len(bits))) % 2**bits).astype(np.uint8)
    query = rng.integers(-127, 128, size=len(bits)).astype(np.int8)
    blocks = interleaved(packed(numbers, np.array(counts)))
    np.testing.assert_array_equal(interleaved(separated(blocks)), blocks)
    expected = numbers.astype(np.int64) @ query
    least = np.int32(np.median(expected))
    begin = np.arange(16, dtype=np.int32)
    for sums in compiled_sums():
        out = np.zeros((2, 16), np.int32)
        for block, row in zip(blocks, out, strict=True):
            sums(block, query, *counts, begin, least, row)
        np.testing.assert_array_equal(out.ravel(), expected + np.tile(begin, 2))
        masks = [sums(block, query, *counts, begin[:0], least, row) for block, row in zip(blocks, out, strict=True)]
        np.testing.assert_array_equal(out.ravel(), expected)
        above = np.concatenate([np.array([mask >> lane & 1 for lane in range(16)]) for mask in masks])
        np.testing.assert_array_equal(above.astype(bool), expected > least)


@functools.cache
def compiled_sums() -> list:
    """``block_products`` by every way, as a function of arrays."""

    def sums_by(products):
        def sums(block, query, n8, n4, n2, n1, begin, least, out):
            start = begin.ctypes.data if len(begin) else np.uint64(0)
            return products(block.ctypes.data, query.ctypes.data, n8, n4, n2, n1, start, least, out.ctypes.data)

        return numba.njit(sums)

    return [sums_by(products_by(way)) for way in ways_here()]


def test_bits_go_where_the_variance_is() -> None:
    steep = variances_to_layout(np.arange(1, 513) ** -2.0)
    flat = variances_to_layout(np.ones(512))
    assert flat.counts.tolist() == [0, 0, 0, 16]
    assert steep.counts[1] > 0
    assert (np.diff(steep.bits) <= 0).all()
    assert flat.groups == steep.groups == 16


def test_long_codes_are_as_long_as_they_must_be() -> None:
    steep, flat = np.arange(1, 513) ** -2.0, np.ones(512)
    assert variances_to_long(steep, float(np.sqrt(steep.sum()))).groups == 32
    assert variances_to_long(flat, float(np.sqrt(flat.sum()))).groups == 64
    assert variances_to_long(flat, 10 * float(np.sqrt(flat.sum()))).groups == 32  # residuals of much longer vectors


@pytest.mark.parametrize("d", [64, 512])
def test_codes_lose_what_they_were_laid_out_to_lose(rng: np.random.Generator, d: int) -> None:
    """The error over normal numbers is the one that the quantisers' distortions say, so the steps are right."""
    variances = np.arange(1, d + 1) ** -1.0
    layout = variances_to_layout(variances)
    numbers = (rng.normal(size=(20_000, d)) * np.sqrt(variances)).astype(np.float32)
    lost = numbers.copy()
    lost[:, : len(layout.bits)] -= layout.decoded(layout.codes(numbers))
    distortion = np.array([{4: 0.01154, 2: 0.1188, 1: 0.3634}[bits] for bits in layout.bits.tolist()])
    expected = variances.copy()
    expected[: len(distortion)] *= distortion
    np.testing.assert_allclose((lost**2).mean(axis=0), expected, rtol=0.08)


def test_blocks_are_verified_once(rng: np.random.Generator) -> None:
    array = rng.normal(size=(1000, 3)).astype(np.float32)
    checked = Checked(array, checksums(array), Path("x"))
    checked.ensure(np.array([5, 70]))
    array[6] = 0  # in a block that has been verified
    checked.ensure(np.array([7]))
    array[999] = 0
    with pytest.raises(CorruptData, match="row 960"):
        checked.ensure_all()
    with pytest.raises(ValueError, match="checksums"):
        Checked(array, checksums(array)[1:], Path("x"))


def test_what_is_verified_behind_is_not_asked_again(collection, tmp_path: Path) -> None:
    """A flipped byte in the file is not passed by the thread that reads it."""
    _, index = collection
    index.save(tmp_path)
    loaded = QuantizedIndex.load(tmp_path, dimension=D)
    end = time.monotonic() + 20
    while not (loaded.rows.fine_checked and loaded.rows.fine_checked.done):
        assert time.monotonic() < end, "never done"
        time.sleep(0.01)
    path = tmp_path / "fine.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    again = QuantizedIndex.load(tmp_path, dimension=D)
    with pytest.raises(CorruptData, match=r"fine\.npy"):
        again.rows.all_fine()


def test_many_models_get_codes() -> None:
    assert reason(MANY)[0] == "quantized"
    assert f"{MANY} or more" in reason(MANY)[1]


def test_a_mapped_file_with_bytes_before_its_rows_is_refused(tmp_path: Path) -> None:
    """What is verified behind a search is read from the file's end: the rows must end there, too."""
    rows = gathered(np.random.default_rng(3), 150)
    QuantizedIndex.build(np.arange(150), rows, dimension=D).save(tmp_path)
    whole = (tmp_path / "fine.npy").read_bytes()
    start = len(whole) - 2 * D * (len(whole) - 128) // (2 * D)
    (tmp_path / "fine.npy").write_bytes(whole[:start] + bytes(64) + whole[start:])
    with pytest.raises(ValueError, match="bytes, not"):
        QuantizedIndex.load(tmp_path, dimension=D)


def test_a_mapped_file_whose_header_cannot_be_parsed_is_damaged(tmp_path: Path) -> None:
    """``fine.npy`` is not hashed when it is opened, and NumPy raises more than ``ValueError`` for its header."""
    about = {"collection": "c", "encoder": "e", "fingerprint": "f", "space": "s", "version": ""}
    index = QuantizedIndex.build(np.arange(150), gathered(np.random.default_rng(3), 150), dimension=D)
    manifest = snapshots.publish(tmp_path, index, **about, change=1, dimension=D)
    path = tmp_path / manifest.generation / "fine.npy"
    path.write_bytes(path.read_bytes().replace(b"{'descr'", b"('descr'"))
    with pytest.raises(CorruptData, match="cannot be read"):
        snapshots.load_current(tmp_path)
