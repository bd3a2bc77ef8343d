"""Search on a GPU: FAISS's flat index in 16-bit floats, or cells where the card is too small, refined in float32.

The card proposes, the flat index beside it in main memory decides: more candidates than are wanted come from the card,
and are scored again by their float32 vectors. FAISS's GPU indexes are not safe for threads, not even for reads, so one
thread owns the card; what other threads ask meanwhile is put together into one batch.

Written against FAISS's documented interface. Where it was written there was no GPU, so that what needs one has
**not been run**: ``tests/index/test_gpu.py`` has the tests, which are skipped without one. The dispatcher and the
refinement are tested with an index in main memory in the card's place.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from engine.errors import MissingDependency
from engine.index.base import Float32, Int64
from engine.index.flat import FlatIndex, read_rows

log = logging.getLogger("engine.index")
MARGIN = 32
"""More candidates than answers that come from the card: 16-bit rounding swaps no further, see ``refined``."""
LARGEST_K = 2048
"""More cannot be asked of FAISS's GPU indexes."""
TEMPORARY = 256 * 2**20
"""Bytes of the card that FAISS may work in; its default is 1.5 GiB."""
PROBES = 64
"""Cells that are searched where the vectors do not fit the card whole, and lie in cells as 8-bit numbers."""
BATCH = 256
"""Queries that are put together at most."""


class Device(Protocol):
    """What the dispatcher asks: FAISS's own interface."""

    def search(self, queries: Float32, k: int) -> tuple[Float32, Int64]:
        """Scores and rows ``(m, k)``."""
        ...


@dataclass(frozen=True, eq=False)
class _Asked:
    queries: Float32
    k: int
    answer: Future[tuple[Float32, Int64]]


class Dispatcher:
    """The one thread that touches the card. ``make`` is called in it, and so makes the device index there."""

    def __init__(self, make: Callable[[], Device]) -> None:
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=_serve, args=(self._asked, make, ready), name="gpu", daemon=True)
        self._thread.start()
        ready.result()
        weakref.finalize(self, self._asked.put, None)

    def search(self, queries: Float32, k: int) -> tuple[Float32, Int64]:
        """Scores and rows ``(m, k)``, from any thread. Raises what the device raises."""
        answer: Future[tuple[Float32, Int64]] = Future()
        self._asked.put(_Asked(queries, k, answer))
        return answer.result()


def _serve(asked: queue.SimpleQueue[_Asked | None], make: Callable[[], Device], ready: Future[None]) -> None:
    try:
        device = make()
    except Exception as error:
        ready.set_exception(error)
        return
    ready.set_result(None)
    while (first := asked.get()) is not None:
        together, closing = [first], False
        while not closing and sum(len(one.queries) for one in together) < BATCH and not asked.empty():
            more = asked.get()
            closing = more is None
            if more is not None:
                together.append(more)
        _answer(device, together)
        if closing:
            return


def _answer(device: Device, together: list[_Asked]) -> None:
    try:
        queries = np.concatenate([one.queries for one in together])
        scores, rows = device.search(np.ascontiguousarray(queries), max(one.k for one in together))
    except Exception as error:  # it belongs to whoever asked, and the thread must live
        for one in together:
            one.answer.set_exception(error)
        return
    start = 0
    for one in together:
        stop = start + len(one.queries)
        one.answer.set_result((scores[start:stop, : one.k], rows[start:stop, : one.k]))
        start = stop


class GpuIndex(FlatIndex):
    """A flat index whose candidates come from a card. Filters, and more than 2 048 answers, are served by the flat one.

    Exact where the vectors fit the card whole: what the 16-bit scores order wrongly lies close together, and
    ``MARGIN`` more candidates than wanted are scored in float32; should the last of them still be within rounding of
    the last answer, the flat index is asked instead.
    """

    kind: ClassVar[str] = "gpu"
    exact: ClassVar[bool] = False
    flat_first: ClassVar[bool] = True

    def __init__(self, ids: Int64, vectors: Float32, dimension: int, device: Dispatcher | None = None) -> None:
        super().__init__(ids, vectors, dimension)
        self._whole = True
        self._device = Dispatcher(self._on_card) if device is None else device

    @classmethod
    def build(cls, ids: Int64, vectors: Float32, *, dimension: int) -> GpuIndex:
        """See the base class.

        Raises:
            MissingDependency: there is no GPU, or no FAISS that can use one.
        """
        require_gpu()
        return cls(ids, vectors, dimension)

    @classmethod
    def load(cls, folder: Path, *, dimension: int) -> FlatIndex:
        """See the base class. Where there is no GPU, the flat index of the same vectors."""
        ids, vectors = read_rows(folder, dimension)
        return cls(ids, vectors, dimension) if has_gpu() else FlatIndex(ids, vectors, dimension)

    def _of_stored(self, ids: Int64, stored: Float32) -> FlatIndex:
        return FlatIndex(ids, stored, self._dimension)  # the card is filled once the kind has been chosen

    def search(
        self, queries: Float32, k: int, *, allowed: Int64 | None = None, recall: float = 1.0
    ) -> tuple[Float32, Int64]:
        """See the base class. FAISS's GPU indexes ignore selectors, so filters go to the flat index."""
        width = k + MARGIN
        if allowed is not None or width > LARGEST_K or width >= len(self) or (recall >= 1 and not self._whole):
            return super().search(queries, k, allowed=allowed)
        rough, rows = self._device.search(queries, width)
        if (rows < 0).any():
            return super().search(queries, k)
        scores = np.einsum("qwd,qd->qw", self._stored(rows.ravel()).reshape(*rows.shape, -1), queries)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(scores, order, axis=1).astype(np.float32)
        if recall >= 1 and (rough[:, -1] + rounding(queries, self._longest) >= best[:, -1]).any():
            return super().search(queries, k)
        return best, self._ids[np.take_along_axis(rows, order, axis=1)]

    @cached_property
    def _longest(self) -> float:
        return max(float(np.sqrt(np.einsum("nd,nd->n", rows, rows).max())) for rows in self.blocks())

    def _on_card(self) -> Device:
        if self.flat_first:
            try:
                return self._flat_on_card()
            except RuntimeError as error:  # FAISS has no other for a card that is full
                log.info("%d vectors do not fit the card whole: %s", len(self), error)
        self._whole = False
        return self._cells_on_card()

    def _resources(self) -> Any:
        resources = self._faiss.StandardGpuResources()
        resources.setTempMemory(TEMPORARY)
        return resources

    def _flat_on_card(self) -> Device:
        config = self._faiss.GpuIndexFlatConfig()
        config.useFloat16 = True
        resources = self._resources()
        index = self._faiss.GpuIndexFlatIP(resources, self._dimension, config)
        index.add(self._matrix)
        index.resources_of_ours = resources  # they must outlive it
        device: Device = index
        return device

    def _cells_on_card(self) -> Device:
        faiss, cells = self._faiss, max(len(self) // 256, 1)
        coarse, eight = faiss.IndexFlatIP(self._dimension), faiss.ScalarQuantizer.QT_8bit
        trained = faiss.IndexIVFScalarQuantizer(coarse, self._dimension, cells, eight, faiss.METRIC_INNER_PRODUCT)
        trained.train(self._matrix[:: max(len(self) // (64 * cells), 1)])
        resources = self._resources()
        index = faiss.index_cpu_to_gpu(resources, 0, trained)
        index.nprobe = PROBES
        index.add(self._matrix)
        index.resources_of_ours = resources
        device: Device = index
        return device


def rounding(queries: Float32, longest: float) -> Float32:
    """How far a 16-bit score may be from the float32 one ``(m,)``: half a unit in the last place, of both."""
    lengths = np.linalg.norm(queries, axis=1)
    return np.asarray(2.0**-10 * lengths * longest + 2.0**-20, np.float32)


def has_gpu() -> bool:
    """Whether FAISS can use a GPU here."""
    try:
        require_gpu()
    except MissingDependency:
        return False
    return True


def require_gpu() -> None:
    """Raises: MissingDependency: there is no GPU, or no FAISS that can use one."""
    import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        raise MissingDependency("this FAISS has no GPU code", hint="see GPU in docs/install.md")
    if not faiss.get_num_gpus():
        raise MissingDependency("there is no GPU that FAISS can use", hint="use index_kind auto")
