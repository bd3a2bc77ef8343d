"""The worker: a process that works on a collection, says after each call that it returned, and can be killed anywhere.

Besides being killed from outside, it can end itself by SIGKILL at its n-th *boundary*: before and after each SQL
statement and each commit, before and after each call that syncs, renames, makes or removes a file, and after each
batch of samples. Windows of microseconds between two writes are hit that way, which random moments miss.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from multiprocessing.connection import Connection
from typing import Any

from engine.config import Settings
from engine.errors import EngineError
from tests.torture.operations import DO, Bench, Operation, compact_soon, fold_behind

SQL, COMMIT, FILE, BATCH = "statements", "commits", "file calls", "batches"
FILE_CALLS = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir")


class Boundaries:
    """Counts what a process does at its boundaries, and ends it at the chosen one."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._fatal: tuple[str, int] | None = None

    def arm(self, kind: str, number: int) -> None:
        """End this process at its ``number``-th boundary of that kind from now on."""
        self._fatal = (kind, self.counts[kind] + number)

    def step(self, kind: str) -> None:
        """One boundary."""
        self.counts[kind] += 1
        if self._fatal == (kind, self.counts[kind]):
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Watch every database and every file call of this process."""
        from sqlalchemy import event
        from sqlalchemy.engine import Engine
        from sqlalchemy.engine.default import DefaultDialect

        def on_statement(*_: Any) -> None:
            self.step(SQL)

        event.listen(Engine, "before_cursor_execute", on_statement)
        event.listen(Engine, "after_cursor_execute", on_statement)
        dialect: Any = DefaultDialect
        dialect.do_commit = self._around(dialect.do_commit, COMMIT)
        for name in FILE_CALLS:
            setattr(os, name, self._around(getattr(os, name), FILE))

    def _around(self, call: Callable[..., Any], kind: str) -> Callable[..., Any]:
        @wraps(call)
        def watched(*arguments: Any, **options: Any) -> Any:
            self.step(kind)
            result = call(*arguments, **options)
            self.step(kind)
            return result

        return watched


@dataclass(frozen=True)
class Doom:
    """Which operation, by its place, is to end the worker, and at which boundary of which kind."""

    place: int
    kind: str
    number: int


def work(
    url: str, settings: Settings, plan: Sequence[Operation], says: Connection, doom: Doom | None, behind: bool
) -> None:
    """Perform a plan; before and after each operation a line goes to the parent.

    Lines are JSON lists: ``["open"]``, ``["began", place]``, ``["done", place, seconds, boundaries by kind]``,
    ``["failed", place, what, whether it is one of ours]``.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    boundaries = Boundaries()
    boundaries.install()
    compact_soon()
    if behind:
        fold_behind()
    place = -1
    try:
        bench = Bench(url, settings, lambda *_: boundaries.step(BATCH))
        bench.open()
        _say(says, "open")
        for place, op in enumerate(plan):
            if doom is not None and doom.place == place:
                boundaries.arm(doom.kind, doom.number)
            before, started = Counter(boundaries.counts), time.monotonic()
            _say(says, "began", place)
            DO[op.kind](bench, op)
            seconds = time.monotonic() - started
            _say(says, "done", place, seconds, dict(boundaries.counts - before))
        bench.eng.close()
    except BaseException as error:
        _say(says, "failed", place, f"{type(error).__name__}: {error}", isinstance(error, EngineError))
    says.close()


def _say(says: Connection, *line: Any) -> None:
    says.send_bytes(json.dumps(line).encode())  # shorter than a pipe's buffer: whole, or not there


# --- processes that start at once


def nursery() -> Any:
    """A context whose processes are forked from a server that has imported and compiled everything already.

    Forked, a process starts in some 20 ms instead of a second; and a child that is killed does the server no harm.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.torture.warm"])
    return context
