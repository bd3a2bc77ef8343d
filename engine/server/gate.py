"""How much is done at once, and how large a request may be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.limits import Limits
from engine.server.problems import Refused, answer

Result = TypeVar("Result")


class Gate:
    """Runs work in threads, so many at a time; some more may wait. One that is cancelled while it waits has gone.

    A place is held while the engine works, not while a body is read or an answer is sent: a slow client holds none.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = anyio.CapacityLimiter(limits.searches)

    @property
    def working(self) -> int:
        """Requests that hold a place."""
        return self._places.statistics().borrowed_tokens

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return self._places.statistics().tasks_waiting

    async def run(self, work: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """What ``work`` returns.

        Raises:
            Refused: too many wait already.
        """
        if self.waiting >= self._limits.waiting:
            detail = (
                f"{self._limits.searches} requests are worked on and {self._limits.waiting} wait: that is the limit"
            )
            raise Refused(429, "TooManyRequests", detail, hint="try again in a second", retry_after=1)
        return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._places)


class BodyLimit:
    """Refuses a body that is longer than its route allows, by its announced length or as it comes."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting what it brings."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = scope.get("engine.body_bytes", self._most)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > most:
            refusal = answer(413, "HttpError", _too_large(most), hint="send less, or smaller pictures")
            await refusal(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > most:
                raise HTTPException(413, _too_large(most))
            return message

        await self._app(scope, counted, send)


def _too_large(most: int) -> str:
    return f"a request may have {most:,} bytes"
