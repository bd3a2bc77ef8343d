"""How long a connection may wait, and how many there may be: what uvicorn leaves unbounded."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.server.limits import Limits
from engine.server.problems import answer

HEAD_SECONDS = 20.0
"""For the head of a request, from the connection or from its first byte; also for the rest of a refused body."""
HEAD_BYTES = 64 * 1024
"""Of the head of a request, and of what chunks have besides their data."""
IDLE_SECONDS = 15
"""Between two requests."""
STALL_SECONDS = 60.0
"""In which a client must read ``STALL_BYTES`` of what waits for it, or all."""
STALL_BYTES = 16 * 1024
RESERVE = 16
"""Connections beyond the limit, for health checks alone."""
HEALTH = frozenset({"/healthz", "/readyz"})
SWEEP_SECONDS = 0.5
CHUNKS = 1000
"""Chunks of one body, of any size; of more the average must have ``CHUNK_BYTES``."""
CHUNK_BYTES = 64
FULL = "all connections of this server are in use"
CLOSED = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n"
    b"retry-after: 1\r\nconnection: close\r\n\r\n"
)


class Messages(h11.Connection):
    """HTTP whose bodies do not come in tiny chunks: thousands of them in one packet would keep the loop from others."""

    _chunks = _bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next part of a request, or that it is none."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > CHUNKS and self._bytes < CHUNK_BYTES * self._chunks:
                raise h11.RemoteProtocolError(f"chunks have {CHUNK_BYTES} bytes or more on average")
        return event


class Connection(H11Protocol):
    """One connection of a server that has at most so many; made by ``limited``."""

    others: Connections
    """All that the server has, this one included."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn: h11.Connection = Messages(h11.SERVER, HEAD_BYTES)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, in place of one that waits if there are too many."""
        self.waits_since: float = self.loop.time()
        self.began = self.reserved = False
        self.unread: tuple[float, int] | None = None
        super().connection_made(transport)
        self.others.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.others.open.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; the first byte of a head starts its deadline."""
        if not self.is_busy and not self.began:
            self.began, self.waits_since = True, self.loop.time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a body that nobody reads."""
        self.began = self.conn.their_state is h11.SEND_BODY
        self.waits_since = self.loop.time()
        self.others.wait(self)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; in the middle of an answer nothing more can be said."""
        if self.conn.our_state is h11.IDLE or self.conn.our_state is h11.SEND_RESPONSE:
            super().send_400_response(msg)
        else:
            self.transport.abort()

    @property
    def is_busy(self) -> bool:
        """Whether a request is worked on, or its answer is not read yet."""
        answering = self.cycle is not None and not self.cycle.response_complete
        return answering or self.transport.get_write_buffer_size() > 0

    def is_late(self, now: float) -> bool:
        """Whether a deadline has passed."""
        if self._stalls(now):
            return True
        allowed = HEAD_SECONDS if self.began or self.cycle is None else IDLE_SECONDS
        return not self.is_busy and now - self.waits_since > allowed

    def end(self) -> None:
        """Close at once, whatever waits to be sent."""
        self.others.open.pop(self, None)
        self.transport.abort()

    def only_health(self) -> None:
        """Answer health checks alone, one, and close."""
        self.reserved = True
        self.app = _health_only(self.app)

    def _stalls(self, now: float) -> bool:
        size = self.transport.get_write_buffer_size()
        if not size:
            self.unread = None
        elif self.unread is None or not self.unread[1] - STALL_BYTES < size <= self.unread[1]:
            self.unread = now, size
        return self.unread is not None and now - self.unread[0] > STALL_SECONDS


class Connections:
    """Those of one server; a timer ends the ones that are late."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.open: dict[Connection, None] = {}
        """In the order in which they began to wait for a request."""
        self._sweeps = False

    def add(self, new: Connection) -> None:
        """Take one more. Where there are too many, the one that has waited longest for a request makes room."""
        self.open[new] = None
        if not self._sweeps:
            self._sweeps = True
            new.loop.call_later(SWEEP_SECONDS, self._sweep, new.loop)
        if len(self.open) <= self._most:
            return
        if self._end_one(reserved=False):
            return
        new.only_health()
        if len(self.open) > self._most + RESERVE and not self._end_one(reserved=True):
            del self.open[new]
            new.transport.write(CLOSED)
            new.transport.close()

    def _end_one(self, *, reserved: bool) -> bool:
        """Close the one that has waited longest, of the reserve or of the others; false if none waits."""
        newest = next(reversed(self.open))
        for one in self.open:
            if one.reserved == reserved and one is not newest and not one.is_busy:
                one.end()
                return True
        return False

    def wait(self, one: Connection) -> None:
        """Put a connection behind those that have waited longer."""
        if self.open.pop(one, self) is None:
            self.open[one] = None

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for one in [one for one in self.open if one.is_late(now)]:
            one.end()
        self._sweeps = bool(self.open)
        if self._sweeps:
            loop.call_later(SWEEP_SECONDS, self._sweep, loop)


def limited(limits: Limits) -> type[Connection]:
    """The protocol of one server, for ``uvicorn.Config(http=…)``."""
    kind: type[Connection] = type("Limited", (Connection,), {"others": Connections(limits.connections)})
    return kind


def _health_only(app: Any) -> ASGIApp:
    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in HEALTH:
            refusal = answer(
                503, "TooManyConnections", FULL, hint="try again in a second",
                headers={"Retry-After": "1", "Connection": "close"},
            )  # fmt: skip
            await refusal(scope, receive, send)
            return

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await app(scope, receive, closing)

    return answered
