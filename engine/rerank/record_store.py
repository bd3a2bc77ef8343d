"""The factor store: models' packed records by id and change, from a mapped file, within a byte budget.

The file is a cache of the database: what it lacks, or holds of another change, or damaged, is *missing*, and whoever
asks makes it from SQL; it is kept here by recency, and put into the file with others when there are enough of them. A
record is hashed when it is first read, and never used before it has been. Records are found by array work alone, a
shortlist at a time, and handed over by address. ``engine.rerank.record_file`` says how the file is laid out and
published.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorruptData
from engine.rerank.byte_cache import ByteCache
from engine.rerank.record_file import (
    DIRECTORY,
    ENTRY,
    LINE,
    Directory,
    RecordKey,
    Records,
    add_counts,
    is_there,
    map_segment,
    publish,
    read_directory,
    record_digest,
    rotation_digest,
    write_segment,
    writing,
)
from engine.rerank.record_table import DAMAGED, GOOD, UNREAD, RecordTable

log = logging.getLogger("engine.index")
Int64 = NDArray[np.int64]
Make = Callable[[list[int]], Mapping[int, Records]]
"""Model ids to their records, made from the database; a model that has none is absent."""
MOST_NONE = 10**6
"""Models of which it is remembered that they have no record."""


@dataclass
class FactorCounts:
    """How records were found: in the file, among those made before, or not at all; ``damaged`` ones were not used."""

    mapped: int = 0
    held: int = 0
    missed: int = 0
    damaged: int = 0


@dataclass(frozen=True, eq=False)
class RecordLocations:
    """Where records lie ``(n,)``, 0 for none, and their sizes ``(n,)``; good for as long as this object lives."""

    addresses: NDArray[np.uint64]
    sizes: Int64
    alive: tuple[object, ...]


class RecordStore:
    """Records of one key. Threads may share it; processes may share its folder.

    ``budget`` bounds the bytes of living records in the file; ``memory`` holds, by recency, those that are not in it,
    and may be shared with other stores. Without a ``root`` there is no file.
    """

    def __init__(self, root: Path | None, key: RecordKey, *, budget: int, memory: ByteCache[Any]) -> None:
        self.root = root
        self.key = key
        self.budget = 0 if root is None else budget
        self.counts = FactorCounts()
        self._held = memory
        self._mine: object = object()
        self._made: dict[int, tuple[int, Records]] = {}
        self._none: dict[int, int] = {}
        self._seen: tuple[int, int] | None = None
        self._lock = threading.RLock()
        self._maps: dict[str, Records | None] = {}
        self._table = RecordTable(None, {}, None)
        self._set(self._read())

    @property
    def rotation(self) -> NDArray[np.float32] | None:
        """The shared basis ``(d, d)`` float32 that the records are in; None before ``start``."""
        return self._rotation

    @property
    def basis(self) -> str:
        """The rotation's SHA-256, hex: where two are the same, so are two queries turned by them."""
        return self._basis

    def start(self, rotation: NDArray[np.float32]) -> None:
        """Begin anew, empty, in another basis: all records are in the same. Nothing is written yet."""
        with self._lock:
            self._mine = object()
            self._made, self._none = {}, {}
            self._set(Directory(self.key, rotation, (), np.empty(0, ENTRY)))

    def find(self, ids: Int64, changes: Int64, make: Make) -> RecordLocations:
        """Where the models' records lie, ``changes`` being those that wrote what they are made of.

        What is neither in the file nor held, of that change, is made, all at once, and held by recency.
        """
        assert self._rotation is not None, "a store is started before it is asked"
        table, mine = self._table, self._mine
        addresses, sizes, mapped = self._mapped_at(table, ids, changes)
        if mapped < len(ids) and self._is_behind():
            self.refresh()
            table = self._table
            addresses, sizes, mapped = self._mapped_at(table, ids, changes)
        alive: list[object] = [table]
        missing: dict[int, int] = {}
        for place in np.flatnonzero(addresses == 0).tolist() if mapped < len(ids) else ():
            model_id, change = int(ids[place]), int(changes[place])
            if self._none.get(model_id) == change:
                continue
            record = self._held.get((mine, model_id), change)
            if record is None:
                missing[model_id] = place
                continue
            alive.append(record)
            addresses[place], sizes[place] = record.ctypes.data, record.nbytes
        with self._lock:
            self.counts.mapped += mapped
            self.counts.held += len(alive) - 1
            self.counts.missed += len(missing)
        if missing:
            made = make(list(missing))
            for model_id, place in missing.items():
                record = made.get(model_id)
                self._keep(mine, model_id, int(changes[place]), record)
                if record is not None:
                    alive.append(record)
                    addresses[place], sizes[place] = record.ctypes.data, record.nbytes
        return RecordLocations(addresses, sizes, tuple(alive))

    def _mapped_at(self, table: RecordTable, ids: Int64, changes: Int64) -> tuple[NDArray[np.uint64], Int64, int]:
        """Where the records are that the file has, and how long, 0 for the others; how many it has."""
        addresses, sizes = np.zeros(len(ids), np.uint64), np.zeros(len(ids), np.int64)
        unread = np.empty(len(ids), np.int64)
        found, left = table.locate(ids, changes, addresses, sizes, unread)
        if left:
            for row in unread[:left].tolist():
                self._verify(table, row)
            found, _ = table.locate(ids, changes, addresses, sizes, unread)
        return addresses, sizes, found

    def _keep(self, mine: object, model_id: int, change: int, record: Records | None) -> None:
        """Hold what was made, or remember that nothing can be."""
        if record is None:
            if len(self._none) > MOST_NONE:
                self._none = {}
            self._none[model_id] = change
            return
        assert record.flags.c_contiguous, "a record lies in one piece"
        assert record.nbytes % LINE == 0 == record.ctypes.data % 8, "a record is of whole lines, at a multiple of 8"
        self._held.put((mine, model_id), change, record, record.nbytes)
        with self._lock:
            if self._mine is mine and self.budget:
                self._made[model_id] = change, record

    def lacks(self, versions: Mapping[int, int], each: int = 0) -> list[int]:
        """The models that the file has no record of, of that change, as many as have room, at ``each`` bytes a record.

        ``versions`` are the changes that wrote models' statistics, by id.
        """
        table = self._table
        rows = self._living(table, versions)
        have = set(table.ids[rows].tolist())
        room = self.budget - int(table.sizes[rows].sum())
        most = max(room, 0) // each if each else len(versions)
        return [model_id for model_id in versions if model_id not in have][:most]

    @property
    def waiting(self) -> int:
        """How many records were made and could be put into the file."""
        return len(self._made)

    def forgo(self) -> None:
        """Write no more: the folder does not take it. What is there is used."""
        with self._lock:
            self.budget = 0
            self._made = {}

    def flush(self, versions: Mapping[int, int]) -> int:
        """Put what was made since into the file; how many records. See ``append``."""
        with self._lock:
            made, self._made = self._made, {}
        fresh = {i: record for i, (change, record) in made.items() if versions.get(i) == change}
        return self.append(fresh, versions) if fresh else 0

    def append(self, records: Mapping[int, Records], versions: Mapping[int, int], *, settle: bool = True) -> int:
        """Publish ``records`` beside what is there; how many were kept. ``versions`` are all living models' changes.

        What is of another change or of no living model is left out of the directory. Small segments, and mostly
        dead ones, are written together with what is new; not so with ``settle`` off, for whoever writes large ones.

        Raises:
            DiskFull, StorageError: the file could not be written; the old one stands.
        """
        assert self._rotation is not None, "a store is started before it is written"
        assert self.root is not None, "a store without a folder is not written"
        with writing(self.root), self._lock:  # searches do not wait while another process writes
            self._take_in()
            table = self._table
            rows = self._living(table, versions)
            rows = rows[~np.isin(table.ids[rows], list(records))]
            room = self.budget - int(table.sizes[rows].sum())
            new: dict[int, Records] = {}
            for model_id, record in records.items():
                if model_id in versions and record.nbytes <= room:
                    new[model_id] = record
                    room -= record.nbytes
            moved = self._absorbed(table, rows, sum(map(len, new.values()))) if settle else set()
            moved |= {name for name in table.segments if not is_there(self.root, name)}  # under another key, meanwhile
            stays = np.array([table.segments[s] not in moved for s in table.segment[rows].tolist()], bool)
            kept = rows[stays]
            anew = [row for row in rows[~stays].tolist() if self._verify(table, row)]
            names = [table.segments[s] for s in np.unique(table.segment[kept]).tolist()]
            entries = np.zeros(len(kept) + len(anew) + len(new), ENTRY)
            self._copy(table, kept, entries[: len(kept)], names)
            if anew or new:
                written = [table.record(row) for row in anew] + list(new.values())
                name = write_segment(self.root, (record for record in written if record is not None))
                names.append(name)
                fresh = entries[len(kept) :]
                self._copy(table, np.array(anew, np.int64), fresh[: len(anew)], None)
                for entry, (model_id, record) in zip(fresh[len(anew) :], new.items(), strict=True):
                    digest = record_digest(self.key, self._basis, model_id, versions[model_id], record)
                    entry["id"], entry["change"], entry["size"] = model_id, versions[model_id], record.nbytes
                    entry["digest"] = np.frombuffer(digest, np.uint8)
                fresh["segment"] = len(names) - 1
                fresh["offset"] = np.cumsum(fresh["size"]) - fresh["size"]
            directory = Directory(self.key, self._rotation, tuple(names), entries)
            publish(self.root, directory)
            self._seen = self._stamp()
            self._set(directory)
            return len(new)

    def say_counts(self) -> None:
        """Add what was counted to what all processes have, beside the file, and begin again at nothing.

        Raises:
            DiskFull, StorageError: it could not be written.
        """
        if self.root is None or not self.budget or not os.path.isdir(self.root):
            return
        with self._lock:
            counts, self.counts = self.counts, FactorCounts()
        if any(asdict(counts).values()):
            add_counts(self.root, asdict(counts))

    def refresh(self) -> None:
        """Take in what another process has published in the same basis."""
        with self._lock:
            self._take_in()

    def verify(self) -> None:
        """Hash every record in the file, whether it has been read before or not; damaged ones are forgotten."""
        self.refresh()
        table = self._table
        table.state[table.state == GOOD] = UNREAD
        for row in range(len(table.ids)):
            self._verify(table, row)

    def __len__(self) -> int:
        return int((self._table.state != DAMAGED).sum())

    @property
    def ids(self) -> Int64:
        """The models that the file has records of ``(n,)``, ascending, whatever their changes."""
        return np.asarray(self._table.ids[self._table.state != DAMAGED])

    def _living(self, table: RecordTable, versions: Mapping[int, int]) -> Int64:
        current = [versions.get(i) == c for i, c in zip(table.ids.tolist(), table.changes.tolist(), strict=True)]
        return np.flatnonzero(np.array(current, bool) & (table.state != DAMAGED))

    def _take_in(self) -> None:
        """Before writing: what another process has published in the same basis is not lost."""
        published = self._read()
        if published is not None and rotation_digest(published.rotation) == self._basis:
            self._set(published)

    def _read(self) -> Directory | None:
        self._seen = self._stamp()
        try:
            return None if self.root is None else read_directory(self.root, self.key)
        except CorruptData as error:
            log.warning("%s; it is built again", error)
            return None

    def _stamp(self) -> tuple[int, int] | None:
        """What tells one published directory from another, without reading it."""
        try:
            at = None if self.root is None else (self.root / DIRECTORY).stat()
        except OSError:
            return None
        return None if at is None else (at.st_mtime_ns, at.st_ino)

    def _is_behind(self) -> bool:
        return self.root is not None and self._stamp() != self._seen

    def _set(self, directory: Directory | None) -> None:
        """Map what a directory names. Whoever still uses what was found before keeps its mapping alive."""
        segments = () if directory is None else directory.segments
        self._rotation = None if directory is None else directory.rotation
        self._basis = "" if directory is None else rotation_digest(directory.rotation)
        known = {name: found for name, found in self._maps.items() if found is not None}
        self._maps = {name: known[name] if name in known else self._mapped(name) for name in segments}
        self._table = RecordTable(directory, self._maps, self._table)

    def _mapped(self, name: str) -> Records | None:
        return None if self.root is None else map_segment(self.root, name)

    def _copy(self, table: RecordTable, rows: Int64, entries: NDArray[np.void], names: list[str] | None) -> None:
        """Rows as entries; ``names`` are their segments' new order, None for a segment that is still to be written."""
        entries["id"], entries["change"], entries["size"] = table.ids[rows], table.changes[rows], table.sizes[rows]
        entries["offset"], entries["digest"] = table.offsets[rows], table.digests[rows]
        if names is not None and len(rows):
            entries["segment"] = [names.index(table.segments[s]) for s in table.segment[rows].tolist()]

    def _verify(self, table: RecordTable, row: int) -> bool:
        """Whether a record matches its checksum; a damaged one is forgotten, and said."""
        if table.state[row] != UNREAD:
            return bool(table.state[row] == GOOD)
        model_id, record = int(table.ids[row]), table.record(row)
        if record is not None:
            digest = record_digest(self.key, self._basis, model_id, int(table.changes[row]), record)
            if digest == table.digests[row].tobytes():
                table.state[row] = GOOD
                return True
        with self._lock:
            if table.state[row] != DAMAGED:
                table.state[row] = DAMAGED
                self.counts.damaged += 1
                log.warning("the factor of model id %d in %s is damaged; it is made again", model_id, self.root)
        return False

    def _absorbed(self, table: RecordTable, rows: Int64, new: int) -> set[str]:
        """The segments that are written anew: mostly dead ones, and, from the smallest, those that are small.

        Each that stays is more than twice as large as all smaller ones together: there are few, and a record is
        written anew a few times only. ``new`` is in bytes.
        """
        alive: Counter[str] = Counter()
        for s, size in zip(table.segment[rows].tolist(), table.sizes[rows].tolist(), strict=True):
            alive[table.segments[s]] += size
        absorbed = {name for name, at in table.maps.items() if at is None or 2 * alive[name] < len(at)}
        together = new + sum(alive[name] for name in absorbed)
        for name in sorted(table.maps.keys() - absorbed, key=lambda name: alive[name]):
            if alive[name] > 2 * together:
                break
            absorbed.add(name)
            together += alive[name]
        return absorbed
