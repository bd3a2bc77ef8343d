"""Who may call: API keys, and what each is allowed; whether a browser was sent here by somebody else's page."""

from __future__ import annotations

import time
from collections import OrderedDict

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.server.problems import Refused, answer
from engine.storage.keys import Key, Keys

FRESH = 5.0
"""Seconds that a key is believed without asking the database: a revoked one works no longer than that."""
REMEMBERED = 1024
COOKIE = "engine_key"
"""Where the page's key is kept. It may only read: what changes something must show its key by itself."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


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
        if key is None and scope == "read" and COOKIE in request.cookies:
            key = self._key(request.cookies[COOKIE])
        if key is None:
            raise Refused(
                401, "Unauthorized", "this needs an API key", hint="send it as: Authorization: Bearer ek_…"
            )  # fmt: skip
        if scope not in key.scopes:
            allowed = ", ".join(key.scopes)
            raise Refused(403, "Forbidden", f"the key {key.id} may {allowed}; this needs {scope}")

    def knows(self, token: str) -> bool:
        """Whether a key is one that may read; blocking."""
        key = self._key(token)
        return key is not None and "read" in key.scopes

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


class OwnPages:
    """Refuses what other sites' pages make a browser send, which on loopback may do all that its user may.

    Requests that could change something must come from a page of ours or from no page at all; and where ``hosts`` are
    given, every request must be for one of them, or else a name that an attacker owns could stand for this machine.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            reason = self._reason(scope["method"], Headers(scope=scope))
            if reason is not None:
                await answer(403, "Forbidden", reason, hint="ask this server by its own name")(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _reason(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if self._hosts is not None and _bare(host) not in self._hosts:
            known = ", ".join(sorted(self._hosts))
            return f"this server does not answer for the host {_bare(host)!r:.100}, only for {known}"
        if method in SAFE:
            return None
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            foreign = site not in ("same-origin", "none")
        else:
            foreign = origin is not None and origin.partition("://")[2] != host
        return f"another site's page ({origin or 'unknown'!s:.100}) may not send this" if foreign else None


def _bare(host: str) -> str:
    """A host without its port."""
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
