"""Giving memory back to the system after large requests: the C library would keep it for the next one."""

from __future__ import annotations

import ctypes
import threading
import time
from functools import cache

PAUSE = 1.0
"""Seconds between two returns, at least."""


class Returning:
    """A thread that returns freed memory when it is told that some became free. Threads may share it."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._over = False
        self._thread: threading.Thread | None = None

    def soon(self) -> None:
        """Return what is free within a second or two."""
        if _trim() is None or self._over:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
            self._thread.start()
        self._told.set()

    def close(self) -> None:
        """End the thread."""
        self._over = True
        self._told.set()

    def _run(self) -> None:
        trim = _trim()
        assert trim is not None, "started only where there is one"
        while self._told.wait() and not self._over:
            time.sleep(PAUSE)
            self._told.clear()
            trim(0)


@cache
def _trim() -> ctypes._NamedFuncPointer | None:
    """``malloc_trim`` of glibc, which releases the GIL; None elsewhere."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
