"""Threads that share one ``Engine``: they write, search, refresh, and one closes it while the others are at work.

What one thread has written the others must see at once; ``history`` judges as for processes. A call that meets the
closing may raise one of the engine's own errors, or be answered.
"""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from engine.config import Settings
from tests.postgres import shared_server
from tests.torture.child import nursery
from tests.torture.concurrency import failure, gather, judge, live, prepare, reader, silence, writer
from tests.torture.operations import opened
from tests.torture.tally import Say, Tally

WRITING, SEARCHING = 3, 5
CLOSING = 0.5
"""Seconds for which threads go on while the engine is closed under them."""


def share(url: str, settings: Settings, seconds: float, seed: int, says: Connection) -> None:
    """One process: its threads share an engine until the time is over, and a little longer."""
    silence()
    lock = threading.Lock()

    def say(line: bytes) -> None:
        with lock:
            says.send_bytes(line)

    def say_of_closing(line: bytes) -> None:
        kind, *said = json.loads(line)
        if kind == "error" and not said[1]:
            say(line)

    try:
        eng = opened(url, settings)
        until = time.monotonic() + seconds
        steps = [writer(number, seed) for number in range(WRITING)]
        steps += [reader(number, seed, 0.0) for number in range(SEARCHING)]
        _together([threading.Thread(target=live, args=(eng, step, until, say)) for step in steps])
        until = time.monotonic() + CLOSING
        late = [
            threading.Thread(target=live, args=(eng, reader(90 + number, seed, 0.0), until, say_of_closing))
            for number in range(SEARCHING)
        ]
        _together([*late, threading.Thread(target=eng.close)])
        eng.close()
    except BaseException as error:
        say(failure(error))
    says.close()


def _together(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def threads(folder: Path, seconds: float, seed: int, say: Say) -> Tally:
    """Threads sharing an engine, for so many seconds on each database."""
    tally = Tally("threads", {"threads": 2 * (WRITING + SEARCHING), "seconds": 0, "writes": 0, "searches": 0})
    context: multiprocessing.context.BaseContext = nursery()
    for backend in ("sqlite", "postgres"):
        url = shared_server().create() if backend == "postgres" else f"sqlite:///{folder / 'zoo.db'}"
        settings = Settings(index_folder=str(folder / f"index-{backend}"), refresh_interval=0.2)
        begun = prepare(url, settings)
        mine, its = context.Pipe(duplex=False)
        process = context.Process(target=share, args=(url, settings, seconds, seed, its))  # type: ignore[attr-defined]
        process.start()
        its.close()
        history = gather([mine], tally)
        process.join()
        if process.exitcode:
            tally.wrong.append(f"{backend}: the process ended with {process.exitcode}")
        history.writes += begun
        tally.done["seconds"] += int(seconds)
        tally.done["writes"] += len(history.writes)
        tally.done["searches"] += len(history.searches)
        judge(url, settings, history, tally)
        say(f"threads, {backend}: {WRITING + SEARCHING} threads for {seconds:.0f} s")
    return tally
