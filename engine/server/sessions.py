"""Sessions of the page: a browser shows a random token in place of its key. They end with the server."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass

MOST = 10_000
"""Sessions at once; beyond that the one that was used least lately ends."""
OF_ONE_KEY = 100
"""Sessions of one key at once; beyond that its own end, so that nobody signs others out."""
IDLE = 7 * 86400.0
LONGEST = 30 * 86400.0
"""Seconds that a session lasts unused, and at all."""
COOKIE = "engine_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""Its name over HTTPS: browsers take a cookie of that name from this very host alone."""

signed_in: ContextVar[bool] = ContextVar("signed_in", default=False)
"""Whether the request that is worked on showed a session, which its page then offers to end."""


@dataclass
class _Session:
    key_id: str
    began: float
    used: float


class Sessions:
    """The sessions of one server, by the digest of their token."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Session] = OrderedDict()

    def begin(self, key_id: str) -> str:
        """A new session of a key: its token."""
        token = secrets.token_urlsafe(32)
        now = time.monotonic()
        self._open[_digest(token)] = _Session(key_id, now, now)
        of_key = [digest for digest, session in self._open.items() if session.key_id == key_id]
        for digest in of_key[:-OF_ONE_KEY]:
            del self._open[digest]
        while len(self._open) > MOST:
            self._open.popitem(last=False)
        return token

    def key_id(self, token: str) -> str | None:
        """The key whose session it is; None if there is none, or no longer."""
        digest, now = _digest(token), time.monotonic()
        session = self._open.get(digest)
        if session is None:
            return None
        if now - session.began > LONGEST or now - session.used > IDLE:
            del self._open[digest]
            return None
        session.used = now
        self._open.move_to_end(digest)
        return session.key_id

    def end(self, token: str) -> None:
        """Forget a session."""
        self._open.pop(_digest(token), None)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
