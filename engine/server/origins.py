"""Where a request comes from: which name it asks for, whether another site's page or a proxy sent it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.server.problems import answer

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEALTH = frozenset({"/healthz", "/readyz"})
"""Whatever watches a server asks these by its address."""
PROXIES = ("forwarded", "via", "x-real-ip", "x-forwarded-")
"""How the names of headers begin that proxies add."""


class Origins:
    """Refuses what other sites' pages make a browser send, which on loopback may do all that its user may.

    Requests that could change something must come from a page of ours or from no page at all; and where ``hosts`` are
    given, every request must be for one of them, or else a name that an attacker owns could stand for this machine.
    With ``direct`` nothing may have come through a proxy: what is open to this machine alone would be open to all.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None, *, direct: bool) -> None:
        self._app, self._hosts, self._direct = app, hosts, direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in HEALTH:
            found = self._reason(scope["method"], Headers(scope=scope))
            if found is not None:
                await answer(403, "Forbidden", found[0], hint=found[1])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _reason(self, method: str, headers: Headers) -> tuple[str, str] | None:
        host = headers.get("host", "")
        if self._hosts is not None and not any(_fits(_bare(host), one) for one in self._hosts):
            known = ", ".join(sorted(self._hosts))
            return (
                f"this server does not answer for the host {_bare(host)!r:.100}, only for {known}",
                "ask it by its own name; engine serve --allow-host NAME adds one",
            )
        through = next((name for name in headers if name.startswith(PROXIES)), None) if self._direct else None
        if through is not None:
            return (
                f"this server asks for no keys because only its own machine reaches it; {through!r:.60} says otherwise",
                "behind a proxy, start it with: engine serve --auth keys",
            )
        if method in SAFE:
            return None
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            foreign = site not in ("same-origin", "none")
        else:
            foreign = origin is not None and origin.partition("://")[2] != host
        if foreign:
            return (
                f"another site's page ({origin or 'unknown'!s:.100}) may not send this",
                "ask from the server's own page",
            )
        return None


def _bare(host: str) -> str:
    """A host without its port, in lower case."""
    return (host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host).lower()


def _fits(host: str, allowed: str) -> bool:
    """Whether a host is the allowed one, or below ``*.example.org``."""
    return host == allowed or (allowed.startswith("*.") and host.endswith(allowed[1:]))
