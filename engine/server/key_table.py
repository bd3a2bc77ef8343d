"""The collection's API keys in memory, so that judging a key costs a hash and no statement."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor

from engine.errors import EngineError
from engine.server.problems import Refused
from engine.storage.keys import Key, Keys, is_token_of, token_to_id

log = logging.getLogger("engine.server")
FRESH = 4.0
"""Seconds after which the keys are read again: a revoked one works for no more than five."""
EAGER = 1.0
"""Seconds between two readings, at least, that keys which are not known may cause: one may have just been made."""
STALE = 60.0
"""Seconds for which the keys are believed while the database does not answer."""
PATIENCE = 2.0
"""Seconds that a request waits for the keys to be read."""
NEVER = float("-inf")


class KeyTable:
    """Who has which key. One reading at a time, in a thread of its own: right keys wait for no wrong ones."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._rows: dict[str, tuple[str, Key]] = {}
        self._read_at = self._tried_at = NEVER
        self._reading: Future[None] | None = None
        self._reader = ThreadPoolExecutor(1, "keys")

    async def find(self, token: str) -> Key | None:
        """The key that a token belongs to, or None.

        Raises:
            Refused: 503, the database has not answered for a minute.
        """
        key_id = token_to_id(token)
        if key_id is None:
            return None
        await self._refresh(key_id)
        digest, key = self._rows.get(key_id, (None, None))
        return key if digest is not None and is_token_of(token, digest) else None

    async def by_id(self, key_id: str) -> Key | None:
        """The key of that id, if it has not been revoked.

        Raises:
            Refused: as ``find``.
        """
        await self._refresh(key_id)
        return self._rows.get(key_id, (None, None))[1]

    async def _refresh(self, key_id: str) -> None:
        """See that the keys are new enough to judge that one, or at least not too old."""
        now = time.monotonic()
        unseen = key_id not in self._rows and now - self._tried_at >= EAGER
        if now - self._read_at >= FRESH or unseen:
            await asyncio.wait([asyncio.wrap_future(self._read())], timeout=PATIENCE)
        elif now - self._read_at >= FRESH / 2:
            self._read()  # so that nobody waits for it later
        if time.monotonic() - self._read_at > STALE:
            raise Refused(503, "StorageError", "the API keys cannot be read", hint="try again later", retry_after=5)

    def _read(self) -> Future[None]:
        """Begin a reading, unless one is under way."""
        if self._reading is None or self._reading.done():
            self._tried_at = time.monotonic()
            self._reading = self._reader.submit(self._look)
        return self._reading

    def _look(self) -> None:
        began = time.monotonic()
        try:
            self._rows = self._keys.digests()
            self._read_at = began
        except EngineError as error:
            log.error("the API keys cannot be read: %s", error.message)
        except Exception as error:
            log.exception("unexpected %s", type(error).__name__, exc_info=error)
