"""Which change wrote each model's statistics, kept in memory: a search need not ask the database for it."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from engine.storage import Catalog

Int64 = NDArray[np.int64]
UNKNOWN = -1
Known = tuple[int, Int64, Int64]
"""The last change that is contained, ids, sorted, and their changes."""


class Versions:
    """The changes of one collection's statistics, by encoder. Threads may share it."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._known: dict[int, Known] = {}
        self._lock = threading.Lock()

    def of(self, encoder_id: int, change: int, ids: Int64) -> Int64:
        """The changes that wrote the models' statistics ``(n,)``, as of ``change`` or later; UNKNOWN for none."""
        _, known, changes = self.all(encoder_id, change)
        if not len(known):
            return np.full(len(ids), UNKNOWN, np.int64)
        at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        return np.where(known[at] == ids, changes[at], UNKNOWN)

    def all(self, encoder_id: int, change: int) -> Known:
        """Of every model, as of ``change`` or later."""
        found = self._known.get(encoder_id)
        if found is not None and found[0] >= change:
            return found
        with self._lock:
            none = np.empty(0, np.int64)
            last, ids, changes = self._known.get(encoder_id, (-1, none, none))
            fresh, removed, newest = self.catalog.changes_since(encoder_id, last)
            stay = ~np.isin(ids, [*removed, *fresh])
            ids = np.concatenate([ids[stay], np.array(list(fresh), np.int64)])
            changes = np.concatenate([changes[stay], np.array(list(fresh.values()), np.int64)])
            order = np.argsort(ids, kind="stable")
            self._known[encoder_id] = max(newest, change), ids[order], changes[order]
            return self._known[encoder_id]
