"""What browsers are told about every response."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'"
SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""Of pictures: one that is opened by itself runs nothing."""


def completed(headers: MutableHeaders) -> None:
    """Add to a response's headers what they do not say."""
    for name, value in EVERYWHERE.items():
        headers.setdefault(name, value)
    picture = headers.get("content-type", "").startswith("image/")
    headers.setdefault("Content-Security-Policy", SANDBOX if picture else NOTHING)


class SecurityHeaders:
    """Adds to each response what it does not say itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                completed(MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, told if scope["type"] == "http" else send)
