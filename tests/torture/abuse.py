"""Forty hostile clients of a server beside ten honest ones, who may notice nothing but some delay.

The server is a process of its own with eight gigabytes of address space. The hostile clients (``hostile``) are niced,
so that the server is measured and not the machine; each repeats one kind of abuse, some with a key that may read or
write. The honest ones (``honest``) know their answers. Afterwards every acknowledged write must be there, and the
server's memory must go back.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from engine import Engine
from engine.errors import ModelNotFound
from tests.postgres import shared_server
from tests.torture import content, hostile
from tests.torture.honest import HABITS, Client, clients_ask
from tests.torture.tally import Say, Tally

HOSTILE, PROCESSES = 40, 4
MODELS, DIMENSION = 20_000, 256
ADDRESS_SPACE = 8_000_000 * 1024
PEAK, BACK = 2500, 300
"""Megabytes: the most that the server may take, and how far above its start it may stay."""
WARM = 300.0
"""Seconds for the server to load and build what it needs."""
AFTER = 60.0
"""Seconds for memory to go back."""
Keys = dict[str, str]


def prepare(url: str, folder: Path) -> Keys:
    """A collection of drawn models and many of moments alone, and keys for both sides."""
    rng = np.random.default_rng(7)
    with Engine.open(url, create=True, encoder="compact") as eng:
        for number in range(2):
            drawn = folder / f"drawn-{number}"
            drawn.mkdir(parents=True)
            for i in range(12):
                Image.fromarray(content.picture(number, i)).save(drawn / f"{i}.png")
            eng.ingest(drawn, tags=["drawn"])
        means = rng.standard_normal((MODELS, DIMENSION)).astype(np.float32)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        eng.ingest_statistics([f"m-{i}" for i in range(MODELS)], 0.8 * means, encoder="compact", samples=50)
        scopes = {
            "hostile-read": ["read"],
            "hostile-write": ["write"],
            **{f"honest-{i}": ["read", "write"] for i in range(len(HABITS))},
        }
        return {name: eng.keys.create(name, allowed)[1] for name, allowed in scopes.items()}


@contextmanager
def served(url: str, say: Say) -> Iterator[tuple[int, int]]:
    """A server that asks for keys, within bounds of memory: its process and port."""

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))

    command = [sys.executable, "-m", "engine", "serve", "--port", "0", "--auth", "keys", "--database", url]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=bounded)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            found = re.search(r"running on http://127.0.0.1:(\d+)", line)
            if found:
                reader = threading.Thread(target=_noted, args=(process.stderr, say), daemon=True)
                reader.start()
                yield process.pid, int(found[1])
                return
        raise AssertionError(f"the server ended with {process.wait()}")
    finally:
        process.terminate()
        process.wait(60)


def _noted(log: Iterator[str], say: Say) -> None:
    """Read a server's log to its end, since a full pipe would stop it, and pass on what looks like a fault."""
    for line in log:
        if "Traceback" in line or "unexpected" in line or "MemoryError" in line:
            say(f"the server said: {line.rstrip()}")


def resident(pid: int) -> int:
    """Megabytes that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


class Watch(threading.Thread):
    """Samples a process's memory until it is told to stop; ``peak`` in megabytes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0, threading.Event()

    def run(self) -> None:
        """Look ten times a second."""
        while not self.over.wait(0.1):
            try:
                self.peak = max(self.peak, resident(self.pid))
            except OSError:
                return


def abusers(port: int, seconds: float, keys: Keys) -> list[subprocess.Popen[str]]:
    """The hostile clients, in niced processes."""
    kinds = [list(hostile.KINDS)[i % len(hostile.KINDS)] for i in range(HOSTILE)]
    told = [str(port), str(seconds), keys["hostile-read"], keys["hostile-write"]]
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.torture.hostile", *told, *kinds[i::PROCESSES]],
            stdout=subprocess.PIPE, text=True,
        )
        for i in range(PROCESSES)
    ]  # fmt: skip


def abuse(folder: Path, backend: str, seconds: float, slowest: float, say: Say) -> Tally:
    """Both sides for so many seconds on one database; honest clients may wait ``slowest`` seconds at p99."""
    tally = Tally(f"abuse, {backend}")
    url = shared_server().create() if backend == "postgres" else f"sqlite:///{folder / 'zoo.db'}"
    keys = prepare(url, folder)
    with served(url, say) as (pid, port):
        honest = [Client(port, keys[f"honest-{i}"], i) for i in range(len(HABITS))]
        warm(honest)
        clients_ask(honest, 5.0)
        quiet = percentile(waits(honest), 99)
        start, watch = resident(pid), Watch(pid)
        watch.start()
        others = abusers(port, seconds, keys)
        clients_ask(honest, seconds + 2)
        answered: dict[str, Counter[str]] = {}
        for process in others:
            said, _ = process.communicate(timeout=seconds + 120)
            for kind, counts in json.loads(said).items():
                answered.setdefault(kind, Counter()).update(counts)
        watch.over.set()
        waited = waits(honest)
        after = gone_back(pid, start)
        clients_ask(honest, 2.0)
    judge(tally, honest, answered, watch.peak, start, after)
    lost(tally, url, honest)
    p99 = percentile(waited, 99)
    if p99 > slowest:
        tally.wrong.append(f"honest clients waited {p99:.1f} s at the 99th percentile")
    tally.done = {
        "hostile clients": HOSTILE, "hostile answers": sum(sum(counts.values()) for counts in answered.values()),
        "honest requests": len(waited), "ms at their 99th percentile": int(1e3 * p99),
        "ms at it without abuse": int(1e3 * quiet),
        "MB at most": watch.peak, "MB at the start": start, "MB afterwards": after,
    }  # fmt: skip
    for kind, counts in answered.items():
        say(f"{kind}: {dict(counts)}")
    return tally


def warm(clients: list[Client]) -> None:
    """Have each ask once, so that what is loaded, built and compiled once is no part of what is measured."""
    until = time.monotonic() + WARM
    for client in clients:
        for habit in HABITS[client.number]:
            while time.monotonic() < until:
                client.failures.clear()
                habit(client)
                if not client.failures:
                    break
    waits(clients)


def waits(clients: list[Client]) -> list[float]:
    """The seconds that requests took since this was asked last."""
    found = [one for client in clients for one in client.seconds]
    for client in clients:
        client.seconds.clear()
    return found


def percentile(seconds: list[float], which: float) -> float:
    """Of the seconds that requests took."""
    return float(np.percentile(seconds, which)) if seconds else 0.0


def gone_back(pid: int, start: int) -> int:
    """Megabytes a while after the abuse, as soon as they are near the start."""
    until = time.monotonic() + AFTER
    while resident(pid) > start + BACK and time.monotonic() < until:
        time.sleep(0.5)
    return resident(pid)


def judge(
    tally: Tally, honest: list[Client], answered: dict[str, Counter[str]], peak: int, start: int, after: int
) -> None:
    """What may not have been."""
    tally.wrong += [failure for client in honest for failure in client.failures]
    for kind, counts in answered.items():
        for status, times in counts.items():
            if status.startswith("5") and status != "503":
                tally.untyped += [f"{kind} was answered {status}"] * times
            if status.startswith("2") and kind in REFUSED:
                tally.wrong += [f"{kind} was answered {status}"] * times
    if peak > PEAK:
        tally.wrong.append(f"the server took {peak} MB")
    if after > start + BACK:
        tally.wrong.append(f"the server took {start} MB at the start and {after} MB afterwards")


REFUSED = (
    "brackets",
    "brackets_write",
    "deep",
    "wrong_key",
    "login",
    "invented",
    "paths",
    "long_names",
    "too_many_filters",
)
"""Kinds that nothing may be done for."""


def lost(tally: Tally, url: str, honest: list[Client]) -> None:
    """Acknowledged writes that are not there."""
    with Engine.open(url) as eng:
        for client in honest:
            for name in client.written:
                try:
                    eng.get(name)
                except ModelNotFound:
                    tally.losses.append(f"{name} was acknowledged and is not there")
