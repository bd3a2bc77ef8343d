"""A published directory as arrays: which models have records, where these lie, whether they were verified."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from engine.rerank.record_file import ENTRY, Directory, Records

Int64 = NDArray[np.int64]
UNREAD, GOOD, DAMAGED = 0, 1, 2
"""States of a record: not yet hashed, matching its checksum, and not."""


class RecordTable:
    """What a directory says, sorted by id, with where each record lies in memory, and whether it has been read."""

    def __init__(
        self, directory: Directory | None, maps: Mapping[str, Records | None], before: RecordTable | None
    ) -> None:
        self.segments = () if directory is None else directory.segments
        entries = np.empty(0, ENTRY) if directory is None else directory.entries
        entries = entries[np.argsort(entries["id"], kind="stable")]
        self.maps = maps
        self.ids, self.changes = np.ascontiguousarray(entries["id"]), np.ascontiguousarray(entries["change"])
        self.offsets, self.sizes = np.ascontiguousarray(entries["offset"]), np.ascontiguousarray(entries["size"])
        self.segment, self.digests = np.ascontiguousarray(entries["segment"]), entries["digest"]
        places = [maps[name] for name in self.segments]
        starts = np.array([0 if at is None else at.ctypes.data for at in places], np.uint64)
        lengths = np.array([0 if at is None else len(at) for at in places], np.int64)
        self.addresses = np.zeros(len(entries), np.uint64)
        self.state = np.full(len(entries), UNREAD, np.uint8)
        if len(entries):
            self.addresses = starts[self.segment] + self.offsets.astype(np.uint64)
            within = (self.offsets >= 0) & (self.sizes > 0) & (self.offsets + self.sizes <= lengths[self.segment])
            self.addresses[~within] = 0
        if before is not None and len(before.ids) and len(entries):
            read = {(before.segments[s], o) for s, o in before.places(before.state == GOOD)}
            known = [(self.segments[s], o) in read for s, o in self.places(np.ones(len(entries), bool))]
            self.state[known] = GOOD

    def places(self, rows: NDArray[np.bool_]) -> Iterable[tuple[int, int]]:
        return zip(self.segment[rows].tolist(), self.offsets[rows].tolist(), strict=True)

    def record(self, row: int) -> Records | None:
        mapped = self.maps[self.segments[self.segment[row]]]
        if mapped is None or self.addresses[row] == 0:
            return None
        return mapped[self.offsets[row] : self.offsets[row] + self.sizes[row]]

    def locate(
        self, ids: Int64, changes: Int64, addresses: NDArray[np.uint64], sizes: Int64, unread: Int64
    ) -> tuple[int, int]:
        """How many records were read before and are good, into ``addresses`` and ``sizes``; how many rows of records
        that were not are in ``unread``. All are ``(n,)``."""
        from engine.rerank import lookup

        located, left = lookup.locate(
            ids, changes, self.ids, self.changes, self.addresses, self.sizes, self.state, GOOD, addresses, sizes,
            unread,
        )  # fmt: skip
        return int(located), int(left)
