"""Places are shared: a caller with many slow requests leaves some to others, and who waits is served by turns."""

from __future__ import annotations

import threading

import anyio
import pytest

from engine.server import Limits
from engine.server.gate import CALLER, Gate
from engine.server.problems import Refused


def test_one_caller_leaves_places_to_others() -> None:
    async def scene() -> None:
        gate = Gate(Limits(searches=4, waiting=20))
        go, done = threading.Event(), []

        async def ask(caller: str, work: object) -> None:
            CALLER.set(caller)
            await gate.run(work)  # type: ignore[arg-type]
            done.append(caller)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(ask, "slow", go.wait)
            await anyio.sleep(0.05)
            assert (gate.working, gate.waiting) == (3, 5)
            with anyio.fail_after(5):
                await ask("quick", lambda: None)
            go.set()
        assert done == ["quick"] + ["slow"] * 8
        assert (gate.working, gate.waiting) == (0, 0)

    anyio.run(scene)


def test_who_waits_is_served_by_turns() -> None:
    async def scene() -> None:
        gate = Gate(Limits(searches=1, waiting=20))
        go, order = threading.Event(), []

        async def ask(caller: str) -> None:
            CALLER.set(caller)
            await gate.run(order.append, caller)

        async def first() -> None:
            CALLER.set("a")
            await gate.run(go.wait)

        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await anyio.sleep(0.05)
            for caller in "aaabc":
                group.start_soon(ask, caller)
                await anyio.sleep(0.01)
            go.set()
        assert order == ["a", "b", "c", "a", "a"]

    anyio.run(scene)


def test_one_caller_fills_half_of_the_queue() -> None:
    async def scene() -> None:
        gate = Gate(Limits(searches=1, waiting=4))
        go = threading.Event()

        async def ask(caller: str) -> None:
            CALLER.set(caller)
            await gate.run(go.wait)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask, "a")
            await anyio.sleep(0.05)
            with pytest.raises(Refused) as caught:
                await ask("a")
            assert caught.value.status == 429
            group.start_soon(ask, "b")
            await anyio.sleep(0.05)
            assert gate.waiting == 3
            assert await gate.aside(lambda: 7) == 7
            go.set()

    anyio.run(scene)
