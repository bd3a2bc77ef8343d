"""When drawing has to end: after so many seconds or pixels, or because nobody waits for the pictures any longer.

A ``Stop`` goes with one request for pictures. Generators are asked for batches by ``draw(count, seed)`` alone, so the
one that a batch is drawn under is the thread's own for that time, and ``watched`` finds it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image

from engine.errors import GeneratorError

FEWER = "ask for fewer pictures"


class Stop:
    """The end of one request for pictures. Any thread may ``cancel`` it."""

    def __init__(self, seconds: float, pixels: int) -> None:
        """From now on ``seconds``, for ``pixels`` in all."""
        self._seconds, self._until = seconds, time.monotonic() + seconds
        self._most, self._pixels = pixels, 0
        self._wakers: set[threading.Event] = set()
        self._lock = threading.Lock()
        self.cancelled = False

    def cancel(self) -> None:
        """Nobody waits any longer."""
        with self._lock:
            self.cancelled = True
            for event in self._wakers:
                event.set()

    def left(self) -> float:
        """Seconds until drawing has to end; 0 if it has to now."""
        return 0.0 if self.cancelled else max(self._until - time.monotonic(), 0.0)

    @property
    def is_over(self) -> bool:
        """Whether it has ended what was drawn under it."""
        return self.left() == 0 or self._pixels > self._most

    def count(self, image: Image.Image) -> None:
        """Take a picture's pixels from those that may be drawn.

        Raises:
            GeneratorError: there are not so many left.
        """
        self._pixels += image.width * image.height
        if self._pixels > self._most:
            raise GeneratorError(f"pictures of more than {self._most} pixels in all were drawn", hint=FEWER)

    def check(self) -> None:
        """Refuse to go on.

        Raises:
            GeneratorError: the time is up, or nobody waits.
        """
        if self.cancelled:
            raise GeneratorError("drawing was cancelled")
        if not self.left():
            raise GeneratorError(f"drawing took longer than {self._seconds:g} seconds", hint=FEWER)

    @contextmanager
    def waking(self, event: threading.Event) -> Iterator[None]:
        """Set ``event`` when it is cancelled."""
        with self._lock:
            self._wakers.add(event)
            if self.cancelled:
                event.set()
        try:
            yield
        finally:
            with self._lock:
                self._wakers.remove(event)


class _Current(threading.local):
    stop: Stop | None = None


_current = _Current()


@contextmanager
def drawing_under(stop: Stop | None) -> Iterator[None]:
    """What this thread draws in the block ends with ``stop``."""
    before, _current.stop = _current.stop, stop
    try:
        yield
    finally:
        _current.stop = before


class Watch:
    """The time that one batch has."""

    def __init__(self, seconds: float) -> None:
        self._stop = _current.stop
        self._seconds, self._until = seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the batch has to end; 0 if it has to now."""
        own = max(self._until - time.monotonic(), 0.0)
        return own if self._stop is None else min(own, self._stop.left())

    def check(self, who: str) -> None:
        """Say why the batch had to end, if it had to.

        Raises:
            GeneratorError: it had to.
        """
        self.check_stop()
        if not self.left():
            raise GeneratorError(
                f"{who} was stopped after {self._seconds:g} seconds",
                hint="raise generator_timeout (ENGINE_GENERATOR_TIMEOUT), or draw in smaller batches",
            )

    def check_stop(self) -> None:
        """Likewise, if it was for the whole request's sake.

        Raises:
            GeneratorError: it was.
        """
        if self._stop is not None:
            self._stop.check()

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Call ``interrupt``, from another thread, if the batch has to end before the block does."""
        wake, done = threading.Event(), threading.Event()

        def wait() -> None:
            wake.wait(self.left())
            if not done.is_set():
                interrupt()

        thread = threading.Thread(target=wait, name="deadline", daemon=True)
        thread.start()
        try:
            if self._stop is None:
                yield
            else:
                with self._stop.waking(wake):
                    yield
        finally:
            done.set()
            wake.set()
            thread.join()
