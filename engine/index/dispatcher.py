"""One thread that owns a card's index, and puts together what other threads ask meanwhile.

FAISS's GPU indexes are not safe for threads, not even for reads.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from engine.index.base import Float32, Int64
from engine.index.device import BATCH, Device

PATIENCE = 60.0
"""Seconds after which a card that does not answer is given up."""


@dataclass(frozen=True, eq=False)
class _Asked:
    queries: Float32
    k: int
    answer: Future[tuple[Float32, Int64]]


class Dispatcher:
    """The one thread that touches the card. ``make`` is called in it, and so makes the device index there.

    The thread ends, and the card is freed, when nobody holds this object any more.
    """

    def __init__(self, make: Callable[[], Device]) -> None:
        """Wait until the index is there. Raises what ``make`` raises."""
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        ready: Future[None] = Future()
        making = [make]  # emptied by the thread: what it is made of must not live as long as the thread does
        self.thread = threading.Thread(target=_serve, args=(self._asked, making, ready), name="gpu", daemon=True)
        self.thread.start()
        ready.result()
        weakref.finalize(self, self._asked.put, None)

    def search(self, queries: Float32, k: int) -> tuple[Float32, Int64]:
        """Scores and rows ``(m, k)``, from any thread.

        Raises:
            TimeoutError: there was no answer within ``PATIENCE``.
            Exception: whatever the device raises.
        """
        answer: Future[tuple[Float32, Int64]] = Future()
        self._asked.put(_Asked(queries, k, answer))
        return answer.result(PATIENCE)


def _serve(
    asked: queue.SimpleQueue[_Asked | None], making: list[Callable[[], Device]], ready: Future[None]
) -> None:  # fmt: skip
    try:
        device = making.pop()()
    except BaseException as error:
        ready.set_exception(error)
        return
    ready.set_result(None)
    del ready
    while (first := asked.get()) is not None:
        together, closing = [first], False
        while not closing and sum(len(one.queries) for one in together) < BATCH and not asked.empty():
            more = asked.get()
            closing = more is None
            if more is not None:
                together.append(more)
        _answer(device, together)
        del first, together
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
