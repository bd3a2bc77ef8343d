"""The keys in memory: read once for all who wait, believed for a while, and not for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine import Engine
from engine.errors import StorageError
from engine.server import key_table
from engine.server.key_table import KeyTable
from engine.server.problems import Refused
from engine.storage.keys import Key


class Database:
    """Keys that are told slowly, or not at all."""

    def __init__(self, own: Engine) -> None:
        self._own = own
        self.readings, self.slow, self.broken = 0, 0.0, False

    def digests(self) -> dict[str, tuple[str, Key]]:
        self.readings += 1
        time.sleep(self.slow)
        if self.broken:
            raise StorageError("the database is away")
        return self._own.keys.digests()


@pytest.fixture
def database(own: Engine) -> Database:
    return Database(own)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the table's clock on."""
    ahead, real = 0.0, time.monotonic
    monkeypatch.setattr(key_table.time, "monotonic", lambda: real() + ahead)

    def move(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    return move


def run(work: Any) -> Any:
    return asyncio.run(work)


def test_all_who_come_first_wait_for_one_reading(own: Engine, database: Database) -> None:
    key, token = own.keys.create("reader", ["read"])
    table: Any = KeyTable(database)  # type: ignore[arg-type]
    database.slow = 0.3

    async def one(number: int) -> Key | None:
        await asyncio.sleep(0.01 * number)
        return await table.find(token)

    async def scene() -> list[Key | None]:
        return await asyncio.gather(*map(one, range(20)))

    assert run(scene()) == [key] * 20
    assert database.readings == 1


def test_a_database_that_never_answered_is_no_wrong_key(own: Engine, database: Database) -> None:
    _, token = own.keys.create("reader", ["read"])
    table: Any = KeyTable(database)  # type: ignore[arg-type]
    database.broken = True

    async def scene() -> None:
        for _ in range(3):
            with pytest.raises(Refused) as caught:
                await table.find(token)
            assert caught.value.status == 503

    run(scene())


def test_keys_are_believed_for_a_minute_without_the_database(
    own: Engine, database: Database, later: Callable[[float], None]
) -> None:
    key, token = own.keys.create("reader", ["read"])
    table: Any = KeyTable(database)  # type: ignore[arg-type]

    async def scene() -> None:
        assert await table.find(token) == key
        database.broken = True
        later(key_table.STALE - 2)
        assert await table.find(token) == key
        later(4)
        for _ in range(3):  # whoever asks, not the first alone
            with pytest.raises(Refused):
                await table.find(token)
        database.broken = False
        assert await table.find(token) == key

    run(scene())


def test_right_keys_do_not_wait_for_reads_by_wrong_ones(
    own: Engine, database: Database, later: Callable[[float], None]
) -> None:
    key, token = own.keys.create("reader", ["read"])
    table: Any = KeyTable(database)  # type: ignore[arg-type]

    async def scene() -> float:
        assert await table.find(token) == key
        database.slow = 1.0
        later(1.5)
        wrong = [asyncio.create_task(table.find(f"ek_{i:08x}_x")) for i in range(50)]
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        assert await table.find(token) == key
        took = time.perf_counter() - began
        assert await asyncio.gather(*wrong) == [None] * 50
        return took

    assert run(scene()) < 0.5
    assert database.readings == 2


def test_a_slow_database_is_waited_for_no_longer_than_that(
    own: Engine, database: Database, later: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_table, "PATIENCE", 0.1)
    key, token = own.keys.create("reader", ["read"])
    table: Any = KeyTable(database)  # type: ignore[arg-type]

    async def scene() -> None:
        assert await table.find(token) == key
        database.slow = 0.5
        later(key_table.FRESH)
        began = time.perf_counter()
        assert await table.find(token) == key
        assert time.perf_counter() - began < 0.4
        own.keys.revoke(key.id)
        later(key_table.FRESH)
        database.slow = 0.0
        await asyncio.sleep(0.6)  # the reading that nobody waited for has ended
        assert await table.find(token) is None

    run(scene())
