"""What a server prepares before it says that it is ready: the index, the records of exact rules, the encoder."""

from __future__ import annotations

import logging
import threading
import time

from engine import Engine
from engine.errors import EngineError

log = logging.getLogger("engine.server")
EVERY = 10.0
"""Seconds between two lines about what is being prepared."""


class Warming:
    """Prepares a collection in a thread of its own. Threads may ask for its ``progress``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stage: str | None = "starting"
        self._since = time.monotonic()
        self._over = threading.Event()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._work, name="warm", daemon=True).start()
        threading.Thread(target=self._report, name="report warming", daemon=True).start()

    @property
    def progress(self) -> str | None:
        """What is being prepared and for how long, None once everything is."""
        stage = self._stage
        return None if stage is None else f"{stage} ({time.monotonic() - self._since:.0f} s)"

    def wait(self, seconds: float) -> bool:
        """Until everything is prepared, or so many seconds have passed; whether it is."""
        return self._over.wait(seconds)

    def _work(self) -> None:
        try:
            for stage, prepare in self._engine.services.search.warming().items():
                self._stage = stage
                try:
                    prepare()
                except EngineError as error:  # an empty collection, a missing encoder: whoever asks is told
                    log.info("%s: %s", stage, error)
        except EngineError as error:
            log.info("nothing could be prepared: %s", error)
        except Exception:
            log.exception("preparing failed")
        finally:
            self._stage = None
            self._over.set()

    def _report(self) -> None:
        while not self._over.wait(EVERY):
            log.warning("preparing: %s", self.progress)
