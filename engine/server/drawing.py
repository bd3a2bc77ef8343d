"""New pictures from a model's generator, sent as they come."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from engine import Engine
from engine.errors import EngineError, GeneratorError
from engine.samples.generators import Stop
from engine.server.gate import Gate
from engine.server.limits import Limits
from engine.server.problems import Refused, error_to_problem, noted, problem
from engine.server.schemas import Drawing

if TYPE_CHECKING:
    from PIL.Image import Image

Result = TypeVar("Result")
GONE = 499
"""Nobody reads it; as nginx calls it, for the counters."""


class Lines(StreamingResponse):
    """JSON objects, one a line. When the client goes, ``stop`` is cancelled."""

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncIterator[bytes], status_code: int = 200, *, stop: Stop) -> None:
        super().__init__(lines, status_code)  # whose default FastAPI's document takes from this signature
        self._stop = stop

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        await while_connected(receive, self._stop, self.stream_response(send))


async def drawn_lines(
    engine: Engine, gate: Gate, limits: Limits, name: str, asked: Drawing, receive: Receive, *, trust: bool
) -> Lines:
    """One JSON object a line, a picture each; the first is drawn before this returns.

    ``trust`` lets code run that is trusted on this machine, and none else.

    Should drawing fail later, the last line is ``{"problem": …}``. A place is held while a picture is drawn.

    Raises:
        Refused: beyond a limit.
        EngineError: none can be drawn.
    """
    if asked.count > limits.drawn:
        raise Refused(422, "LimitExceeded", f"{limits.drawn} pictures may be drawn at once, got {asked.count}")
    stop = Stop(limits.draw_seconds, limits.drawn_pixels)
    images = await gate.run(engine.drawing, name, asked.count, seed=asked.seed, code=trust, stop=stop)
    first = await while_connected(receive, stop, gate.run(_next_line, images, 0, asked.seed, stop))

    async def lines() -> AsyncIterator[bytes]:
        line, position = first, 0
        while line is not None:
            yield line
            position += 1
            try:
                line = await gate.run(_next_line, images, position, asked.seed, stop)
            except EngineError as error:
                noted(error)
                yield _to_line({"problem": error_to_problem(error, roots=engine.places)})
                return
            except Refused as error:
                yield _to_line({"problem": problem(error.status, error.name, error.detail, hint=error.hint)})
                return

    return Lines(lines(), stop=stop)


async def while_connected(receive: Receive, stop: Stop, work: Awaitable[Result]) -> Result:
    """What ``work`` gives; ``stop`` is cancelled as soon as the client goes, and work in a thread ends by that.

    Raises:
        Exception: what ``work`` raises.
    """

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        stop.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            return await work
        except Exception as error:
            raised = error  # out of the group, which would wrap it
        finally:
            group.cancel_scope.cancel()
    raise raised


def _next_line(images: Iterator[Image], position: int, seed: int, stop: Stop) -> bytes | None:
    try:
        image = next(images, None)
    except GeneratorError as error:
        if stop.cancelled:
            raise Refused(GONE, "ClientGone", "the client has gone") from error
        if stop.is_over:
            raise Refused(422, "LimitExceeded", error.message, hint=error.hint) from error
        raise
    if image is None:
        return None
    stream = io.BytesIO()
    image.save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode()
    return _to_line({"position": position, "media_type": "image/png", "data": data, "seed": seed})


def _to_line(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode() + b"\n"
