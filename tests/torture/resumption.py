"""Ingests that are killed at random samples, several times each, and run again: the stored bytes must be the same.

The reference is an ingest of the same source that nobody disturbed. A run that goes on must begin at the last
checkpoint, which is counted in batches, and a model whose ingest was killed must not be visible.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import NullPool, create_engine, text

from engine.config import Settings
from tests.postgres import shared_server
from tests.torture import content
from tests.torture.child import BATCH, COMMIT, SQL, Doom, nursery, work
from tests.torture.operations import Operation, opened
from tests.torture.tally import Say, Tally

COUNT, BATCH_SIZE, CHECKPOINT = 160, 8, 16
SOURCES = ("folder", "tar", "zip", "generator")
BAD = (7, 60, 151)
"""Pictures that cannot be decoded: what is quarantined must be the same, too."""
STORED = (
    "SELECT s.samples, s.mean, s.covariance, s.mean_checksum, s.checksum, s.source_digest, s.quarantined, s.quarantine,"
    " f.count, f.data, f.checksum FROM models m JOIN statistics s ON s.model_id = m.id"
    " JOIN sample_features f ON f.model_id = m.id WHERE m.name = :name"
)
PREVIEWS = "SELECT t.data FROM thumbnails t JOIN models m ON m.id = t.model_id WHERE m.name = :name ORDER BY t.position"


def make_sources(folder: Path) -> dict[str, str]:
    """The same pictures as a folder, a tar and a zip, and a generator; by name."""
    pictures = content.make_pictures(folder / "pictures", 77, COUNT)
    for number in BAD:
        (pictures / f"{number:04}.png").write_bytes(b"not a picture")
    return {
        "folder": str(pictures),
        "tar": str(content.pack(pictures, folder / "pictures.tar")),
        "zip": str(content.pack(pictures, folder / "pictures.zip")),
        "generator": "python:tests.torture.content:draw",
    }


class Resumption:
    """One database, and the sources that are ingested into it."""

    def __init__(self, folder: Path, backend: str, seed: int, tally: Tally, sources: Sequence[str] = SOURCES) -> None:
        self.tally = tally
        self.rng = np.random.default_rng(seed)
        self.context = nursery()
        self.sources = {name: source for name, source in make_sources(folder).items() if name in sources}
        self.url = shared_server().create() if backend == "postgres" else f"sqlite:///{folder / 'zoo.db'}"
        self.settings = Settings(
            index_folder=str(folder / "index"), batch_size=BATCH_SIZE, checkpoint_samples=CHECKPOINT, kept_features=50
        )
        opened(self.url, self.settings, create=True).close()
        self.usual: dict[str, dict[str, int]] = {}
        self.reference: dict[str, list[Any]] = {}
        for name in self.sources:
            self.usual[name] = self._run(name, f"whole {name}", None)
            self.reference[name] = self.stored(f"whole {name}")

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """One question in plain SQL."""
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.connect() as connection:
            found = list(connection.execute(text(statement), values))
        engine.dispose()
        return found

    def stored(self, name: str) -> list[Any]:
        """Everything that ingesting stored of a model's content, byte by byte."""
        rows = [*self.rows(STORED, name=name), *self.rows(PREVIEWS, name=name)]
        return [tuple(_plain(value) for value in row) for row in rows]

    def round(self, source: str, number: int) -> None:
        """Kill an ingest up to four times, let it end, compare."""
        name = f"{source} {number}"
        for _ in range(int(self.rng.integers(1, 5))):
            kind = str(self.rng.choice([BATCH, SQL, COMMIT], p=[0.7, 0.15, 0.15]))
            most = self.usual[source][kind] // 3 + 1  # several kills, and something left to do after them
            doom = Doom(0, kind, int(self.rng.integers(1, most + 1)))
            if self._run(source, name, doom):
                break  # it had so little left to do that it ended first
            self.tally.done["kills"] += 1
            if self.stored(name) and not self._equal(source, name):
                self.tally.wrong.append(f"{name}: a half-ingested model is visible")
        saved = self.rows("SELECT position FROM checkpoints WHERE name = :name", name=name)
        position = saved[0].position if saved else 0
        done = self._run(source, name, None)
        if not self._equal(source, name):
            self.tally.wrong.append(f"{name}: resumed, it has other bytes than an ingest that nobody disturbed")
        if saved:
            self.tally.done["resumed from a checkpoint"] += 1
            whole = self.usual[source][BATCH]
            if done.get(BATCH, 0) > whole - position // BATCH_SIZE + 1:
                self.tally.wrong.append(f"{name}: it began again, with a checkpoint at {position}")

    def _equal(self, source: str, name: str) -> bool:
        return self.stored(name) == self.reference[source]

    def _run(self, source: str, name: str, doom: Doom | None) -> dict[str, int]:
        """An ingest: the boundaries that it crossed, empty when it was killed."""
        mine, its = self.context.Pipe(duplex=False)
        plan = [Operation("pictures", (name,), 77, (self.sources[source], str(COUNT)))]
        worker = self.context.Process(target=work, args=(self.url, self.settings, plan, its, doom, False))
        worker.start()
        its.close()
        crossed: dict[str, int] = {}
        try:
            while True:
                what, *said = json.loads(mine.recv_bytes())
                if what == "done":
                    crossed = said[2]
                elif what == "failed":
                    (self.tally.wrong if said[2] else self.tally.untyped).append(f"{name}: {said[1]}")
        except EOFError:
            pass
        worker.join()
        return crossed


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def resumption(folder: Path, rounds: int, seed: int, say: Say) -> Tally:
    """``rounds`` interrupted ingests of each source on SQLite, and a third as many on Postgres."""
    tally = Tally("resumption", {"interrupted ingests": 0, "kills": 0, "resumed from a checkpoint": 0})
    for backend, count in (("sqlite", rounds), ("postgres", -(-rounds // 3))):
        place = folder / backend
        place.mkdir()
        harness = Resumption(place, backend, seed, tally)
        for number in range(count):
            for source in harness.sources:
                harness.round(source, number)
                tally.done["interrupted ingests"] += 1
        say(f"resumption, {backend}: {count} interrupted ingests of each of {len(harness.sources)} sources")
        if tally.is_clean:
            shutil.rmtree(place)
    return tally
