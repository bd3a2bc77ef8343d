"""Four writers and eight readers, processes all, on one database; nobody may see an error or a wrong answer.

Writers put, replace and remove models of their own and put models that all of them share; each counts up a field of one
model, so that a lost update shows. Readers search by every method. ``history`` then says what of all that cannot be, and
the audit compares what is left with brute force.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
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
EVERYTHING = 10_000
LAG = 6.0
"""Seconds: the readers' ``refresh_interval`` of 0.5, and time for twelve processes on few cores to notice."""


def put(eng: Engine, name: str, seed: int, writer: int = -1) -> Write:
    """Ingest features, noting when."""
    began = time.monotonic()
    model = eng.ingest(content.features(seed), name=name)
    return Write("put", name, began, time.monotonic(), model.id, seed, "", writer)


def write(url: str, settings: Settings, number: int, seed: int, until: float, says: Connection) -> None:
    """One writer's life."""
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
            return put(eng, str(rng.choice(SHARED)), fresh(), number)
        if drawn < 0.45:
            which = int(rng.integers(len(TWINS)))
            return _twin(eng, which, number, removes=number == which and rng.random() < 0.5)
        if drawn < 0.65 and mine:
            name = str(rng.choice([*mine]))
            return put(eng, name, fresh(), number)
        if len(mine) > OWN or (drawn < 0.8 and mine):
            name = str(rng.choice([*mine]))
            began = time.monotonic()
            eng.remove(name)
            return Write("remove", name, began, time.monotonic(), mine.pop(name))
        name = f"w{number}-{made}"
        written = put(eng, name, fresh(), number)
        mine[name] = written.id
        return written

    _live(url, settings, until, says, step)


def _twin(eng: Engine, which: int, writer: int, *, removes: bool) -> Write | None:
    """Put a model that others put with the same content, or remove it: one writer alone does that of each."""
    if not removes:
        return put(eng, TWINS[which], 5000 + which, writer)
    try:
        model_id = eng.get(TWINS[which]).id
        began = time.monotonic()
        eng.remove(TWINS[which])
    except ModelNotFound:
        return None
    return Write("remove", TWINS[which], began, time.monotonic(), model_id)


def read(url: str, settings: Settings, number: int, seed: int, until: float, says: Connection) -> None:
    """One reader's life."""
    rng = np.random.default_rng([seed, 100 + number])
    pictures = content.picture(901, 0), content.picture(902, 0)

    def step(eng: Engine) -> Search | Reading | None:
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
            return _found(f"image by {method}", began, hits, complete=method != "first_second_moment")
        lag = LAG
        if drawn < 0.8:
            eng.refresh()
            lag = 0.0
        scores, ids = eng.search_vectors(content.query(query), 200, method, recall=1.0)
        found = tuple(int(i) for i in ids if i >= 0)
        values = tuple(float(s) for s in scores[: len(found)])
        return Search(method, began, time.monotonic(), query, found, values, lag, complete=True)

    _live(url, settings, until, says, step)


def _found(method: str, began: float, hits: Any, *, complete: bool = False) -> Search:
    ids, scores = tuple(hit.model.id for hit in hits), tuple(hit.score for hit in hits)
    return Search(method, began, time.monotonic(), -1, ids, scores, 0.0, complete)


def _live(url: str, settings: Settings, until: float, says: Connection, step: Callable[[Engine], Any]) -> None:
    """Step until the time is over; what was done and what was raised goes to the parent."""
    with opened(url, settings) as eng:
        while time.monotonic() < until:
            try:
                noted = step(eng)
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                says.send_bytes(json.dumps(["error", what, isinstance(error, EngineError)]).encode())
                continue
            if noted is not None:
                says.send_bytes(json.dumps([type(noted).__name__, asdict(noted)]).encode())
    says.close()


def _process(life: Callable[..., None], *arguments: Any) -> None:
    """A process of its own: whatever ends it is said."""
    says: Connection = arguments[-1]
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        life(*arguments)
    except BaseException as error:
        what = f"{type(error).__name__}: {error}"
        says.send_bytes(json.dumps(["error", what, isinstance(error, EngineError)]).encode())


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
    begun = []
    with opened(url, settings, create=True) as eng:
        eng.ingest(content.features(3), name=COUNTER)
        begun = [put(eng, name, 10 + place) for place, name in enumerate(SHARED)]
        counter = eng.get(COUNTER).id
        eng.build_index()
    context, pipes, processes = nursery(), [], []
    until = time.monotonic() + seconds
    for life, count in ((write, WRITERS), (read, READERS)):
        for number in range(count):
            mine, its = context.Pipe(duplex=False)
            processes.append(
                context.Process(target=_process, args=(life, url, settings, number, seed, until, its))
            )  # fmt: skip
            processes[-1].start()
            its.close()
            pipes.append(mine)
    say(f"{tally.section}: {WRITERS} writers and {READERS} readers for {seconds:.0f} s")
    history = gather(pipes, tally)
    for process in processes:
        process.join()
        if process.exitcode:
            tally.wrong.append(f"a process ended with {process.exitcode}")
    history.writes += [*begun, Write("put", COUNTER, 0.0, 0.0, counter, 3)]
    tally.done = {
        "processes": len(processes), "seconds": int(seconds), "writes": len(history.writes),
        "searches": len(history.searches),
    }  # fmt: skip
    judge(url, settings, history, tally)
    return tally


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
