"""Large pictures take turns before they take places, so that a row of them leaves places for everybody else."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import anyio

from engine.samples import is_large
from engine.search.rules import PICTURES
from engine.server.gate import Gate
from engine.server.schemas import Query

Result = TypeVar("Result")
HEAD = 2**16
"""Bytes in which most pictures say how large they are."""
ENCODED = 2 * HEAD
"""Characters of base64 that hold them, and what a ``data:`` URL has in front."""


class LargePictures:
    """Runs work on pictures in the gate: on large ones, two at a time, first come, first served."""

    def __init__(self, gate: Gate, at_once: int = 2) -> None:
        self._gate = gate
        self._turns = anyio.CapacityLimiter(at_once)

    async def run(self, heads: list[bytes], work: Callable[..., Result], *args: Any) -> Result:
        """What ``work`` returns.

        Args:
            heads: the first ``HEAD`` bytes of each picture.

        Raises:
            Refused: too many wait already.
        """
        is_any_large = await self._gate.run(lambda: any(map(is_large, heads))) if heads else False
        if is_any_large:
            async with self._turns:
                return await self._gate.run(work, *args)
        return await self._gate.run(work, *args)


def heads_of(queries: Iterable[Query], files: Iterable[bytes] = ()) -> list[bytes]:
    """The beginnings of the pictures that are asked with; what is no base64 is left to whoever decodes it."""
    found = [data[:HEAD] for data in files]
    for query in queries:
        further = (part.value for part in query.parts if part.modality in PICTURES)
        for text in (query.image, query.sketch, *further):
            if text is not None:
                encoded = text[:ENCODED].partition(",")[2] if text.startswith("data:") else text
                with suppress(ValueError):
                    found.append(base64.b64decode(encoded[: HEAD // 3 * 4]))
    return found
