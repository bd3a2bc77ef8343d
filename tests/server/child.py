"""A real server process of limited memory, and what a client of plain sockets needs to abuse it."""

from __future__ import annotations

import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

ADDRESS_SPACE = 8_000_000 * 1024
"""What ``ulimit -v 8000000`` sets."""
MB = 2**20


@dataclass(frozen=True)
class Child:
    """A server's process and port."""

    process: subprocess.Popen[bytes]
    port: int
    log_path: str

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has logged."""
        return _text(self.log_path)

    def connect(self, timeout: float = 20.0) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def wait_until_ready(self, seconds: float = 120.0) -> None:
        """Until it has prepared what searches need: its memory and its answers are steady from then on."""
        until = time.monotonic() + seconds
        while True:
            with self.connect() as connection:
                connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status, said = answer(connection)
            if status == 200:
                return
            assert time.monotonic() < until, said
            time.sleep(0.05)

    def resident(self) -> int:
        """Bytes of memory that it holds."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def settles(self, below: int, seconds: float = 5.0) -> int:
        """Its memory, once that is below a number of bytes or the time is over."""
        until = time.monotonic() + seconds
        while (held := self.resident()) > below and time.monotonic() < until:
            time.sleep(0.1)
        return held


@contextmanager
def child(url: str, *arguments: str) -> Iterator[Child]:
    """``engine serve`` on a collection, with 8 GB of address space."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))

    command = [sys.executable, "-m", "engine", "serve", "--port", "0", "--database", url, *arguments]
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=limit)
        try:
            while not (found := re.search(r"running on http://127\.0\.0\.1:(\d+)", _text(log.name))):
                assert process.poll() is None, _text(log.name)
                time.sleep(0.02)
            served = Child(process, int(found[1]), log.name)
            served.wait_until_ready()
            yield served
        finally:
            process.kill()
            process.wait()


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """The status of what a server sends until it closes, and all of it; 0 if it sends nothing."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return (int(data.split(b" ", 2)[1]) if data else 0), data
