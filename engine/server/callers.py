"""Who may call: API keys, and what each is allowed."""

from __future__ import annotations

import time
from collections import OrderedDict

from fastapi import Request

from engine.server.problems import Refused
from engine.storage.keys import Key, Keys

FRESH = 5.0
"""Seconds that a key is believed without asking the database: a revoked one works no longer than that."""
REMEMBERED = 1024


class Callers:
    """Checks the ``Authorization: Bearer`` of requests; with ``keys`` None everybody may do everything."""

    def __init__(self, keys: Keys | None) -> None:
        self._keys = keys
        self._known: OrderedDict[str, tuple[float, Key]] = OrderedDict()

    @property
    def are_asked(self) -> bool:
        """Whether a key is needed."""
        return self._keys is not None

    def check(self, request: Request, scope: str) -> None:
        """Whether a request may do what needs ``scope``; blocking.

        Raises:
            Refused: 401 without a valid key, 403 with one that lacks the scope.
        """
        if self._keys is None:
            return
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        key = self._key(token.strip()) if kind.lower() == "bearer" else None
        if key is None:
            raise Refused(
                401, "Unauthorized", "this needs an API key", hint="send it as: Authorization: Bearer ek_…"
            )  # fmt: skip
        if scope not in key.scopes:
            allowed = ", ".join(key.scopes)
            raise Refused(403, "Forbidden", f"the key {key.id} may {allowed}; this needs {scope}")

    def _key(self, token: str) -> Key | None:
        assert self._keys is not None
        now = time.monotonic()
        known = self._known.get(token)
        if known is not None and now - known[0] < FRESH:
            return known[1]
        key = self._keys.check(token)
        if key is None:
            self._known.pop(token, None)
            return None
        self._known[token] = (now, key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return key
