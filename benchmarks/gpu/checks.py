"""What must hold on a card, as functions of a torch device: pytest runs them, and so does ``make gpu`` without it.

They ask NumPy and torch alone, but those of FAISS. What cannot be checked on a device raises ``Skipped``.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from benchmarks.gpu.plain import PlainIndex, best_rows
from engine.index import torch_device
from engine.index.dispatcher import Dispatcher
from engine.index.faiss_device import FaissDevice, faiss_sees_gpu
from engine.index.gpu import GpuIndex
from engine.index.gpu_factors import GpuFactors
from engine.index.proof import rounding
from engine.index.torch_device import TorchDevice

D = 40


class Skipped(Exception):
    """It cannot be checked here, and why."""


def unit_rows(n: int, seed: int = 0, d: int = D) -> np.ndarray:
    """Random vectors ``(n, d)`` of unit norm."""
    wide = np.random.default_rng(seed).standard_normal((n, d))
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True), np.float32)


def check_scores(device: object, matrix: np.ndarray, error: float) -> None:
    """One query and many, one answer and many: each score within the error of its row's, and of its rank's."""
    for count, k in ((1, 1), (1, 10), (7, 10), (300, 100), (2, len(matrix) - 1)):
        queries = unit_rows(count, seed=count)
        scores, rows = device.search(queries, k)  # type: ignore[attr-defined]
        assert (scores.dtype, rows.dtype, scores.shape, rows.shape) == (np.float32, np.int64, (count, k), (count, k))
        assert all(len(set(own)) == k for own in rows.tolist())
        true = np.einsum("mkd,md->mk", matrix[rows].astype(np.float64), queries)
        np.testing.assert_allclose(scores, true, atol=error)
        np.testing.assert_allclose(scores, best_rows(matrix, queries, k)[0], atol=error)


def torch_answers_in_16_bits(device: str) -> None:
    """Within their rounding; d is no multiple of what tensor cores take."""
    for d in (D, 33):
        matrix = unit_rows(3000, d=d)
        if d == D:
            check_scores(TorchDevice(matrix, device), matrix, rounding(1.0))
        queries = unit_rows(5, seed=9, d=d)
        found = TorchDevice(matrix, device).search(queries, 3)[0]
        np.testing.assert_allclose(found, best_rows(matrix, queries, 3)[0], atol=rounding(1.0))


def torch_answers_in_32_bits(device: str) -> None:
    """Exactly, up to sums in float32."""
    matrix = unit_rows(3000)
    check_scores(TorchDevice(matrix, device, half=False), matrix, 1e-5)


def scores_are_made_in_pieces(device: str) -> None:
    """Whatever the memory allows, the answers are the same."""
    matrix, queries = unit_rows(5000), unit_rows(50, seed=2)
    whole = TorchDevice(matrix, device).search(queries, 20)
    kept = torch_device.SCORES, torch_device.WIDENED
    try:
        torch_device.SCORES, torch_device.WIDENED = 4 * 50 * 333, 100
        pieces = TorchDevice(matrix, device).search(queries, 20)
    finally:
        torch_device.SCORES, torch_device.WIDENED = kept
    np.testing.assert_allclose(pieces[0], whole[0], atol=1e-5)
    assert np.mean(pieces[1] == whole[1]) > 0.99


def index_is_exact_when_asked(device: str) -> None:
    """A card proves itself, and answers as a scan does, also where a crowd lies within rounding."""
    _index_is_exact(partial(TorchDevice, device=device))


def faiss_index_is_exact_when_asked(device: str) -> None:
    """The same by FAISS."""
    if not device.startswith("cuda") or not faiss_sees_gpu():
        raise Skipped("FAISS sees no GPU")
    _index_is_exact(FaissDevice)
    matrix = unit_rows(3000)
    check_scores(FaissDevice(matrix), matrix, rounding(1.0))
    check_scores(FaissDevice(matrix, half=False), matrix, 1e-5)


def _index_is_exact(make: Callable[[np.ndarray], object]) -> None:
    rows = unit_rows(4000)
    crowd = rows[:1] + 1e-5 * rows[:300]
    matrix = np.concatenate([rows, crowd / np.linalg.norm(crowd, axis=1, keepdims=True)]).astype(np.float32)
    index = GpuIndex.proven(PlainIndex(np.arange(len(matrix)) * 3, matrix), make)  # type: ignore[arg-type]
    assert not index.refused, index.refused
    for count in (1, 16, 300):
        queries = np.concatenate([rows[: count // 2 + 1], unit_rows(count, seed=5)])[:count]
        wanted = best_rows(matrix, queries, 10)[0]
        scores, ids = index.search(queries, 10, recall=1.0)
        np.testing.assert_allclose(scores, wanted, atol=1e-5)
        assert (ids % 3 == 0).all()
        np.testing.assert_allclose(index.search(queries[1:], 10, recall=0.9)[0], wanted[1:], atol=1e-5)
    assert not index.refused, index.refused


def many_threads_are_answered(device: str) -> None:
    """Each with what it asked."""
    matrix = unit_rows(2000)
    asking = Dispatcher(lambda: TorchDevice(matrix, device))
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda at: asking.search(matrix[at : at + 1 + at % 3], 1 + at % 5), range(200)))
    for at, (_, rows) in enumerate(found):
        assert rows.shape == (1 + at % 3, 1 + at % 5)
        assert rows[:, 0].tolist() == list(range(at, at + 1 + at % 3))


def what_does_not_fit_is_refused(device: str) -> None:
    """Ten petabytes: the flat index serves, and the card serves what comes next."""
    rows = unit_rows(200)

    def make(matrix: np.ndarray) -> TorchDevice:
        return TorchDevice(np.broadcast_to(matrix[:1], (10**14, D)), device)

    log = logging.getLogger("engine.index")
    said = log.disabled
    log.disabled = True
    try:
        index = GpuIndex.proven(PlainIndex(np.arange(200), rows), make)  # type: ignore[arg-type]
    finally:
        log.disabled = said
    assert index.refused
    assert index.search(rows[:3], 1)[1].ravel().tolist() == [0, 1, 2]
    _index_is_exact(partial(TorchDevice, device=device))


def memory_comes_back(device: str) -> None:
    """When an index is gone, so is what it had on the card."""
    if not device.startswith("cuda"):
        raise Skipped("torch counts the memory of CUDA devices")
    import torch

    def once() -> None:
        index = GpuIndex.proven(PlainIndex(np.arange(10**5), unit_rows(10**5)), partial(TorchDevice, device=device))  # type: ignore[arg-type]
        thread = index._card.thread if index._card is not None else None
        assert thread is not None, index.refused
        del index
        gc.collect()
        thread.join(10)

    once()
    gc.collect()
    before = torch.cuda.memory_allocated()
    once()
    gc.collect()
    assert torch.cuda.memory_allocated() <= before + 2**20


def densities_are_those_of_float64(device: str) -> None:
    """Of factors that come and go within their budget."""
    random = np.random.default_rng(1)
    triangles = np.tril(random.standard_normal((9, D, D))).astype(np.float32)
    log_dets, z = random.standard_normal(9), random.standard_normal((9, D)).astype(np.float32)
    wanted = np.square(np.einsum("nij,nj->ni", triangles.astype(np.float64), z)).sum(axis=1) + log_dets
    card = GpuFactors(D, 4 * (4 * D * D + 8), device)
    for start in (0, 3, 6, 1):
        ids = np.arange(start, start + 3)
        changes = np.ones(3, np.int64)
        new = ids[card.lacks(ids, changes)]
        card.put(new, changes[: len(new)], triangles[new], log_dets[new])
        np.testing.assert_allclose(card.distances(ids, changes, z[ids]), wanted[ids], rtol=1e-5)


CHECKS: tuple[Callable[[str], None], ...] = (
    torch_answers_in_16_bits, torch_answers_in_32_bits, scores_are_made_in_pieces, index_is_exact_when_asked,
    faiss_index_is_exact_when_asked, many_threads_are_answered, what_does_not_fit_is_refused, memory_comes_back,
    densities_are_those_of_float64,
)  # fmt: skip
