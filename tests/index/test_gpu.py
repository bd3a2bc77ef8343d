"""The GPU index. What needs a card is skipped without one; dispatcher and refinement are tested with a stand-in."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest

from engine.errors import MissingDependency
from engine.index import FlatIndex
from engine.index.gpu import Dispatcher, GpuIndex, has_gpu
from engine.scores import unit

D = 24


def half_floats(rows: np.ndarray) -> faiss.Index:
    """What the card has: the same vectors in 16-bit floats, in main memory."""
    index = faiss.IndexScalarQuantizer(D, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add(rows)
    return index


@pytest.fixture
def rows(rng: np.random.Generator) -> np.ndarray:
    return unit(rng.normal(size=(2000, D)).astype(np.float32))


def test_what_the_card_proposes_is_scored_exactly(rows: np.ndarray) -> None:
    """Also with a filter, which the card would ignore, and with more answers than it gives."""
    index = GpuIndex(np.arange(2000) * 2, rows, D, Dispatcher(lambda: half_floats(rows)))
    flat = FlatIndex.build(np.arange(2000) * 2, rows, dimension=D)
    for k in (1, 10, 1990, 2500):
        for allowed in (None, np.arange(0, 4000, 50)):
            for recall in (0.9, 1.0):
                ours = index.search(rows[:7], k, allowed=allowed, recall=recall)
                theirs = flat.search(rows[:7], k, allowed=allowed)
                np.testing.assert_array_equal(ours[1], theirs[1])
                np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)


def test_a_crowd_within_rounding_is_still_ordered(rows: np.ndarray) -> None:
    """More vectors than the margin differ by less than 16 bits can tell."""
    crowd = unit((rows[:1] + 1e-5 * rows[:500]).astype(np.float32))
    everything = np.concatenate([rows, crowd])
    index = GpuIndex(np.arange(2500), everything, D, Dispatcher(lambda: half_floats(everything)))
    expected = np.sort(everything @ rows[0])[::-1][:10]
    np.testing.assert_allclose(index.search(rows[:1], 10)[0][0], expected, atol=1e-7)


def test_one_thread_asks_the_card(rows: np.ndarray) -> None:
    """Whoever asks; and what is asked meanwhile goes together."""

    threads: set[int] = set()
    sizes: list[int] = []

    class Device:
        def __init__(self) -> None:
            self.index = half_floats(rows)

        def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            threads.add(threading.get_ident())
            sizes.append(len(queries))
            return self.index.search(queries, k)

    dispatcher = Dispatcher(Device)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: dispatcher.search(rows[at : at + 1 + at % 3], 1 + at % 5), range(300)))
    for at, (scores, places) in enumerate(found):
        assert scores.shape == places.shape == (1 + at % 3, 1 + at % 5)
        assert places[:, 0].tolist() == list(range(at, at + 1 + at % 3))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert sum(sizes) == sum(1 + at % 3 for at in range(300))


def test_an_error_of_the_card_reaches_who_asked(rows: np.ndarray) -> None:
    """And the next one is answered."""
    index = half_floats(rows)

    class Device:
        def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            if k == 3:
                raise RuntimeError("out of memory")
            return index.search(queries, k)

    dispatcher = Dispatcher(Device)
    with pytest.raises(RuntimeError, match="out of memory"):
        dispatcher.search(rows[:1], 3)
    assert dispatcher.search(rows[:1], 1)[1].tolist() == [[0]]

    def broken() -> Device:
        raise RuntimeError("no card")

    with pytest.raises(RuntimeError, match="no card"):
        Dispatcher(broken)


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_without_a_gpu_it_is_refused_or_flat(rows: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="GPU"):
        GpuIndex.build(np.arange(2000), rows, dimension=D)
    GpuIndex(np.arange(2000), rows, D, Dispatcher(lambda: half_floats(rows))).save(tmp_path)
    assert type(GpuIndex.load(tmp_path, dimension=D)) is FlatIndex


@pytest.mark.skipif(not has_gpu(), reason="there is no GPU")
@pytest.mark.parametrize("fits", [True, False])
def test_on_a_gpu(rows: np.ndarray, monkeypatch, fits: bool) -> None:
    monkeypatch.setattr(GpuIndex, "flat_first", fits)
    index = GpuIndex.build(np.arange(2000), rows, dimension=D)
    flat = FlatIndex.build(np.arange(2000), rows, dimension=D)
    np.testing.assert_array_equal(index.search(rows[:50], 10)[1], flat.search(rows[:50], 10)[1])
    near = index.search(rows[:50], 10, recall=0.9)[1]
    assert np.mean([np.isin(a, b).mean() for a, b in zip(near, flat.search(rows[:50], 10)[1], strict=True)]) > 0.9
