"""Four writers and eight readers, processes all, on one database; nobody may see an error or a wrong answer.

Writers put, replace and remove models of their own and put models that all of them share, some with the same content;
each counts up a field of one model, so that a lost update shows. Readers search by every method. ``history`` then says
what of all that cannot be, and the audit compares what is left with brute force.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from engine import Engine
from engine.config import Settings
from engine.errors import EngineError, ModelNotFound
from tests.postgres import shared_server
from tests.torture import content
from tests.torture.audit import audit
from tests.torture.child import nursery
from tests.torture.history import COUNTER, History, Reading, Search, Write
from tests.torture.operations import Entry, State, opened
from tests.torture.tally import Say, Tally
from tests.torture.truth import read_truth

WRITERS, READERS = 4, 8
FIELDS = ("description", "author", "license", "base_model")
"""Each writer's own field of the counted model."""
SHARED = ("shared-0", "shared-1", "shared-2")
TWINS = ("twin-0", "twin-1")
"""Models that every writer puts, always with the same content, and removes."""
OWN = 12
"""Models that a writer keeps of its own."""
METHODS = (
    "first_moment", "whitened_first_moment", "linear_density", "first_second_moment", "gaussian_density", "blend",
    "monte_carlo", "best_1", "best_10",
)  # fmt: skip
PATIENCE = 60.0
"""Seconds for all processes to open the collection, before those that have begin."""
EVERYTHING, MANY = 10_000, 200
"""Answers that are asked for: more than there ever are."""
Step = Callable[[Engine], Any]
"""One call, and what is to be noted of it: a ``Write``, ``Search`` or ``Reading``, or None."""
LAG = 6.0
"""Seconds: the readers' ``refresh_interval`` of 0.5, and time for twelve processes on few cores to notice."""


def put(eng: Engine, name: str, seed: int) -> Write:
    """Ingest features, noting when."""
    began = time.monotonic()
    model = eng.ingest(content.features(seed), name=name)
    return Write("put", name, began, time.monotonic(), model.id, seed)


def writer(number: int, seed: int) -> Step:
    """What one writer does, a call at a time."""
    rng = np.random.default_rng([seed, number])
    mine: dict[str, int] = {}
    made = 0

    def fresh() -> int:
        nonlocal made
        made += 1
        return 1_000_000 * (number + 1) + made

    def step(eng: Engine) -> Write | None:
        drawn = rng.random()
        if drawn < 0.2:
            began = time.monotonic()
            value = fresh() - 1_000_000 * (number + 1)
            eng.update(COUNTER, **{FIELDS[number]: str(value)})
            return Write("count", COUNTER, began, time.monotonic(), seed=value, field=FIELDS[number])
        if drawn < 0.35:
            return put(eng, str(rng.choice(SHARED)), fresh())
        if drawn < 0.45:
            which = int(rng.integers(len(TWINS)))
            if number == which and rng.random() < 0.5:  # it alone removes that one: else its id could be another's
                return _removed(eng, TWINS[which])
            return put(eng, TWINS[which], 5000 + which)
        if drawn < 0.65 and mine:
            return put(eng, str(rng.choice([*mine])), fresh())
        if len(mine) > OWN or (drawn < 0.8 and mine):
            name = str(rng.choice([*mine]))
            del mine[name]
            return _removed(eng, name)
        name = f"w{number}-{made}"
        written = put(eng, name, fresh())
        mine[name] = written.id
        return written

    return step


def _removed(eng: Engine, name: str) -> Write | None:
    """Remove a model, noting when; None if it is not there."""
    try:
        model_id = eng.get(name).id
        began = time.monotonic()
        eng.remove(name)  # models that are shared may have been removed by another since
    except ModelNotFound:
        return None
    return Write("remove", name, began, time.monotonic(), model_id)


def reader(number: int, seed: int, lag: float) -> Step:
    """What one reader does; ``lag`` is how far behind others ``search_vectors`` may be unless it is refreshed."""
    rng = np.random.default_rng([seed, 100 + number])
    pictures = content.picture(901, 0), content.picture(902, 0)

    def step(eng: Engine) -> Search | Reading:
        drawn, method = rng.random(), str(rng.choice(METHODS))
        query = int(rng.integers(50))
        began = time.monotonic()
        if drawn < 0.1:
            field = int(rng.integers(len(FIELDS)))
            value = getattr(eng.get(COUNTER), FIELDS[field])
            return Reading(FIELDS[field], int(value or 0), began, time.monotonic())
        if drawn < 0.2:
            return _found("similar", began, eng.similar(str(rng.choice(SHARED)), k=5))
        if drawn < 0.3:
            return _found("model", began, eng.search(model=str(rng.choice(SHARED)), k=EVERYTHING))
        if drawn < 0.6:
            hits = eng.search(image=pictures[query % 2], method=method, k=EVERYTHING)
            return _found(f"image by {method}", began, hits, complete=True)
        refreshed = drawn < 0.8
        if refreshed:
            eng.refresh()
        scores, ids = eng.search_vectors(content.query(query), MANY, method, recall=1.0)
        found = tuple(int(i) for i in ids if i >= 0)
        values = tuple(float(s) for s in scores[: len(found)])
        late = 0.0 if refreshed else lag
        return Search(method, began, time.monotonic(), query, found, values, late, complete=True)

    return step


def _found(method: str, began: float, hits: Any, *, complete: bool = False) -> Search:
    ids, scores = tuple(hit.model.id for hit in hits), tuple(hit.score for hit in hits)
    return Search(method, began, time.monotonic(), -1, ids, scores, 0.0, complete)


def _process(
    url: str, settings: Settings, step: tuple[Any, ...], seconds: float, together: Any, says: Connection
) -> None:  # fmt: skip
    """One process: it opens the collection, waits until all have, and steps until the time is over."""
    silence()
    make, *arguments = step
    try:
        with opened(url, settings) as eng:
            with suppress(threading.BrokenBarrierError):  # one of them could not open it, and has said so
                together.wait(PATIENCE)
            live(eng, make(*arguments), time.monotonic() + seconds, says.send_bytes)
    except BaseException as error:  # opening and closing can fail, too
        says.send_bytes(failure(error))


def silence() -> None:
    """Send what this process prints nowhere: errors are told over the pipe."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def failure(error: BaseException) -> bytes:
    """A line that says what a user would have seen."""
    return json.dumps(["error", f"{type(error).__name__}: {error}", isinstance(error, EngineError)]).encode()


def live(eng: Engine, step: Step, until: float, say: Callable[[bytes], None]) -> None:
    """Step until the time is over, noting what was done and what was raised."""
    while time.monotonic() < until:
        try:
            noted = step(eng)
        except Exception as error:
            say(failure(error))
            continue
        if noted is not None:
            say(json.dumps([type(noted).__name__, asdict(noted)]).encode())


KINDS: dict[str, tuple[str, type]] = {
    "Write": ("writes", Write), "Search": ("searches", Search), "Reading": ("readings", Reading)
}  # fmt: skip


def gather(pipes: Sequence[Connection], tally: Tally) -> History:
    """Everything that the processes say, until all have ended."""
    history, open_pipes = History(), list(pipes)
    errors: Counter[tuple[str, bool]] = Counter()
    while open_pipes:
        for pipe in wait(open_pipes):
            assert isinstance(pipe, Connection)
            try:
                kind, *said = json.loads(pipe.recv_bytes())
            except EOFError:
                open_pipes.remove(pipe)
                continue
            if kind == "error":
                errors[said[0], said[1]] += 1
                continue
            name, record = KINDS[kind]
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in said[0].items()}
            getattr(history, name).append(record(**values))
    for (what, ours), count in errors.items():
        (tally.wrong if ours else tally.untyped).append(f"a user saw, {count} times: {what}")
    return history


def concurrency(folder: Path, backend: str, seconds: float, seed: int, say: Say) -> Tally:
    """``WRITERS`` and ``READERS`` on one database for so many seconds."""
    tally = Tally(f"concurrency, {backend}")
    url = shared_server().create() if backend == "postgres" else f"sqlite:///{folder / 'zoo.db'}"
    settings = Settings(index_folder=str(folder / "index"), refresh_interval=0.5)
    begun = prepare(url, settings)
    context, pipes, processes = nursery(), [], []
    first = context.Process(target=silence)  # the server that forks them may have to start: that takes its time
    first.start()
    first.join()
    steps: list[tuple[Any, ...]] = [(writer, number, seed) for number in range(WRITERS)]
    steps += [(reader, number, seed, LAG) for number in range(READERS)]
    together = context.Barrier(len(steps))
    for step in steps:
        mine, its = context.Pipe(duplex=False)
        processes.append(context.Process(target=_process, args=(url, settings, step, seconds, together, its)))
        processes[-1].start()
        its.close()
        pipes.append(mine)
    say(f"{tally.section}: {WRITERS} writers and {READERS} readers for {seconds:.0f} s")
    history = gather(pipes, tally)
    for process in processes:
        process.join()
        if process.exitcode:
            tally.wrong.append(f"a process ended with {process.exitcode}")
    history.writes += begun
    tally.done = {
        "processes": len(processes), "seconds": int(seconds), "writes": len(history.writes),
        "searches": len(history.searches),
    }  # fmt: skip
    judge(url, settings, history, tally)
    return tally


def prepare(url: str, settings: Settings) -> list[Write]:
    """A new collection with the models that everybody asks for."""
    with opened(url, settings, create=True) as eng:
        begun = [put(eng, COUNTER, 3), *(put(eng, name, 10 + place) for place, name in enumerate(SHARED))]
        eng.build_index()
    return begun


def judge(url: str, settings: Settings, history: History, tally: Tally) -> None:
    """What cannot be, what is lost, and whether doctor and brute force agree at the end."""
    tally.wrong += history.impossible()
    truth = read_truth(url)
    tally.losses += history.lost(truth)
    state: State = {}
    for name, row in truth.rows.items():
        seeds = [one.seed for one in history.writes if one.kind == "put" and one.id == row.id]
        near = [seed for seed in seeds if np.allclose(row.mean, content.moments(seed).mean, rtol=0, atol=1e-6)]
        if near:
            state[name] = Entry(("features", near[-1], 40), row.tags, row.description, row.id)
    _, found = audit(url, settings, [state], 3, publish=True)
    tally.losses += found.losses
    tally.wrong += found.wrong
    tally.untyped += found.untyped
