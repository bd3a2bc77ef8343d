"""A worker is killed again and again while it works on one collection; after each kill the collection is audited.

Each round aims at one *activity*. Half of the rounds kill at a random moment within the time that it usually takes,
half at one of the boundaries that it usually crosses (``child``). The collection goes on from kill to kill, so that
what one of them damages is met by those after it. Migrations and copies are aimed at collections of their own.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import Settings
from engine.storage import Database, migrate
from tests.postgres import shared_server
from tests.torture import content
from tests.torture.audit import Found, audit
from tests.torture.child import Doom, nursery, work
from tests.torture.operations import Operation, State, opened, quietly, run_command, stages
from tests.torture.tally import Say, Tally
from tests.torture.truth import read_truth

PICTURES = 48
MODELS = 60
"""More than these are not kept: every audit scores all of them by brute force."""
BULK = 24
KINDS = ("auto", "flat", "quantized")
PATIENCE = 60.0
"""Seconds after which a worker is taken to hang."""
ACTIVITIES = (
    "features", "pictures", "bulk", "again", "update", "rename", "remove", "build", "compact", "publish", "factors",
    "similar", "migrate", "copy",
)  # fmt: skip
ELSEWHERE = ("migrate", "copy")
"""Activities that are about a collection of their own."""


@dataclass
class Usual:
    """How long an activity took, and how many boundaries of each kind it crossed, the last times."""

    seconds: float = 0.2
    boundaries: Counter[str] = field(default_factory=Counter)

    def learn(self, seconds: float, boundaries: dict[str, int]) -> None:
        """Take the last time as the usual one, mostly."""
        self.seconds = 0.5 * self.seconds + 0.5 * seconds
        self.boundaries = Counter(boundaries)


@dataclass
class Round:
    """One worker's life: what it was to do, what it said, and how it ended."""

    plan: list[Operation]
    done: int = 0
    began: int = -1
    failed: tuple[str, bool] | None = None
    killed: bool = False


class Kills:
    """Kills on one database, SQLite or Postgres."""

    def __init__(self, folder: Path, backend: str, seed: int, say: Say, activities: Sequence[str] = ACTIVITIES) -> None:
        self.folder = folder
        self.backend = backend
        self.say = say
        self.rng = np.random.default_rng(seed)
        self.tally = Tally(f"kills, {backend}", {"kills": 0})
        self.server = shared_server()  # copies go to the other database
        self.state: State = {}
        self.newest_id = 0
        self.made = 0
        self.usual = {activity: Usual() for activity in ACTIVITIES}
        self.within: Counter[str] = Counter()
        self.context = nursery()
        self.activities = list(activities)
        self.url = self._fresh("zoo")
        self.folders = {seed: content.make_pictures(folder / f"p{seed}", seed, PICTURES) for seed in (501, 502, 503)}
        opened(self.url, self._settings(0), create=True).close()
        self._make_templates()

    # --- the collections

    def _fresh(self, name: str, backend: str | None = None, template: str | None = None) -> str:
        """The address of a new database, empty or a copy of one."""
        if (backend or self.backend) == "postgres":
            return self.server.create(template)
        path = self.folder / f"{name}.db"
        for old in self.folder.glob(f"{name}.db*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        if template is not None:
            shutil.copy(template.removeprefix("sqlite:///"), path)
        return f"sqlite:///{path}"

    def _settings(self, number: int) -> Settings:
        return Settings(index_folder=str(self.folder / "index"), index_kind=KINDS[number % len(KINDS)], batch_size=8,
                        checkpoint_samples=16, busy_timeout=10.0)  # fmt: skip

    def _make_templates(self) -> None:
        """A collection at the first revision with data in it, to be migrated, and one of the other kind, to copy."""
        names = [f"old{number}" for number in range(12)]
        other = "sqlite" if self.backend == "postgres" else "postgres"
        wanted = {"0001": self.backend} | ({"head": other} if "copy" in self.activities else {})
        self.templates = {}
        for revision, backend in wanted.items():
            url = self.templates[revision] = self._fresh(f"template-{revision}", backend)
            settings = Settings(index_folder=str(self.folder / f"index-{revision}"))
            with opened(url, settings, create=True) as eng:
                means, covariances = content.arrays(list(range(600, 612)))
                eng.ingest_statistics(names, means, covariances, encoder=content.ENCODER, samples=40, tags=["old"])
                eng.ingest(content.features(620), name="sampled")
            if revision != "head":
                database = Database(url, settings)
                migrate.downgrade(database, revision)
                database.close()
        self.original = {revision: read_truth(url) for revision, url in self.templates.items()}

    # --- what a worker is to do

    def _operation(self, kind: str, state: State) -> Operation:
        self.made += 1
        seed = 10_000 + 100 * self.made
        names = sorted(state)
        known = names[int(self.rng.integers(len(names)))] if names else ""
        tags = tuple({f"tag{n}" for n in self.rng.integers(6, size=2)})
        if not names and kind in ("again", "update", "rename", "remove", "similar", "factors", "build"):
            kind = "bulk"
        match kind:
            case "features":
                return Operation(kind, (f"m{self.made}",), seed, tags)
            case "pictures":
                drawn = int(self.rng.choice([*self.folders]))
                name = known if self.rng.random() < 0.3 and names else f"p{self.made}"
                return Operation(kind, (name,), drawn, (str(self.folders[drawn]), str(PICTURES), *tags))
            case "bulk":
                again = tuple(names[: BULK // 2])
                fresh = tuple(f"b{self.made}-{place}" for place in range(BULK - len(again)))
                return Operation(kind, (*again, *fresh), seed, tags)
            case "again" | "update" | "remove" | "similar":
                return Operation(kind, (known,), seed, tags)
            case "rename":
                return Operation(kind, (known,), seed, (f"r{self.made}",))
            case "migrate":
                url = self._fresh("migrated", template=self.templates["0001"])
                return Operation(kind, (), seed, ("db", "upgrade", "--database", url))
            case "copy":
                return Operation(kind, (), seed, ("copy", self.templates["head"], self._fresh("copied")))
        return Operation(kind, (), seed)

    def _plan(self, activity: str) -> list[Operation]:
        """A little work, the activity that is aimed at, and a little more."""
        before = ["remove"] * max((len(self.state) - MODELS) // 2, 0)
        before += [str(self.rng.choice(["features", "again", "remove", "update", "bulk", "factors"]))]
        before += {"compact": ["bulk"], "factors": ["bulk"], "publish": ["again"], "similar": ["features"]}.get(
            activity, []
        )
        plan: list[Operation] = []
        state = self.state
        for kind in (*before, activity, "features", "publish"):
            plan.append(self._operation(kind, state))
            state = stages(state, plan[-1])[-1]
        self.target = len(before)
        return plan

    # --- one kill

    def round(self) -> None:
        """Aim at the activity that was hit least, kill, audit."""
        number = self.tally.done["kills"]
        activity = min(self.activities, key=lambda one: (self.within[one], self.rng.random()))
        plan = self._plan(activity)
        doom, delay = self._drawn(activity)
        self._judge(self._live(plan, doom, delay, number), number)

    def rehearse(self, activity: str) -> None:
        """The same to its end, to learn how long the activity takes and what boundaries it crosses."""
        self._judge(self._live(self._plan(activity), None, np.inf, 0), 0)

    def _drawn(self, activity: str) -> tuple[Doom | None, float]:
        """The boundary at which the worker ends itself, or the seconds after which it is killed."""
        usual = self.usual[activity]
        kinds = sorted(kind for kind, count in usual.boundaries.items() if count)
        if kinds and self.rng.random() < 0.5:
            kind = str(self.rng.choice(kinds))
            return Doom(self.target, kind, int(self.rng.integers(1, usual.boundaries[kind] + 1))), 0.0
        return None, float(self.rng.uniform(0, usual.seconds))

    def _live(self, plan: list[Operation], doom: Doom | None, delay: float, number: int) -> Round:
        """One worker, from its birth to its end."""
        mine, its = self.context.Pipe(duplex=False)
        behind = bool(number % 2)
        worker = self.context.Process(target=work, args=(self.url, self._settings(number), plan, its, doom, behind))
        worker.start()
        its.close()
        life, deadline = Round(plan), time.monotonic() + PATIENCE
        moment = np.inf
        while True:
            left = min(moment, deadline) - time.monotonic()
            if mine.poll(max(left, 0)):
                if not self._heard(mine, life):
                    break
                if life.began == self.target and moment == np.inf and doom is None:
                    moment = time.monotonic() + delay
            elif time.monotonic() >= moment:
                worker.kill()
                moment = np.inf
                deadline = time.monotonic() + PATIENCE
            elif time.monotonic() >= deadline:
                worker.kill()
                self.tally.wrong.append(f"{plan[max(life.began, 0)].kind}: no sign of life for {PATIENCE} s")
        worker.join()
        life.killed = worker.exitcode == -9
        if self.backend == "postgres":
            self._wait_for_backends()
        return life

    def _heard(self, mine: Connection, life: Round) -> bool:
        """Take one line; False when the worker has ended."""
        try:
            what, *said = json.loads(mine.recv_bytes())
        except (EOFError, OSError):
            return False
        if what == "began":
            life.began = said[0]
        elif what == "done":
            life.done = said[0] + 1
            self.usual[life.plan[said[0]].kind].learn(said[1], said[2])
        elif what == "failed":
            life.failed = (f"{'open' if said[0] < 0 else life.plan[said[0]].kind}: {said[1]}", said[2])
        return True

    def _wait_for_backends(self) -> None:
        """Until the server has noticed that its client is gone: what was sent to it may still be committed."""
        name = self.url.partition("?")[0].rpartition("/")[2]
        deadline = time.monotonic() + PATIENCE
        asked = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend'"
        while self.server.execute(asked)[0][0]:
            if time.monotonic() > deadline:
                self.tally.wrong.append("a killed worker's connection did not end")
                return
            time.sleep(0.005)

    # --- the judgement

    def _judge(self, life: Round, number: int) -> None:
        state, possible = self.state, [self.state]
        for op in life.plan[: life.done]:
            state = stages(state, op)[-1]
            possible = [state]
        inside = None
        if life.began >= life.done:
            inside = life.plan[life.began]
            possible = stages(state, inside)
        if life.killed:
            self.tally.done["kills"] += 1
            what = "between calls" if inside is None else inside.kind
            self.within[what] += 1
            self.tally.done[f"in {what}" if inside else what] = self.within[what]
        publish = self.rng.random() < 0.5
        self.state, found = audit(
            self.url, self._settings(number + 1), possible, 7 * number, publish=publish, newest_id=self.newest_id
        )
        if inside is not None and inside.kind in ELSEWHERE:
            self._finish(inside, found)
        if life.failed is not None:
            (found.wrong if life.failed[1] else found.untyped).append(life.failed[0])
        ids = [entry.id for entry in self.state.values() if entry.id is not None]
        self.newest_id = max([self.newest_id, *ids])
        self._note(found, f"kill {number + 1}, in {inside.kind if inside else 'nothing'}")

    def _finish(self, op: Operation, found: Found) -> None:
        """A migration or copy that was killed: what is there is whole, and doing it again ends it."""
        url = op.extra[-1]
        original = self.original["0001" if op.kind == "migrate" else "head"]
        if op.kind == "migrate":
            before = read_truth(url)
            found.losses += _unequal(original.rows, before.rows, "a killed migration")
        try:
            with quietly():
                run_command(*op.extra)
            after = read_truth(url)
            found.wrong += after.broken
            found.losses += _unequal(original.rows, after.rows, op.kind)
            with opened(url, Settings(index_folder=str(self.folder / f"index-{op.kind}-{self.made}"))) as eng:
                found.wrong += [f"{op.kind}: doctor: {one.what}" for one in eng.doctor() if one.severity == "damage"]
        except Exception as error:
            found.untyped.append(f"{op.kind}, again after a kill: {type(error).__name__}: {error}")
        finally:
            shutil.rmtree(self.folder / f"index-{op.kind}-{self.made}", ignore_errors=True)
            if self.backend == "postgres":
                self.server.drop(url)

    def _note(self, found: Found, where: str) -> None:
        for mine, its in (
            (self.tally.losses, found.losses), (self.tally.wrong, found.wrong), (self.tally.untyped, found.untyped),
        ):  # fmt: skip
            mine += [f"{where}: {one}" for one in its]


def _unequal(before: dict[str, Any], after: dict[str, Any], what: str) -> list[str]:
    """Models that are not what they were, blob by blob."""
    found = [f"{what}: {name} is gone" for name in before.keys() - after.keys()]
    found += [f"{what}: {name} came from nowhere" for name in after.keys() - before.keys()]
    same = before.keys() & after.keys()
    found += [f"{what}: {n} has other moments" for n in same if before[n].blobs != after[n].blobs]
    return found + [f"{what}: {n} has other tags" for n in same if before[n].tags != after[n].tags]


def kills(folder: Path, backend: str, count: int, seed: int, say: Say, activities: Sequence[str] = ACTIVITIES) -> Tally:
    """Kill ``count`` workers on ``backend`` (``sqlite`` or ``postgres``) in these activities."""
    harness = Kills(folder, backend, seed, say, activities)
    rounds, most = 0, 4 * count + 40
    for activity in harness.activities:
        harness.rehearse(activity)
    while harness.tally.done["kills"] < count and rounds < most:
        rounds += 1
        harness.round()
        if rounds % 20 == 0:
            say(f"{harness.tally.section}: {harness.tally.done['kills']} of {count} kills, {len(harness.state)} models")
    missed = [one for one in harness.activities if not harness.within[one]]
    if missed and count >= 2 * len(harness.activities):
        harness.tally.wrong.append(f"the harness never hit {', '.join(missed)}")
    return harness.tally
