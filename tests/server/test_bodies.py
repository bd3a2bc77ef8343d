"""Bodies: judged by key and length before they are read, counted together, ended when they do not come."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import anyio
import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from engine import Engine
from engine.server import Limits, create_app
from engine.server.bodies import Bodies, Held
from engine.server.memory import Returning
from engine.server.problems import Refused
from tests.server.child import MB, Child, child

NESTED = b"[" + b"[]," * 5_300_000 + b"[]]"
"""16 MB that would become five million lists."""


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    return {}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, str]) -> Iterator[Child]:
    url = f"sqlite:///{tmp_path_factory.mktemp('bodies') / 'zoo.db'}"
    with Engine.open(url, create=True, encoder="external:mine") as engine:
        engine.ingest_statistics(["a", "b", "c"], np.eye(3), encoder="external:mine", samples=5)
        keys["write"] = engine.keys.create("writer", ["write"])[1]
        keys["read"] = engine.keys.create("reader", ["read"])[1]
        keys["other"] = engine.keys.create("other", ["read"])[1]
    with child(url, "--auth", "keys") as server:
        yield server


def begun(server: Child, head: str, key: str | None, body: bytes) -> socket.socket:
    """A request of which a part is sent."""
    connection = server.connect()
    sign = f"Authorization: Bearer {key}\r\n" if key else ""
    connection.sendall(f"{head}\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{sign}\r\n".encode())
    with suppress(ConnectionError):
        connection.sendall(body)
    return connection


def test_without_a_key_no_body_is_read(served: Child) -> None:
    head = f"PUT /v1/models/x HTTP/1.1\r\nContent-Length: {31 * MB}"
    before, started = served.resident(), time.monotonic()
    with ExitStack() as opened:
        connections = [opened.enter_context(begun(served, head, None, b"[],")) for _ in range(8)]
        assert {one.recv(12) for one in connections} == {b"HTTP/1.1 401"}
    assert time.monotonic() - started < 5
    assert served.resident() - before < 50 * MB


def test_whoever_is_still_sending_sees_the_refusal(served: Child) -> None:
    said = httpx.put(f"{served.url}/v1/models/x", content=b"x" * (20 * MB), timeout=30)
    assert said.status_code == 401


def test_lists_of_lists_are_refused_before_they_are_parsed(served: Child, keys: dict[str, str]) -> None:
    before, started = served.resident(), time.monotonic()
    for method, path, key in (("PUT", "/v1/models/x", "write"), ("POST", "/v1/search", "read")):
        headers = {"Authorization": f"Bearer {keys[key]}", "Content-Type": "application/json"}
        said = httpx.request(method, served.url + path, content=NESTED[: 16 * MB - 100], headers=headers, timeout=60)
        assert (said.status_code, said.json()["title"]) == (422, "LimitExceeded")
    assert time.monotonic() - started < 10
    assert served.settles(before + 60 * MB) < before + 60 * MB


def test_half_sent_bodies_take_a_share_and_others_are_served(served: Child, keys: dict[str, str]) -> None:
    before = served.resident()
    head = f"POST /v1/search HTTP/1.1\r\nContent-Length: {9 * MB}"
    part = b'{"text": "' + b"x" * (8 * MB)
    with ExitStack() as opened:
        held = [opened.enter_context(begun(served, head, keys["read"], part)) for _ in range(20)]
        assert served.resident() - before < 400 * MB
        headers = {"Authorization": f"Bearer {keys['other']}"}
        large = {"vector": [0.0, 1.0, 0.0], "k": 1, "text": None, "image": None, "where": [["name", "b" * 100_000]]}
        said = httpx.post(f"{served.url}/v1/search", json=large, headers=headers, timeout=20)
        assert said.status_code in (200, 422), said.text
        del held
    assert served.settles(before + 150 * MB, 20) < before + 150 * MB


def test_a_small_length_does_not_hide_a_chunked_body(served: Child, keys: dict[str, str]) -> None:
    before = served.resident()
    head = "POST /v1/search/batch HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"
    part = b"%x\r\n%b\r\n" % (10 * MB, b" " * (10 * MB))
    with ExitStack() as opened:
        held = [opened.enter_context(begun(served, head, keys["read"], part)) for _ in range(12)]
        assert served.settles(before + 100 * MB, 3) < before + 100 * MB
        del held


@pytest.mark.parametrize(
    ("path", "length"),
    [("/v1/search", 16 * MB + 1), ("/login", 4097), ("/v1/models/a/samples", 5000), ("/v1/search/batch", 33 * MB)],
)
def test_the_announced_length_is_judged(own: Engine, path: str, length: int) -> None:
    client = TestClient(create_app(own, with_keys=False), raise_server_exceptions=False)
    headers = {"content-length": str(length), "content-type": "application/json"}
    assert client.post(path, content=b"{}", headers=headers).status_code == 413


def test_a_body_that_does_not_come_is_ended() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with pytest.raises(Refused, match="nothing came") as caught:
            await receive()
        seen.append(str(caught.value.status))

    async def scene() -> None:
        first = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive() -> Message:
            if first:
                return first.pop()
            await anyio.sleep_forever()
            raise AssertionError

        async def send(message: Message) -> None:
            raise AssertionError(message)

        limits = Limits(body_pause=1)
        held = Held(limits)
        scope = {"type": "http", "headers": [(b"content-length", b"100")], "engine.caller": "a"}
        await Bodies(app, limits, held, Returning())(scope, receive, send)
        assert held.total == 0

    anyio.run(scene)
    assert seen == ["408"]


def test_shares_of_memory_and_of_uploads() -> None:
    held = Held(Limits(in_flight_bytes=1000, uploads_at_once=4))
    held.take("a", 250, small=False)
    with pytest.raises(Refused, match="one caller"):
        held.take("a", 1, small=False)
    held.take("a", 50, small=True)
    for caller in "bcd":
        held.take(caller, 225, small=False)
    with pytest.raises(Refused, match="all requests"):
        held.take("e", 100, small=False)
    held.give_back("a", 300)
    held.take("e", 100, small=False)
    assert held.total == 775
    with held.upload("a"), held.upload("a"):
        with pytest.raises(Refused), held.upload("a"):
            pass
        with held.upload("b"), held.upload("c"), pytest.raises(Refused), held.upload("d"):
            pass
    with held.upload("a"):
        pass
