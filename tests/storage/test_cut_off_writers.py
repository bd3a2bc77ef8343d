"""A Postgres client that is cut off in the middle of a write: its lock is given to others within a bound."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import text

from engine.config import Settings
from engine.errors import DatabaseLocked, InvalidInput, StorageError
from engine.storage import Catalog, Database, migrate
from tests.postgres import database_name, shared_server

pytestmark = pytest.mark.backends("postgres")
BOUND = 0.5
"""Seconds that a writer may say nothing."""
ENOUGH = 30.0
"""Seconds that the others wait at most: generous, for a busy machine."""
PATIENT = Settings(busy_timeout=ENOUGH)
CUT = Settings(busy_timeout=ENOUGH, idle_transaction_timeout=BOUND)
STOPS = """
import os, signal, sys
from engine.config import Settings
from engine.storage import Database
from sqlalchemy import text
with Database(sys.argv[1], Settings(idle_transaction_timeout=float(sys.argv[2]))).write() as session:
    session.execute(text("UPDATE models SET name = 'half'"))
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def writer(url: str) -> Iterator[Callable[[float], None]]:
    """Stop a process in the middle of a write: ``writer(bound)``."""
    running: list[subprocess.Popen[bytes]] = []

    def start(bound: float) -> None:
        child = subprocess.Popen([sys.executable, "-c", STOPS, url, str(bound)])
        running.append(child)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    yield start
    for child in running:
        child.kill()
        child.wait()


def test_a_stopped_process_does_not_keep_the_lock(catalog: Catalog, put, url: str, writer) -> None:
    put("fox")
    writer(BOUND)
    began = time.monotonic()
    with closing(Database(url, PATIENT)) as other:
        Catalog(other).update("fox", {"tags": ["seen"]})
    assert time.monotonic() - began < ENOUGH
    assert [(model.name, model.tags) for model in catalog.models()] == [("fox", ("seen",))]  # nothing of the other's


def test_without_the_bound_it_would_keep_it(catalog: Catalog, put, writer) -> None:
    put("fox")
    writer(0)
    time.sleep(2 * BOUND)
    with pytest.raises(DatabaseLocked):
        put("owl")


class Proxy:
    """Passes bytes between a client and a server until it is told to stall: then neither hears of the other."""

    def __init__(self, server: str) -> None:
        """``server`` is its socket's path."""
        self.passes = threading.Event()
        self.passes.set()
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._open += [client, server]
            threading.Thread(target=self._relay, args=(client, server), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        try:
            while True:
                ready, _, _ = select.select(list(other), [], [])
                self.passes.wait()
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    other[one].sendall(data)
        except (OSError, ValueError):  # select names a socket that was closed meanwhile by a negative number
            return
        finally:
            for one in other:
                one.close()

    def close(self) -> None:
        self.passes.set()
        for one in (self._listener, *self._open):
            one.close()


def test_a_line_that_goes_dead_does_not_keep_the_lock(database: Database, url: str) -> None:
    direct = Database(url, PATIENT)
    proxy = Proxy(str(shared_server().folder / ".s.PGSQL.5432"))
    address = f"postgres://postgres@127.0.0.1:{proxy.port}/{database_name(url)}"
    far = Database(address, CUT)

    def cut() -> None:
        with far.write() as session:
            session.execute(text("UPDATE collection SET value = 'half' WHERE key = 'default_encoder'"))
            proxy.passes.clear()
            began = time.monotonic()
            with direct.write() as other:  # waits for the lock, and gets it
                other.execute(text("INSERT INTO collection (key, value) VALUES ('mark', 'x')"))
            assert time.monotonic() - began < ENOUGH
            proxy.passes.set()

    with pytest.raises(StorageError) as caught:
        cut()
    assert caught.value.hint
    assert {**Catalog(direct).facts()}["default_encoder"] == "external:test"
    with far.write() as session:  # the connection that was ended is replaced
        session.execute(text("DELETE FROM collection WHERE key = 'mark'"))
    proxy.close()
    for database in (far, direct):
        database.close()


def test_a_write_that_is_cut_says_why(database: Database, url: str) -> None:
    slow = Database(url, CUT)

    def dawdle() -> None:
        with slow.write() as session:
            time.sleep(4 * BOUND)
            session.execute(text("SELECT 1"))

    with pytest.raises(StorageError) as caught:
        dawdle()
    assert "idle_transaction_timeout" in str(caught.value.hint)
    with slow.write() as session:
        session.execute(text("SELECT 1"))
    slow.close()


def test_only_silence_is_bounded(database: Database, url: str) -> None:
    """Long statements, long reads and waiting for another writer are none."""
    slow = Database(url, CUT)
    with slow.write() as session:
        session.execute(text(f"SELECT pg_sleep({3 * BOUND})"))
    with slow.write(slow=True) as session:  # as an import, which reads files
        time.sleep(3 * BOUND)
        session.execute(text("SELECT 1"))
    with slow.read() as session:
        session.execute(text("SELECT 1"))
        time.sleep(3 * BOUND)
        session.execute(text("SELECT 1"))
    with database.write():
        waiting = threading.Timer(0, Catalog(slow).initialise, ["external:test"])
        waiting.start()
        time.sleep(3 * BOUND)
    waiting.join()
    with slow.connection() as connection:
        limit = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
    assert limit == "0"  # it went with the transaction: pools and poolers hand out connections as they were
    slow.close()


def test_a_stopped_migration_does_not_keep_others_out(url: str) -> None:
    child = """
import os, signal, sys
from engine.config import Settings
from engine.storage import Database, migrate
with migrate._alone(Database(sys.argv[1], Settings(idle_transaction_timeout=float(sys.argv[2])))):
    os.kill(os.getpid(), signal.SIGSTOP)
"""
    stopped = subprocess.Popen([sys.executable, "-c", child, url, str(BOUND)])
    try:
        os.waitpid(stopped.pid, os.WUNTRACED)
        database = Database(url, PATIENT, create=True)
        migrate.upgrade(database)
        migrate.check(database)
        database.close()
    finally:
        stopped.kill()
        stopped.wait()


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), True, "20"])
def test_a_bound_that_is_none(value: object) -> None:
    with pytest.raises(InvalidInput, match="idle_transaction_timeout"):
        Settings(idle_transaction_timeout=value)
