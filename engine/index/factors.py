"""The factor store: models' packed factors by id and change, from a mapped file, within a byte budget.

The file is a cache of the database: what it lacks, or holds of another change, or damaged, is *missing*, and whoever
asks makes it from SQL and keeps it here by recency. A record is hashed when it is first read, and never used
before it has been. ``engine.index.factor_file`` says how the file is laid out and published.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorruptData
from engine.index.cache import ByteCache
from engine.index.factor_file import (
    ENTRY,
    Directory,
    FactorKey,
    Records,
    map_segment,
    publish,
    read_directory,
    record_digest,
    rotation_digest,
    write_segment,
)

log = logging.getLogger("engine.index")
Factor = TypeVar("Factor")
Make = Callable[[list[int]], Mapping[int, Records]]
"""Model ids to their records, made from the database; a model that has none is absent."""


@dataclass
class FactorCounts:
    """How factors were found: in the file, among those made before, or not at all; ``damaged`` ones were not used."""

    mapped: int = 0
    held: int = 0
    missed: int = 0
    damaged: int = 0


class _Place(NamedTuple):
    change: int
    segment: str
    row: int
    digest: bytes


class FactorStore(Generic[Factor]):
    """Factors of one key. Threads may share it; processes may share its folder.

    ``wrap`` makes of a record ``(record_bytes,)`` uint8 what callers work with. ``budget`` bounds the bytes of living
    records in the file, ``memory`` those held beside it.
    """

    def __init__(
        self, root: Path, key: FactorKey, record_bytes: int, wrap: Callable[[Records], Factor], *, budget: int,
        memory: int,
    ) -> None:  # fmt: skip
        self.root = root
        self.key = key
        self.record_bytes = record_bytes
        self.budget = budget
        self.counts = FactorCounts()
        self._wrap = wrap
        self._held: ByteCache[Factor] = ByteCache(memory)
        self._lock = threading.Lock()
        self._maps: dict[str, Records | None] = {}
        self._checked: dict[tuple[str, int], Factor] = {}
        self._set(self._read())

    @property
    def rotation(self) -> NDArray[np.float32] | None:
        """The shared basis ``(d, d)`` float32 that the records are in; None before ``start``."""
        return self._rotation

    def start(self, rotation: NDArray[np.float32]) -> None:
        """Begin anew, empty, in another basis: all records are in the same. Nothing is written yet."""
        with self._lock:
            self._held = ByteCache(self._held.budget)
            self._set(Directory(self.key, rotation, (), np.empty(0, ENTRY)))

    def factors(self, versions: Mapping[int, int], make: Make) -> dict[int, Factor]:
        """Factors of models, by id; ``versions`` are the changes that wrote their moments.

        What is neither in the file nor held, of that change, is made, all at once, and held by recency.
        """
        assert self._rotation is not None, "a store is started before it is asked"
        found: dict[int, Factor] = {}
        missing: list[int] = []
        with self._lock:
            held = self._held
            for model_id, change in versions.items():
                place = self._places.get(model_id)
                factor = self._verified(model_id, place) if place is not None and place.change == change else None
                if factor is not None:
                    self.counts.mapped += 1
                elif (factor := held.get(model_id, change)) is not None:
                    self.counts.held += 1
                else:
                    self.counts.missed += 1
                    missing.append(model_id)
                    continue
                found[model_id] = factor
        if missing:
            for model_id, record in make(missing).items():
                assert record.nbytes == self.record_bytes, "a record of another dimension"
                factor = self._wrap(record)
                held.put(model_id, versions[model_id], factor, record.nbytes)
                found[model_id] = factor
        return found

    def lacks(self, versions: Mapping[int, int]) -> list[int]:
        """The models that the file has no record of, of that change, as many as the budget has room for."""
        with self._lock:
            have = {i for i, place in self._places.items() if versions.get(i) == place.change}
        room = self.budget // self.record_bytes - len(have)
        return [model_id for model_id in versions if model_id not in have][: max(room, 0)]

    def append(self, records: Mapping[int, Records], versions: Mapping[int, int]) -> int:
        """Publish ``records`` beside what is there; how many were kept. ``versions`` are all living models' changes.

        What is of another change or of no living model is left out of the directory. Small segments, and mostly
        dead ones, are written together with what is new.

        Raises:
            DiskFull, StorageError: the file could not be written; the old one stands.
        """
        assert self._rotation is not None, "a store is started before it is written"
        with self._lock:
            self._take_in()
            old = {i: at for i, at in self._places.items() if versions.get(i) == at.change and i not in records}
            room = self.budget // self.record_bytes - len(old)
            new = {i: records[i] for i in [i for i in records if i in versions][: max(room, 0)]}
            moved = self._absorbed(old, len(new))
            table = [(i, at) for i, at in old.items() if at.segment not in moved]
            anew = [(i, at) for i, at in old.items() if at.segment in moved and self._verified(i, at) is not None]
            name = ""
            if anew or new:
                rows = [self._record(at) for _, at in anew] + list(new.values())
                name = write_segment(self.root, iter(rows))
                table += [(i, at._replace(segment=name, row=row)) for row, (i, at) in enumerate(anew)]
                for row, (i, record) in enumerate(new.items(), len(anew)):
                    digest = record_digest(self.key, self._basis, i, versions[i], record)
                    table.append((i, _Place(versions[i], name, row, digest)))
            segments = tuple(dict.fromkeys(at.segment for _, at in table))
            entries = np.zeros(len(table), ENTRY)
            for entry, (i, at) in zip(entries, table, strict=True):
                entry["id"], entry["change"], entry["row"] = i, at.change, at.row
                entry["segment"] = segments.index(at.segment)
                entry["digest"] = np.frombuffer(at.digest, np.uint8)
            directory = Directory(self.key, self._rotation, segments, entries)
            publish(self.root, directory)
            self._set(directory)
            return len(new)

    def refresh(self) -> None:
        """Take in what another process has published."""
        with self._lock:
            directory = self._read()
            if directory is not None:
                self._set(directory)

    def __len__(self) -> int:
        return len(self._places)

    def _take_in(self) -> None:
        """Before writing: what another process has published in the same basis is not lost."""
        published = self._read()
        if published is not None and rotation_digest(published.rotation) == self._basis:
            self._set(published)

    def _read(self) -> Directory | None:
        try:
            return read_directory(self.root, self.key)
        except CorruptData as error:
            log.warning("%s; it is built again", error)
            return None

    def _set(self, directory: Directory | None) -> None:
        """Map what a directory names. Factors that callers still hold keep their own mapping alive."""
        segments = () if directory is None else directory.segments
        self._rotation = None if directory is None else directory.rotation
        self._basis = "" if directory is None else rotation_digest(directory.rotation)
        self._maps = {name: self._maps.get(name, map_segment(self.root, name, self.record_bytes)) for name in segments}
        self._checked = {at: factor for at, factor in self._checked.items() if at[0] in self._maps}
        self._places: dict[int, _Place] = {}
        for entry in [] if directory is None else directory.entries:
            place = _Place(int(entry["change"]), segments[entry["segment"]], int(entry["row"]), bytes(entry["digest"]))
            self._places[int(entry["id"])] = place

    def _record(self, place: _Place) -> Records:
        mapped = self._maps[place.segment]
        assert mapped is not None, "it was verified"
        record: Records = mapped[place.row]
        return record

    def _verified(self, model_id: int, place: _Place) -> Factor | None:
        """The factor at a place once it has matched its checksum; a damaged one is forgotten, and said."""
        factor = self._checked.get((place.segment, place.row))
        if factor is not None:
            return factor
        mapped = self._maps.get(place.segment)
        if mapped is not None and 0 <= place.row < len(mapped):
            record = self._record(place)
            if record_digest(self.key, self._basis, model_id, place.change, record) == place.digest:
                return self._checked.setdefault((place.segment, place.row), self._wrap(record))
        self.counts.damaged += 1
        self._places.pop(model_id, None)
        log.warning("the factor of model id %d in %s is damaged; it is made again", model_id, self.root)
        return None

    def _absorbed(self, places: Mapping[int, _Place], new: int) -> set[str]:
        """The segments that are written anew: mostly dead ones, and, from the smallest, those that are small.

        Each that stays is more than twice as large as all smaller ones together: there are few, and a record is
        written anew a few times only.
        """
        alive = Counter(at.segment for at in places.values())
        absorbed = {name for name, mapped in self._maps.items() if mapped is None or 2 * alive[name] < len(mapped)}
        together = new + sum(alive[name] for name in absorbed)
        for name in sorted(self._maps.keys() - absorbed, key=lambda name: alive[name]):
            if alive[name] > 2 * together:
                break
            absorbed.add(name)
            together += alive[name]
        return absorbed
