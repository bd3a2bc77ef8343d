"""Noticing what other processes have committed, without asking the database in the middle of a search."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

from engine.errors import EngineError

log = logging.getLogger("engine.search")


class ChangeWatcher:
    """Calls ``refresh`` of an owner whenever its database has changed; a thread that ends with its owner."""

    def __init__(self, owner: Any, last_change: Callable[[], int], interval: float, seen: int) -> None:
        """``owner`` has a method ``refresh``; ``interval`` is in seconds, ``seen`` the change that the owner knows."""
        self._owner = weakref.ref(owner)
        self._last_change = last_change
        self._interval = interval
        self._stop = threading.Event()
        self._seen = seen
        self._thread = threading.Thread(target=self._work, name="follow database", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop asking, and wait until nothing is being asked."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                newest = self._last_change()
                if newest == self._seen:
                    continue
                owner = self._owner()
                if owner is None:
                    return
                owner.refresh()
                del owner
                self._seen = newest
            except EngineError as error:  # locked, or gone for a while: searches go on with what they have
                log.info("the database could not be asked for changes: %s", error)
