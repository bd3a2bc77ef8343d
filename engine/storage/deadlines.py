"""How long a statement may take, and that it ends when nobody waits for its answer any more.

A deadline holds for what runs in its context, threads that copy the context included: ``Database.read`` and ``write``
heed it. Without one, as on the command line and in jobs, statements take as long as they take.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.orm import Session

from engine.errors import Cancelled, EngineError, StatementTimeout

log = logging.getLogger("engine.storage")
Value = TypeVar("Value")
OPERATIONS = 20_000
"""Of SQLite's virtual machine, between two looks at the clock: a millisecond or a few."""
ROWS = 256
"""That Python goes through between two looks at the clock."""
TO_CANCEL = 5.0
"""Seconds at most to tell a Postgres server to stop."""
AGAIN = 0.05
"""Seconds until it is told again, doubled each time: it ignores what comes between two statements."""
_TIMEOUT = text("SELECT set_config('statement_timeout', :milliseconds, true)")


class Deadline:
    """So many seconds for each statement, and for what Python does with its rows. ``cancel`` ends all of them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._transaction = threading.Condition()
        self._cancelled = False
        self._running: Any = None  # the psycopg connection of the transaction that is open
        self._until = time.monotonic() + seconds
        self._shared = False

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits any more."""
        return self._cancelled

    @property
    def is_over(self) -> bool:
        """Whether what runs now must stop."""
        return self._cancelled or time.monotonic() > self._until

    def cancel(self) -> None:
        """Stop what runs now and whatever would run next; callable from any thread, and blocking for a moment."""
        with self._transaction:
            self._cancelled = True
            until, again = time.monotonic() + TO_CANCEL, AGAIN
            while self._running is not None and time.monotonic() < until:
                try:
                    self._running.cancel_safe(timeout=TO_CANCEL)
                except Exception as error:  # the server is gone or busy: the statement's own timeout ends it
                    log.info("a statement could not be cancelled: %s", error)
                self._transaction.wait(again)
                again *= 2

    def began(self) -> None:
        """A statement begins.

        Raises:
            Cancelled
        """
        if self._cancelled:
            raise self.error()
        if not self._shared:
            self._until = time.monotonic() + self.seconds

    @contextmanager
    def together(self) -> Iterator[None]:
        """Statements in the block share the time of one."""
        self.began()
        before, self._shared = self._shared, True
        try:
            yield
        finally:
            self._shared = before

    def error(self) -> EngineError:
        """What is raised when it is over."""
        if self._cancelled:
            return Cancelled("nobody waits for this answer any more")
        return StatementTimeout(
            f"a statement took longer than the {self.seconds:g} s that a request may take of the database",
            hint="ask for less at once: fewer filters, a narrower one or a smaller page; or try again later",
        )

    @contextmanager
    def over(self, session: Session) -> Iterator[None]:
        """Hold for the statements of a transaction that has just begun."""
        heed()
        driver = session.connection().connection.dbapi_connection
        assert driver is not None, "the transaction has begun"
        if session.get_bind().dialect.name == "sqlite":
            driver.set_progress_handler(lambda: self.is_over, OPERATIONS)
            try:
                yield
            finally:
                driver.set_progress_handler(None, 0)  # what rolls back must not be stopped
            return
        session.execute(_TIMEOUT, {"milliseconds": str(max(1, int(1000 * self.seconds)))})
        with self._transaction:
            self._running = driver
        try:
            yield
        finally:
            with self._transaction:
                self._running = None
                self._transaction.notify_all()
            if self._cancelled:  # the server may act on it late: not on the next transaction of this connection
                session.invalidate()


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def current() -> Deadline | None:
    """The deadline that holds here."""
    return _current.get()


@contextmanager
def deadline(seconds: float) -> Iterator[Deadline]:
    """So many seconds for each statement in the block."""
    made = Deadline(seconds)
    token = _current.set(made)
    try:
        yield made
    finally:
        _current.reset(token)


@contextmanager
def unhurried() -> Iterator[None]:
    """No deadline in the block, or the function: it makes what others need as well, such as an index."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def together() -> Iterator[None]:
    """Statements in the block, or the function, share the time of one."""
    found = _current.get()
    if found is None:
        yield
        return
    with found.together():
        yield


def heed() -> None:
    """Stop here if the deadline is over.

    Raises:
        StatementTimeout, Cancelled
    """
    found = _current.get()
    if found is not None and found.is_cancelled:
        raise found.error()


def heeding(rows: Iterable[Value]) -> Iterator[Value]:
    """The rows of a statement, while its deadline lasts.

    Raises:
        StatementTimeout, Cancelled
    """
    found = _current.get()
    if found is None:
        yield from rows
        return
    for place, row in enumerate(rows):
        if place % ROWS == 0 and found.is_over:
            raise found.error()
        yield row
