"""New pictures from a model's generator, sent as they come."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from engine import Engine
from engine.errors import EngineError
from engine.server.gate import Gate
from engine.server.limits import Limits
from engine.server.problems import Refused, error_to_problem, noted, problem
from engine.server.schemas import Drawing

if TYPE_CHECKING:
    from PIL.Image import Image


class Lines(StreamingResponse):
    """JSON objects, one a line."""

    media_type = "application/x-ndjson"


async def drawn_lines(
    engine: Engine, gate: Gate, limits: Limits, name: str, asked: Drawing, *, trust: bool
) -> AsyncIterator[bytes]:
    """One JSON object a line, a picture each; the first is drawn before this returns.

    Should drawing fail later, the last line is ``{"problem": …}``. A place is held while a picture is drawn.

    Raises:
        Refused: beyond the limit.
        EngineError: none can be drawn.
    """
    if asked.count > limits.drawn:
        raise Refused(422, "LimitExceeded", f"{limits.drawn} pictures may be drawn at once, got {asked.count}")
    images = await gate.run(engine.drawing, name, asked.count, seed=asked.seed, trust=trust)
    first = await gate.run(_next_line, images, 0, asked.seed)

    async def lines() -> AsyncIterator[bytes]:
        line, position = first, 0
        while line is not None:
            yield line
            position += 1
            try:
                line = await gate.run(_next_line, images, position, asked.seed)
            except EngineError as error:
                noted(error)
                yield _to_line({"problem": error_to_problem(error, roots=engine.places)})
                return
            except Refused as error:
                yield _to_line({"problem": problem(error.status, error.name, error.detail, hint=error.hint)})
                return

    return lines()


def _next_line(images: Iterator[Image], position: int, seed: int) -> bytes | None:
    image = next(images, None)
    if image is None:
        return None
    stream = io.BytesIO()
    image.save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode()
    return _to_line({"position": position, "media_type": "image/png", "data": data, "seed": seed})


def _to_line(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode() + b"\n"
