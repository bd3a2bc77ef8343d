"""How long a request is worked on: statements have a deadline, and all of it ends when its client has gone."""

from __future__ import annotations

import anyio
import anyio.to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.storage.deadlines import Deadline, deadline

GONE = 499
"""What is counted for a request whose client did not wait for the answer; nobody receives it."""


class Patience:
    """Gives each request a deadline of the database, and cancels it when the client disconnects.

    A client is watched once the request's body has been read: until then, what reads it notices. Work that waits for a
    place gives up its turn at once; a thread that works ends with its statement, or where it next heeds the deadline.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with deadline(self._seconds) as bound:
            await _Watched(self._app, bound, receive, send).run(scope)


class _Watched:
    """One request, and whether its client is still there."""

    def __init__(self, app: ASGIApp, bound: Deadline, receive: Receive, send: Send) -> None:
        self._app, self._bound, self._receive, self._send = app, bound, receive, send
        self._read, self._gone = anyio.Event(), anyio.Event()
        self._answered = False

    async def run(self, scope: Scope) -> None:
        first: Message | None = None
        if not any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]):
            first = await self._receive()  # of a request without a body it is there already
            self._note(first)

        async def receive() -> Message:
            nonlocal first
            if first is not None:
                message, first = first, None
                return message
            if self._read.is_set():  # the watcher has the connection's word from here on
                await self._gone.wait()
                return {"type": "http.disconnect"}
            message = await self._receive()
            self._note(message)
            return message

        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, tasks.cancel_scope)
            try:
                await self._app(scope, receive, self._sent)
            except Exception as error:  # raised below as it is, and not in a group of one
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if not self._answered:
            await self._send({"type": "http.response.start", "status": GONE, "headers": []})
            await self._send({"type": "http.response.body", "body": b""})

    def _note(self, message: Message) -> None:
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._read.set()

    async def _sent(self, message: Message) -> None:
        self._answered = True
        await self._send(message)

    async def _watch(self, scope: anyio.CancelScope) -> None:
        await self._read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        await anyio.to_thread.run_sync(self._bound.cancel)
        scope.cancel()
