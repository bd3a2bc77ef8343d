"""A bounded cache of what the exact stage needs: factors, covariances, sample features, by recency."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Least-recently-used within a byte budget; hits and misses are counted. Threads may share it.

    Every value carries a version (the change that wrote the statistics it was made from): asking with another
    version is a miss, so a stale value is never used.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.used = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[Hashable, tuple[int, Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, version: int) -> Value | None:
        """The value of ``key`` if it has that version."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry[0] != version:
                self.misses += 1
                return None
            self._entries.move_to_end(key)
            self.hits += 1
            return entry[1]

    def put(self, key: Hashable, version: int, value: Value, size: int) -> None:
        """Keep a value of ``size`` bytes, dropping the least recently used ones beyond the budget."""
        with self._lock:
            old = self._entries.pop(key, None)
            if old is not None:
                self.used -= old[2]
            if size > self.budget:
                return
            self._entries[key] = (version, value, size)
            self.used += size
            while self.used > self.budget:
                _, (_, _, dropped) = self._entries.popitem(last=False)
                self.used -= dropped

    def __len__(self) -> int:
        return len(self._entries)
