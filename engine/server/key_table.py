"""The collection's API keys in memory, so that judging a key costs a hash and no statement."""

from __future__ import annotations

import time

import anyio
import anyio.to_thread

from engine.errors import EngineError
from engine.server.problems import Refused
from engine.storage.keys import Key, Keys, is_token_of, token_to_id

FRESH = 4.0
"""Seconds after which the keys are read again: a revoked one works for no more than five."""
EAGER = 1.0
"""Seconds between two readings, at least, that keys which are not known may cause: one may have just been made."""
STALE = 60.0
"""Seconds for which the keys are believed while the database does not answer."""
PATIENCE = 2.0
"""Seconds that a request waits for the keys to be read, where older ones will do."""


class KeyTable:
    """Who has which key. One reading at a time, in a thread of its own; wrong keys wait for none."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._rows: dict[str, tuple[str, Key]] = {}
        self._read_at = self._tried_at = -STALE
        self._reading: anyio.Lock | None = None  # made where the loop runs

    async def find(self, token: str) -> Key | None:
        """The key that a token belongs to, or None.

        Raises:
            Refused: 503, the database has not answered for a minute.
        """
        key_id = token_to_id(token)
        if key_id is None:
            return None
        await self._refreshed(FRESH)
        if key_id not in self._rows:
            await self._refreshed(EAGER)
        digest, key = self._rows.get(key_id, (None, None))
        return key if digest is not None and is_token_of(token, digest) else None

    async def by_id(self, key_id: str) -> Key | None:
        """The key of that id, if it has not been revoked.

        Raises:
            Refused: as ``find``.
        """
        await self._refreshed(FRESH)
        return self._rows.get(key_id, (None, None))[1]

    async def _refreshed(self, age: float) -> None:
        if time.monotonic() - self._tried_at < age:
            return
        if self._reading is None:
            self._reading = anyio.Lock()
        known = time.monotonic() - self._read_at < STALE
        with anyio.move_on_after(PATIENCE if known else None):
            async with self._reading:
                if time.monotonic() - self._tried_at >= age:
                    await self._read()
        if time.monotonic() - self._read_at > STALE:
            raise Refused(503, "StorageError", "the API keys cannot be read", hint="try again later", retry_after=5)

    async def _read(self) -> None:
        began = self._tried_at = time.monotonic()
        try:
            self._rows = await anyio.to_thread.run_sync(self._keys.digests, abandon_on_cancel=True)
        except EngineError:
            return
        self._read_at = began
