"""Statements end at their deadline, or when they are cancelled, on both databases; connections stay usable."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from engine.errors import Cancelled, StatementTimeout
from engine.storage import Catalog, Database
from engine.storage.deadlines import Deadline, deadline, heeding, together, unhurried

SLOW = text("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300000000) SELECT max(x) FROM n")
"""Takes a minute or more on either database."""
SOON = 10.0
"""Seconds, of which a busy machine may take most."""


def test_a_slow_statement_ends_at_its_deadline(database: Database) -> None:
    started = time.monotonic()
    with deadline(0.2), pytest.raises(StatementTimeout, match=r"0\.2 s") as caught, database.read() as session:
        session.execute(SLOW).all()
    assert time.monotonic() - started < SOON
    assert caught.value.hint
    with database.read() as session:  # without a deadline the same connection takes its time
        assert session.scalar(text("SELECT 1")) == 1


def test_a_write_that_ends_at_its_deadline_writes_nothing(database: Database, catalog: Catalog) -> None:
    def write() -> None:
        with database.write() as session:
            session.execute(text("UPDATE collection SET value = 'other'"))
            session.execute(SLOW).all()

    with deadline(0.2), pytest.raises(StatementTimeout):
        write()
    assert "other" not in catalog.facts().values()
    catalog.set_fact("note", "still written")


def test_each_statement_has_its_own_time(database: Database) -> None:
    with deadline(0.5), database.read() as session:
        for _ in range(4):
            session.execute(text("SELECT 1")).all()
            time.sleep(0.2)


def test_statements_together_share_it(database: Database) -> None:
    with deadline(0.3), together(), database.read() as session:
        time.sleep(0.4)
        with pytest.raises(StatementTimeout):
            next(heeding(session.execute(text("SELECT 1"))))


def test_what_others_need_as_well_is_unhurried(database: Database) -> None:
    with deadline(0.05) as bound:
        bound.cancel()
        with unhurried(), database.read() as session:
            assert session.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("write", [False, True])
def test_a_statement_is_cancelled_by_another_thread(database: Database, write: bool) -> None:
    started = time.monotonic()
    with deadline(600) as bound:
        threading.Timer(0.3, bound.cancel).start()
        with pytest.raises(Cancelled), database.write() if write else database.read() as session:
            session.execute(SLOW).all()
        with pytest.raises(Cancelled), database.read():
            pass
    assert time.monotonic() - started < SOON
    with database.write() as session:
        assert session.scalar(text("SELECT 1")) == 1


def cancelled_before(database: Database, bound: Deadline, *, pause: float) -> None:
    """Run a statement that is slow, though it is cancelled before it begins."""
    with database.read() as session:
        threading.Thread(target=bound.cancel).start()
        while not bound.is_cancelled:
            time.sleep(0.01)
        time.sleep(pause)
        session.execute(SLOW).all()


def test_a_cancellation_between_two_statements_is_repeated(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadline, "began", lambda _: None)  # as if the next statement had begun just before
    started = time.monotonic()
    with deadline(600) as bound, pytest.raises(Cancelled):
        cancelled_before(database, bound, pause=0.2)  # the server is told, runs nothing, and ignores it
    assert time.monotonic() - started < SOON


def test_no_statement_begins_once_it_is_cancelled(database: Database) -> None:
    started = time.monotonic()
    with deadline(600) as bound, pytest.raises(Cancelled):
        cancelled_before(database, bound, pause=0)
    assert time.monotonic() - started < SOON


def test_a_thread_without_the_context_has_none(database: Database) -> None:
    found: list[int] = []

    def read() -> None:
        with database.read() as session:
            found.append(session.scalar(text("SELECT 1")))

    with deadline(1) as bound:
        bound.cancel()
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert found == [1]


def test_rows_are_not_gone_through_for_ever() -> None:
    def rows() -> Iterator[int]:
        while True:
            yield 0

    with deadline(0.1), pytest.raises(StatementTimeout):
        sum(heeding(rows()))
