"""A request's statements end at their deadline, and with their client, on both databases, over a real socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn

from engine import Engine
from engine.config import Settings
from engine.server import Limits, create_app
from tests.storage.test_deadlines import SLOW, SOON


class Served:
    """A server of this process, whose ``/v1/encoders`` is a statement that takes minutes."""

    def __init__(self, url: str, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ended: list[str] = []
        self.leave = threading.Event()
        self._engine = Engine.open(url, settings=Settings())
        monkeypatch.setattr(self._engine, "encoders", self._slowly)
        app = create_app(self._engine, limits=limits, with_keys=False)
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.02)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def _slowly(self) -> None:
        try:
            with self._engine.services.database.read() as session:
                session.execute(SLOW).all()
        except Exception as error:
            self.ended.append(type(error).__name__)
            raise

    def ask_and_leave(self) -> None:
        """Ask for what is slow, and go away when it is time."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"GET /v1/encoders HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert self.leave.wait(2 * SOON)

    def working(self) -> tuple[int, int]:
        """Requests that hold a place, and that wait for one."""
        lines = dict(line.split(" ") for line in self.http.get("/metrics").text.splitlines() if "{" not in line[:30]
                     and not line.startswith("#"))  # fmt: skip
        return int(float(lines["engine_working"])), int(float(lines["engine_waiting"]))

    def close(self) -> None:
        self.http.close()
        self._server.should_exit = True
        self._thread.join()
        self._engine.close()


@pytest.fixture
def serve(new_collection: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def start(**limits: int) -> Served:
        made.append(Served(new_collection(), Limits(**limits), monkeypatch))
        return made[-1]

    yield start
    for one in made:
        one.close()


def until(true: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < SOON
        time.sleep(0.05)


def test_a_slow_statement_is_answered_with_503(serve: Callable[..., Served]) -> None:
    served = serve(statement_seconds=1)
    started = time.monotonic()
    answer = served.http.get("/v1/encoders")
    assert time.monotonic() - started < SOON
    assert (answer.status_code, answer.json()["title"]) == (503, "StatementTimeout")
    assert answer.headers["retry-after"] == "1"
    assert "1 s" in answer.json()["detail"]


def test_what_nobody_waits_for_ends_and_frees_its_place(serve: Callable[..., Served]) -> None:
    served = serve(statement_seconds=600, searches=2)
    for _ in range(4):  # two of them have not begun when they are given up
        threading.Thread(target=served.ask_and_leave).start()
    until(lambda: served.working() == (2, 2))
    served.leave.set()
    until(lambda: served.working() == (0, 0))
    assert set(served.ended) == {"Cancelled"}
    assert served.http.get("/v1/models").status_code == 200
    assert 'status="499"' in served.http.get("/metrics").text


def test_a_client_that_stays_is_answered(serve: Callable[..., Served]) -> None:
    served = serve(statement_seconds=5)
    for _ in range(3):
        assert served.http.get("/v1/models").json()["models"] == []
        assert served.http.post("/v1/search/batch", json={"queries": []}).status_code == 422
