"""The guard: who calls, and whether they may, before a byte of what they send is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.server.access import SESSION_SCOPES, rule_of
from engine.server.key_table import KeyTable
from engine.server.limits import Limits
from engine.server.problems import Refused, refusal
from engine.server.sessions import COOKIE, SECURE_COOKIE, Sessions, signed_in
from engine.storage.keys import SCOPES, Key, Keys

LONGEST_TOKEN = 100
"""Characters: ours have 43."""
Refusal = Callable[[Request, Refused], Response]


class Callers:
    """Who has which key or session; with ``keys`` None everybody may do everything."""

    def __init__(self, keys: Keys | None) -> None:
        self._table = None if keys is None else KeyTable(keys)
        self.sessions = Sessions()

    @property
    def are_asked(self) -> bool:
        """Whether a key is needed."""
        return self._table is not None

    async def key_of(self, token: str) -> Key | None:
        """The key that a token belongs to, or None.

        Raises:
            Refused: 503, the keys cannot be read.
        """
        return None if self._table is None else await self._table.find(token)

    async def admit(self, request: Request, needed: str | None) -> tuple[str, frozenset[str]]:
        """Who sent a request, and their scopes.

        Raises:
            Refused: 401 without a valid key, 403 with one that lacks the scope, 503 where keys cannot be read.
        """
        address = "" if request.client is None else request.client.host
        if self._table is None:
            return address, frozenset(SCOPES)
        if needed is None:
            return address, frozenset()
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        key = await self._table.find(token.strip()) if kind.lower() == "bearer" else None
        scopes = () if key is None else tuple(scope for scope in SCOPES if key.may(scope))
        if key is None:
            key = await self._of_session(request)
            scopes = () if key is None else tuple(scope for scope in SESSION_SCOPES if key.may(scope))
        if key is None:
            raise Refused(
                401, "Unauthorized", "this needs an API key", hint="send it as: Authorization: Bearer ek_…"
            )  # fmt: skip
        if needed not in scopes:
            allowed = " and ".join(scopes) or "nothing"
            raise Refused(403, "Forbidden", f"the key {key.id} may {allowed} here; this needs {needed}")
        return key.id, frozenset(scopes)

    async def _of_session(self, request: Request) -> Key | None:
        assert self._table is not None, "keys are asked for"
        token = session_token(request)
        key_id = None if token is None else self.sessions.key_id(token)
        key = None if key_id is None else await self._table.by_id(key_id)
        signed_in.set(key is not None)
        return key


def session_token(request: Request) -> str | None:
    """The token of a browser's session; whether a proxy before us spoke https, only the cookie's name tells."""
    found = dict.fromkeys((SECURE_COOKIE, COOKIE), "")
    for header in request.headers.getlist("cookie"):
        for part in header.split(";"):  # tokens are never quoted, and undoing quotes takes time with their square
            name, _, value = part.strip().partition("=")
            if name in found and len(value) <= LONGEST_TOKEN:
                found[name] = value
    return found[SECURE_COOKIE] or found[COOKIE] or None


class Guard:
    """Lets a request pass whose sender has the scope that its route needs, and notes who it is and what it may bring.

    ``scope["engine.caller"]`` names the sender, ``scope["engine.scopes"]`` is what they may do,
    ``scope["engine.body_bytes"]`` how long the request's body may be.
    """

    def __init__(
        self, app: ASGIApp, routes: Sequence[BaseRoute], callers: Callers, limits: Limits, on_page: Refusal
    ) -> None:
        self._app, self._routes, self._callers, self._limits, self._on_page = app, routes, callers, limits, on_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rule, request = rule_of(self._routes, scope), Request(scope)
        try:
            caller, scopes = await self._callers.admit(request, rule.scope)
        except Refused as error:
            answer = self._on_page(request, error) if rule.page else refusal(error)
            await answer(scope, receive, send)
            return
        scope["engine.caller"], scope["engine.scopes"] = caller, scopes
        scope["engine.body_bytes"] = getattr(self._limits, rule.body)
        await self._app(scope, receive, send)
