"""What requests bring: how long a body may be, how much of all of them is held, and how long one may take to come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.gate import CALLER
from engine.server.limits import Limits
from engine.server.memory import Returning
from engine.server.problems import Refused, answer

SMALL = 64 * 2**10
"""Bytes of a body that is always taken: the number of connections bounds those."""
LARGE = 2**20
"""Bytes of a body after which freed memory is given back."""
SLOWEST = 64 * 2**10
"""Bytes a second that a body must come by, on the whole."""


class Held:
    """Bytes of bodies that are in memory, by caller; and uploads that are on their way to the disk."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes: Counter[str] = Counter()
        self._uploads: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Bytes of all callers."""
        return self._bytes.total()

    def take(self, caller: str, count: int, *, small: bool) -> None:
        """Count bytes that came; those of small bodies are never refused.

        Raises:
            Refused: 503, all callers' share or this one's is used up.
        """
        most = self._limits.in_flight_bytes
        if not small and self.total + count > most:
            raise _later(f"the bodies of all requests may have {most:,} bytes at once")
        if not small and self._bytes[caller] + count > most // 4:
            raise _later(f"the bodies of one caller's requests may have {most // 4:,} bytes at once")
        self._bytes[caller] += count

    def give_back(self, caller: str, count: int) -> None:
        """Forget bytes of a request that has ended."""
        self._bytes[caller] -= count
        if not self._bytes[caller]:
            del self._bytes[caller]

    @contextmanager
    def upload(self, caller: str) -> Iterator[None]:
        """One upload at work.

        Raises:
            Refused: 503, too many are.
        """
        most = self._limits.uploads_at_once
        if self._uploads.total() >= most or self._uploads[caller] >= max(1, most // 2):
            raise _later(f"{most} uploads may come at once, {max(1, most // 2)} of one caller")
        self._uploads[caller] += 1
        try:
            yield
        finally:
            self._uploads[caller] -= 1
            if not self._uploads[caller]:
                del self._uploads[caller]


def _later(detail: str) -> Refused:
    return Refused(503, "TooManyRequests", detail, hint="try again in a second", retry_after=1)


class Bodies:
    """Refuses a body that is too long, by its announced length or as it comes, that is too slow, or that has no room.

    The guard has said who sends and how long the body may be. What is raised while a route reads becomes its answer.
    The rest of a refused body is read and dropped by the connection, for a while: a client that is still sending when
    its connection ends would not see the answer.
    """

    def __init__(self, app: ASGIApp, limits: Limits, held: Held, returning: Returning) -> None:
        self._app, self._limits, self._held, self._returning = app, limits, held, returning

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting what it brings."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most: int = scope.get("engine.body_bytes", self._limits.body_bytes)
        caller: str = scope.get("engine.caller", "")
        CALLER.set(caller)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or len(announced) > 19 or int(announced) > most:
            refusal = answer(413, "HttpError", _too_large(most), hint="send less, or smaller pictures")
            await refusal(scope, receive, send)
            return
        body = _Body(self._limits, self._held, caller, most, int(announced), receive)
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._held.give_back(caller, body.counted)
            if body.came > LARGE:
                self._returning.soon()


class _Body:
    """The body of one request."""

    def __init__(self, limits: Limits, held: Held, caller: str, most: int, announced: int, receive: Receive) -> None:
        self._held, self._caller, self._most, self._receive = held, caller, most, receive
        self._in_memory = most <= limits.body_bytes  # uploads go to the disk as they come
        self._pause = limits.body_pause
        self._until = time.monotonic() + limits.body_seconds + (announced or most) / SLOWEST
        self.came = self.counted = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """The next part."""
        if self._is_whole:  # whether the client has gone is asked
            return await self._receive()
        patience = min(self._pause, self._until - time.monotonic())
        with anyio.move_on_after(max(0.0, patience)) as waiting:
            message = await self._receive()
        if waiting.cancelled_caught:
            raise Refused(
                408, "RequestTimeout", f"nothing came for {self._pause:g} s, or the body took too long in all",
                hint=f"send it at {SLOWEST // 1024} KB a second or more",
            )  # fmt: skip
        count = len(message.get("body", b""))
        self.came += count
        if self.came > self._most:
            raise Refused(413, "HttpError", _too_large(self._most), hint="send less, or smaller pictures")
        if self._in_memory and count:
            self._held.take(self._caller, count, small=self.came <= SMALL)
            self.counted += count
        self._is_whole = not message.get("more_body", False)
        return message


def _too_large(most: int) -> str:
    return f"a request may have {most:,} bytes"
