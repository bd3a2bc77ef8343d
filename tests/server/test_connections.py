"""Connections that wait, stall or are too many: they end in time, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from engine import Engine
from engine.server import Limits, connections
from engine.server.connections import RESERVE, limited
from engine.server.listening import listening
from tests.server.child import Child, answer, child

BODY = b"x" * 8_000_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    url = f"sqlite:///{tmp_path_factory.mktemp('connections') / 'zoo.db'}"
    with Engine.open(url, create=True, encoder="external:mine") as engine:
        engine.ingest_statistics(["a", "b", "c"], np.eye(3), encoder="external:mine", samples=5)
    with child(url) as server:
        yield server


def test_silent_connections_do_not_keep_others_out(served: Child) -> None:
    with ExitStack() as opened:
        for i in range(600):
            connection = opened.enter_context(served.connect())
            if i % 2:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localho")
        for path in ("/healthz", "/readyz", "/v1/models"):
            started = time.monotonic()
            assert httpx.get(served.url + path, timeout=20).status_code == 200
            assert time.monotonic() - started < 3


@pytest.mark.parametrize(("size", "status"), [(1, 400), (100, 422)])
def test_bodies_do_not_come_in_tiny_chunks(served: Child, size: int, status: int) -> None:
    with served.connect() as connection:
        connection.sendall(
            b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(b"%x\r\n%b\r\n" % (size, b" " * size) * 2000 + b"0\r\n\r\n")
        assert answer(connection)[0] == status


# --- deadlines and the reserve, on a server of this process with small numbers


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Waits at /slow and /readyz, says much at /large, and answers."""
    if scope["type"] != "http":
        return
    if scope["path"] in ("/slow", "/readyz"):
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    body = BODY if scope["path"] == "/large" else b"ok"
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(limits: Limits) -> Iterator[int]:
    """A server in a thread; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(_app, http=limited(limits), lifespan="off", log_config=None, timeout_keep_alive=60)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.force_exit = server.should_exit = True
            thread.join(20)


@pytest.fixture
def connect() -> Iterator[Callable[[int, bytes], socket.socket]]:
    with ExitStack() as opened:

        def made(port: int, sent: bytes) -> socket.socket:
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            connection.sendall(sent)
            return connection

        yield made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_SECONDS", "IDLE_SECONDS", "STALL_SECONDS"):
        monkeypatch.setattr(connections, name, 0.4)
    monkeypatch.setattr(connections, "SWEEP_SECONDS", 0.05)


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 0),
        (b"GET / HT", 0),
        (GET, 200),
        (GET + b"GET / HT", 200),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx", 200),
    ],
)
def test_a_connection_that_waits_is_closed_in_time(connect: Any, sent: bytes, status: int) -> None:
    with serving(Limits()) as port:
        started = time.monotonic()
        assert answer(connect(port, sent))[0] == status
        assert 0.2 < time.monotonic() - started < 5


@pytest.mark.usefixtures("quick")
def test_a_head_that_drips_ends_in_time(connect: Any) -> None:
    with serving(Limits()) as port:
        connection = connect(port, b"GET / HTTP/1.1\r\n")
        started = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - started < 5:
                connection.sendall(b"X-A: b\r\n")
                time.sleep(0.05)
        assert time.monotonic() - started < 4


@pytest.mark.usefixtures("quick")
def test_a_client_that_does_not_read_is_closed_a_slow_one_not(connect: Any) -> None:
    ask = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with serving(Limits()) as port:
        stalled, slow = connect(port, ask), connect(port, ask)
        got = 0
        while piece := slow.recv(400_000):
            got += len(piece)
            time.sleep(0.03)
        assert got > len(BODY)
        time.sleep(0.6)
        assert len(answer(stalled)[1]) < len(BODY)


def test_the_longest_idle_makes_room_and_who_works_does_not(connect: Any) -> None:
    with serving(Limits(connections=4)) as port:
        working = [connect(port, SLOW), connect(port, SLOW)]
        first, second = connect(port, b""), connect(port, b"GET")
        time.sleep(0.2)
        assert connect(port, GET).recv(12) == b"HTTP/1.1 200"
        assert answer(first) == (0, b"")
        for one in (*working, second):
            one.settimeout(0.1)
            with pytest.raises(TimeoutError):
                one.recv(1)


def test_a_full_server_answers_its_health_checks_alone(connect: Any) -> None:
    with serving(Limits(connections=3)) as port:
        for _ in range(3):
            connect(port, SLOW)
        time.sleep(0.2)
        status, said = answer(connect(port, GET))
        assert (status, b"retry-after: 1" in said.lower()) == (503, True)
        for _ in range(2 * RESERVE):
            connect(port, b"")
        status, said = answer(connect(port, HEALTHZ))
        assert (status, b"connection: close" in said) == (200, True)


def test_beyond_the_reserve_one_is_turned_away_at_once(connect: Any) -> None:
    with serving(Limits(connections=1)) as port:
        connect(port, SLOW)
        time.sleep(0.2)
        for _ in range(RESERVE):
            connect(port, SLOW.replace(b"/slow", b"/readyz"))
        time.sleep(0.2)
        assert answer(connect(port, b"")) == (503, connections.CLOSED)


@pytest.mark.usefixtures("quick")
def test_garbage_in_a_body_ends_the_connection_alone(connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(Limits()) as port:
        connection = connect(port, chunked)
        assert connection.recv(12) == b"HTTP/1.1 200"
        connection.sendall(b"no chunk\r\n")
        while connection.recv(4096):
            pass
        assert answer(connect(port, GET))[0] == 200
    assert not any(record.exc_info for record in caplog.records)


# --- where it listens


def test_answers_are_sent_without_delay(served: Child) -> None:
    """Else each waits 40 ms for the client's word that it has the answer's head."""
    with listening("127.0.0.1", 0) as sockets:
        assert [one.proto for one in sockets] == [socket.IPPROTO_TCP]
    took = []
    with httpx.Client(base_url=served.url) as client:
        for _ in range(15):
            began = time.monotonic()
            assert client.get("/healthz").status_code == 200
            took.append(time.monotonic() - began)
    assert min(took) < 0.03


@pytest.mark.parametrize(
    ("host", "said"),
    [("127.0.0.1", "it is in use"), ("192.0.2.1", "no such address"), ("no.such.name.invalid", "no address")],
)
def test_where_it_cannot_listen(tmp_path: Path, host: str, said: str) -> None:
    from click.testing import CliRunner

    from engine.cli import app

    url = f"sqlite:///{tmp_path / 'zoo.db'}"
    Engine.open(url, create=True, encoder="external:mine").close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = ["serve", "--host", host, "--port", port, "--auth", "keys", "--allow-host", "x"]
        result = CliRunner().invoke(app, [*command, "--database", url], prog_name="engine")
    assert result.exit_code == 5
    assert said in result.stderr
    assert "Hint: " in result.stderr
    assert len(result.stderr.splitlines()) == 2
