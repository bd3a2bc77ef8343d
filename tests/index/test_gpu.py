"""The GPU index with cards in main memory: honest ones, and ones that answer wrongly, raise, or run out of memory."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from engine.errors import MissingDependency
from engine.index import FlatIndex, LiveIndex, QuantizedIndex, choose, dispatcher
from engine.index.choose import built, reopened, suited
from engine.index.device import find_device, require_device
from engine.index.dispatcher import Dispatcher
from engine.index.gpu import GpuIndex
from engine.index.proof import matrix_to_probes, rounding
from engine.scores import unit
from tests.index.gpus import FAULTS, FaultyCard, HonestCard

D, N = 24, 200
MOMENTS = ("build", "open", "search")


@pytest.fixture
def rows(rng: np.random.Generator) -> np.ndarray:
    return unit(rng.normal(size=(N, D)).astype(np.float32))


@pytest.fixture
def flat(rows: np.ndarray) -> FlatIndex:
    return FlatIndex.build(np.arange(N) * 2, rows, dimension=D)


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch):
    """Put a card into this machine: ``fitted(make)``; and let few models be worth it."""

    def fit(make) -> None:
        monkeypatch.setattr(choose, "WORTH", 100)
        for name in ("require_device", "find_device"):
            monkeypatch.setattr(choose, name, lambda: make)
        monkeypatch.setattr(choose, "any_device", make)

    return fit


def check_exact(index, flat: FlatIndex, queries: np.ndarray, **asked) -> None:
    ours, theirs = index.search(queries, **asked), flat.search(queries, asked["k"], allowed=asked.get("allowed"))
    np.testing.assert_array_equal(ours[1], theirs[1])
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5, atol=1e-5 * np.linalg.norm(queries, axis=1).max())


# --- what an honest card gives


def test_what_the_card_proposes_is_scored_exactly(flat: FlatIndex, rows: np.ndarray) -> None:
    """Also with a filter, which no card knows, with more answers than it gives, and queries of any length."""
    index = GpuIndex.proven(flat, HonestCard)
    assert not index.refused
    for k in (1, 10, 160, 190, 300):
        for allowed in (None, np.arange(0, 400, 50)):
            for recall in (0.9, 1.0):
                check_exact(index, flat, 300 * rows[:7], k=k, allowed=allowed, recall=recall)
    np.testing.assert_array_equal(index.search(np.zeros((1, D), np.float32), 3)[0], np.zeros((1, 3)))
    assert index.search(np.full((1, D), np.nan, np.float32), 3)[1].tolist() == [[-1, -1, -1]]
    assert index.search(np.empty((0, D), np.float32), 3)[1].shape == (0, 3)
    assert not index.refused


def test_many_queries_go_to_the_card_in_pieces(flat: FlatIndex, rng: np.random.Generator) -> None:
    cards: list[HonestCard] = []
    index = GpuIndex.proven(flat, lambda matrix: cards.append(HonestCard(matrix)) or cards[0])
    del cards[0].asked[:]
    check_exact(index, flat, unit(rng.normal(size=(600, D)).astype(np.float32)), k=5, recall=0.9)
    assert [count for count, _ in cards[0].asked] == [256, 256, 88]


def test_a_crowd_within_rounding_is_still_ordered(flat: FlatIndex, rows: np.ndarray) -> None:
    """More vectors than the margin differ by less than 16 bits can tell."""
    crowd = unit((rows[:1] + 1e-5 * rows[:100]).astype(np.float32))
    everything = np.concatenate([rows, crowd])
    index = GpuIndex.proven(FlatIndex.build(np.arange(300), everything, dimension=D), HonestCard)
    expected = np.sort(everything @ rows[0])[::-1][:10]
    np.testing.assert_allclose(index.search(rows[:1], 10)[0][0], expected, atol=1e-6)


def test_the_probes_are_what_they_should_be(rows: np.ndarray) -> None:
    probes = matrix_to_probes(rows)
    assert probes.shape == (64, D)
    np.testing.assert_allclose(np.linalg.norm(probes, axis=1), 1, rtol=1e-6)
    assert len(np.unique(probes, axis=0)) == 56
    assert 28 <= (probes @ rows.T > 1 - 1e-6).any(axis=1).sum() < 50
    assert rounding(1.0) < 2e-3


def test_a_few_models_ask_no_card(rows: np.ndarray) -> None:
    few = FlatIndex.build(np.arange(9), rows[:9], dimension=D)
    index = GpuIndex.proven(few, lambda matrix: pytest.fail("asked"))
    check_exact(index, few, rows[:2], k=3)
    assert not index.refused


# --- the dispatcher


def test_one_thread_asks_the_card(rows: np.ndarray) -> None:
    """Whoever asks; and what is asked meanwhile goes together."""
    threads: set[int] = set()

    class Card(HonestCard):
        def search(self, queries: np.ndarray, k: int):
            threads.add(threading.get_ident())
            return super().search(queries, k)

    card = Card(rows)
    asking = Dispatcher(lambda: card)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: asking.search(rows[at : at + 1 + at % 3], 1 + at % 5), range(150)))
    for at, (scores, places) in enumerate(found):
        assert scores.shape == places.shape == (1 + at % 3, 1 + at % 5)
        assert places[:, 0].tolist() == list(range(at, at + 1 + at % 3))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert sum(size for size, _ in card.asked) == sum(1 + at % 3 for at in range(150))


def test_an_error_of_the_card_reaches_who_asked(rows: np.ndarray) -> None:
    """And the next one is answered."""

    class Card(HonestCard):
        def search(self, queries: np.ndarray, k: int):
            if k == 3:
                raise RuntimeError("out of memory")
            return super().search(queries, k)

    asking = Dispatcher(lambda: Card(rows))
    with pytest.raises(RuntimeError, match="out of memory"):
        asking.search(rows[:1], 3)
    assert asking.search(rows[:1], 1)[1].tolist() == [[0]]


def test_a_card_is_freed_with_its_index(flat: FlatIndex) -> None:
    held: list[weakref.ref] = []

    def make(matrix: np.ndarray) -> HonestCard:
        card = HonestCard(matrix)
        held.append(weakref.ref(card))
        return card

    index = GpuIndex.proven(flat, make)
    thread = index._card.thread
    assert held[0]() is not None
    del index
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    gc.collect()
    assert held[0]() is None


def test_a_card_that_does_not_answer_is_given_up(flat: FlatIndex, rows: np.ndarray, monkeypatch) -> None:
    stuck, silent = threading.Event(), threading.Event()

    class Card(HonestCard):
        def search(self, queries: np.ndarray, k: int):
            if silent.is_set():
                stuck.wait(10)
            return super().search(queries, k)

    index = GpuIndex.proven(flat, Card)
    monkeypatch.setattr(dispatcher, "PATIENCE", 0.05)
    silent.set()
    check_exact(index, flat, rows[:2], k=3)
    assert "TimeoutError" in index.refused
    stuck.set()


# --- what is chosen, and what is not


def test_without_a_gpu_it_is_refused(flat: FlatIndex, tmp_path: Path, monkeypatch) -> None:
    """By name; of itself, nothing is chosen that is not there, and a snapshot of a card's index is served."""
    monkeypatch.setattr("engine.index.faiss_device.faiss_sees_gpu", lambda: False)
    monkeypatch.setattr("engine.index.torch_device.may_see_cuda", lambda: False)
    assert find_device() is None
    for ask in (
        require_device,
        lambda: suited(flat, "gpu"),
        lambda: built(flat.ids, flat.matrix, dimension=D, wanted="gpu"),
    ):
        with pytest.raises(MissingDependency, match="no GPU"):
            ask()
    monkeypatch.setattr(choose, "WORTH", 100)
    assert suited(flat)[0].kind != "gpu"
    GpuIndex(flat).save(tmp_path)
    with pytest.raises(MissingDependency, match="no GPU"):
        reopened(GpuIndex.load(tmp_path, dimension=D), "", "gpu")
    index, why = reopened(GpuIndex.load(tmp_path, dimension=D), "there is a GPU")
    assert why == "the GPU was given up: there is no GPU that FAISS or torch can use"
    check_exact(index, flat, flat.matrix[:3], k=4)


@pytest.mark.parametrize("wanted", ["auto", "gpu"])
def test_an_honest_card_is_chosen(flat: FlatIndex, rows: np.ndarray, fitted, tmp_path: Path, wanted: str) -> None:
    """When built, when opened, and when writes are folded in."""
    fitted(HonestCard)
    index, why = built(flat.ids, rows, dimension=D, wanted=wanted)
    assert index.kind == "gpu"
    assert ("there is a GPU" in why) == (wanted == "auto")
    index.save(tmp_path)
    opened, again = reopened(GpuIndex.load(tmp_path, dimension=D), why, wanted)
    assert (opened.kind, again, opened.refused) == ("gpu", why, "")
    live = LiveIndex.over(opened, wanted=wanted, why=why).updated(np.array([999]), -rows[:1], np.array([0]))
    assert not live.overgrown
    folded = live.compacted().base
    assert isinstance(folded, GpuIndex)
    assert folded._card is not None
    assert folded.search(-rows[:1], 1)[1].tolist() == [[999]]


@pytest.mark.parametrize("fault", [*FAULTS, "cannot be made", "does not fit"])
@pytest.mark.parametrize("wanted", ["auto", "gpu"])
def test_a_card_that_fails_its_probes_does_not_serve(
    flat: FlatIndex, rows: np.ndarray, fitted, tmp_path: Path, caplog, fault: str, wanted: str
) -> None:
    """When the index is built, opened, and made anew of writes: one warning, and the reason is kept."""
    made: list[int] = []

    def make(matrix: np.ndarray) -> FaultyCard:
        made.append(len(matrix))
        if fault == "cannot be made":
            raise RuntimeError("no kernel image is available")
        if fault == "does not fit":
            raise MemoryError("CUDA out of memory")
        return FaultyCard(matrix, fault)

    said = {"cannot be made": "no kernel image", "does not fit": "MemoryError: CUDA out of memory"}.get(fault)
    said = said or FAULTS[fault][1]
    fitted(make)
    with caplog.at_level(logging.WARNING, "engine.index"):
        index, why = built(flat.ids, rows, dimension=D, wanted=wanted)
        assert index.kind == "flat"
        assert "the GPU was given up" in why
        assert said in why
        check_exact(index, flat, rows[:5], k=7)
        live = LiveIndex.over(index, wanted=wanted, why=why)
        folded = live.updated(np.array([999]), -rows[:1], np.array([0])).compacted()
        assert folded.base.kind == "flat"
        assert folded.base.search(-rows[:1], 1)[1].tolist() == [[999]]
        assert said in folded.why
    assert made == [N], "it is not tried again"
    assert len(caplog.records) == 1
    assert said in caplog.text

    caplog.clear()
    GpuIndex(flat).save(tmp_path)
    with caplog.at_level(logging.WARNING, "engine.index"):
        opened, why = reopened(GpuIndex.load(tmp_path, dimension=D), "there is a GPU", wanted)
        assert said in why
        check_exact(opened, flat, rows[:5], k=7)
        live = LiveIndex.over(opened, wanted=wanted, why=why)
        assert live.overgrown
        suits = live.compacted()
    assert suits.base.kind == "flat"
    assert said in suits.why
    assert not suits.overgrown
    assert len(caplog.records) == 1


@pytest.mark.parametrize("fault", sorted({*FAULTS} - {"the worst first", "not the best", "only when many"}))
def test_a_card_that_fails_while_it_serves_is_left(
    flat: FlatIndex, rows: np.ndarray, fitted, caplog, fault: str
) -> None:
    """Every search is answered, also those that were under way; it is said once, and the card is not tried again."""
    cards: list[FaultyCard] = []

    def make(matrix: np.ndarray) -> FaultyCard:
        cards.append(FaultyCard(matrix, fault, broken=False))
        return cards[-1]

    fitted(make)
    index, why = suited(flat)
    live = LiveIndex.over(index, why=why)
    check_exact(live, flat, rows[:5], k=7)
    assert not live.overgrown
    cards[0].broken = True
    with caplog.at_level(logging.WARNING, "engine.index"), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda at: check_exact(live, flat, rows[at : at + 2], k=3, recall=at % 2 or 0.9), range(40)))
    assert len(caplog.records) == 1
    assert FAULTS[fault][1] in live.base.refused
    asked = len(cards[0].asked)
    check_exact(live, flat, rows[:2], k=3)
    assert len(cards[0].asked) == asked
    assert live.overgrown
    suits = live.compacted()
    assert suits.base.kind == "flat"
    assert FAULTS[fault][1] in suits.why
    assert len(cards) == 1


def test_a_large_collection_falls_back_to_codes(fitted, monkeypatch, rng: np.random.Generator) -> None:
    fitted(lambda matrix: FaultyCard(matrix, "nan"))
    monkeypatch.setattr(choose, "MANY", 300)
    rows = unit(rng.normal(size=(400, 16)).astype(np.float32))
    index, why = built(np.arange(400), rows, dimension=16)
    assert isinstance(index, QuantizedIndex)
    assert why.startswith("the GPU was given up: a score is not finite; 400 models are 300 or more")
    assert suited(index, "gpu")[0] is index
