"""Work that several threads want at once is done once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """The first to ask for a key does its work; those that ask meanwhile wait for its result. Nothing is kept."""

    def __init__(self) -> None:
        self._running: dict[Hashable, Future[Result]] = {}
        self._lock = threading.Lock()

    def run(self, key: Hashable, work: Callable[[], Result]) -> Result:
        """What ``work`` returns, or raises, for whoever asked."""
        with self._lock:
            found = self._running.get(key)
            mine = found is None
            future: Future[Result] = Future() if found is None else found
            self._running[key] = future
        if mine:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            finally:
                with self._lock:
                    del self._running[key]
        return future.result()
