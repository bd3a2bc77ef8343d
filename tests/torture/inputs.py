"""Mutated inputs: every format that the engine reads, damaged in many ways, through the readers that users meet.

Two worker processes read; the parent watches them. Before each input a worker writes down its number, so that one that
dies, hangs or outgrows its memory names the input by that. Which bytes an input has follows from its number and the
run's seed alone: ``number_to_input`` makes them again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from engine.errors import EngineError
from tests.torture.formats import Format, Reader, WrongAnswer, all_formats
from tests.torture.mutate import mutated
from tests.torture.tally import Say, Tally

WORKERS = 2
PATIENCE = 20.0
"""Seconds that an input may take; the slowest honest one takes a few hundred milliseconds."""
PREPARING = 300.0
"""Seconds in which a worker imports, compiles and makes the samples."""
MEMORY = 2 * 2**30
"""Bytes of address space that a worker may take beyond what it has when it begins to read."""
FILES = 64
"""Files that it may open beyond those: a reader that leaves files open is noticed."""
MOST_TOLD = 5
"""Findings of one format that are told by their bytes; what comes after them is counted."""
STARTING, DONE = -1, -2

Formats = Callable[[], Sequence[Format]]


@dataclass(frozen=True)
class Run:
    """What the workers do: the ``formats`` by a function of a module, how many inputs, and from which seed."""

    formats: Formats
    count: int
    seed: int
    patience: float


def mutated_inputs(count: int, seed: int, say: Say) -> Tally:
    """Read at least ``count`` mutated inputs of all formats together; see the module."""
    return read_all(Run(all_formats, count, seed, PATIENCE), say)


def number_to_input(run: Run, number: int, samples: Sequence[bytes]) -> bytes:
    """The bytes of an input; ``samples`` are its format's."""
    return mutated(samples, Random(f"{run.seed} {number}"))


def number_to_format(formats: Sequence[Format], number: int) -> Format:
    """Groups take turns, and in a group its formats."""
    groups: dict[str, list[Format]] = {}
    for one in formats:
        groups.setdefault(one.group, []).append(one)
    members = list(groups.values())[number % len(groups)]
    return members[number // len(groups) % len(members)]


def read_all(run: Run, say: Say) -> Tally:
    """Read the inputs of a run in ``WORKERS`` processes, and put down what they found."""
    tally, formats = Tally("inputs"), run.formats()
    folder = Path(tempfile.mkdtemp(prefix="inputs-"))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    watched = [_Watched(context, run, formats, folder / str(first), first, tally) for first in range(WORKERS)]
    told = time.monotonic()
    try:
        while sum(one.goes_on() for one in watched):  # each is looked at, whatever the others say
            time.sleep(0.02)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                say(f"inputs: {sum(one.read for one in watched)} of {run.count}")
    finally:
        for one in watched:
            one.end()
        shutil.rmtree(folder, ignore_errors=True)
    for name, number in sum((one.findings for one in watched), Counter[str]()).items():
        if number > MOST_TOLD:
            tally.untyped.append(f"{name}: {number} findings in all")
    counts = sum((one.counts for one in watched), Counter[str]())
    tally.done = {"mutated inputs": counts.total(), **dict(sorted(counts.items()))}
    return tally


# --- the parent's side


@dataclass
class _Watched:
    """A worker, and a new one in its place whenever it ended before its inputs did."""

    context: Any
    run: Run
    formats: Sequence[Format]
    folder: Path
    next: int
    tally: Tally
    counts: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin, or go on, with the input ``next``."""
        self.number = self.context.Value("q", STARTING, lock=False)
        self.ear, mouth = self.context.Pipe(duplex=False)
        self.process = self.context.Process(target=work, args=(self.run, self.folder, self.next, self.number, mouth))
        self.process.start()
        mouth.close()
        self.seen, self.since = STARTING, time.monotonic()

    @property
    def read(self) -> int:
        """About how many inputs it has read."""
        return max(self.number.value if self.seen != DONE else self.run.count, 0) // WORKERS

    def goes_on(self) -> bool:
        """Listen, look whether it lives and moves, and whether there is more to do."""
        if self.seen == DONE:
            return False
        self.listen()
        number, alive = self.number.value, self.process.is_alive()
        if number != self.seen:
            self.seen, self.since = number, time.monotonic()
        if not alive:
            self.listen()
            self.seen = self.number.value
            if self.seen != DONE:
                self.lost(f"ended the process ({self.process.exitcode})")
        elif time.monotonic() - self.since > (PREPARING if number < 0 else self.run.patience):
            self.end()
            self.seen = self.number.value
            self.lost("took too long")
        return self.seen != DONE

    def listen(self) -> None:
        """Put down what the worker found."""
        try:
            while self.ear.poll():
                said = json.loads(self.ear.recv_bytes())
                if said[0] == "counts":
                    self.counts.update(said[1])
                elif said[0] == "broken":
                    self.tally.untyped.append(f"a sample as it was made: {said[1]}")
                else:
                    self.found(*said)
        except (EOFError, OSError):
            return

    def found(self, kind: str, number: int, what: str) -> None:
        """A finding, with what makes the input again."""
        name = number_to_format(self.formats, number).name
        self.findings[name] += 1
        if self.findings[name] <= MOST_TOLD:
            getattr(self.tally, kind).append(f"{name}, seed {self.run.seed}, input {number}: {what}")

    def lost(self, what: str) -> None:
        """The worker is gone: name its input, and go on behind it."""
        if self.seen == STARTING:
            self.tally.untyped.append(f"a worker that made its samples {what}")
            self.seen = DONE
            return
        self.found("untyped", self.seen, what)
        for number in range(self.next, self.seen + 1, WORKERS):
            self.counts[number_to_format(self.formats, number).group] += 1
        self.next = self.seen + WORKERS
        self.start()

    def end(self) -> None:
        """End the worker, if it is still there."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


# --- the worker's side


def work(run: Run, folder: Path, first: int, number: Any, says: Connection) -> None:
    """Read every ``WORKERS``-th input from ``first`` on; tell what went wrong, and at the end what was read."""
    _be_quiet()
    formats = run.formats()
    shutil.rmtree(folder, ignore_errors=True)
    try:
        prepared = {one.name: _prepared(one, folder) for one in formats}
    except Exception as error:
        says.send_bytes(json.dumps(["broken", f"{type(error).__name__}: {error}"]).encode())
        raise
    _bound()
    counts: Counter[str] = Counter()
    for current in range(first, run.count, WORKERS):
        number.value = current
        one = number_to_format(formats, current)
        reader = prepared[one.name]
        if found := judged(reader.read, number_to_input(run, current, reader.samples)):
            says.send_bytes(json.dumps([found[0], current, found[1][:2000]]).encode())
        counts[one.group] += 1
    says.send_bytes(json.dumps(["counts", counts]).encode())
    number.value = DONE
    says.close()


def _prepared(one: Format, folder: Path) -> Reader:
    """A format's samples, each of which must be read as it is."""
    (place := folder / one.name.replace("/", "-")).mkdir(parents=True)
    reader = one.prepare(place)
    for sample in reader.samples:
        reader.read(sample)
    return reader


def judged(read: Callable[[bytes], None], data: bytes) -> tuple[str, str] | None:
    """What went wrong when the input was read, as a kind and in words; None for an answer or a typed error."""
    try:
        read(data)
    except EngineError as error:
        if not _can_be_printed(error):
            return "untyped", f"{type(error).__name__} cannot be printed: {str(error)!a}"
    except WrongAnswer as error:
        return "wrong", str(error)
    except Exception as error:
        return "untyped", f"{type(error).__name__}: {error}"
    return None


def _can_be_printed(error: EngineError) -> bool:
    text = f"{error}{error.hint or ''}"
    return bool(str(error).strip()) and text == text.encode(errors="replace").decode()


def _be_quiet() -> None:
    """Libraries print to stderr, and warn, and log, whatever a broken file provokes."""
    import logging
    import warnings

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def _bound() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    files = len(os.listdir("/proc/self/fd")) + FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
