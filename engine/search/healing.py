"""An index that heals: what a view is read by.

Large parts of an index are mapped from files and verified block by block as they are read, so damage is found in the
middle of a search. Every read of a view goes through here: on damage the index is built again from the database and
the read is repeated, whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import DamagedIndex
from engine.index import LiveIndex

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Answer = TypeVar("Answer")
Heal = Callable[[LiveIndex, DamagedIndex], LiveIndex]
"""From an index and what was found in it to a whole index in its place. It must not hold a lock that a read needs."""


class HealingIndex:
    """The reads of a ``LiveIndex``. Threads may share it."""

    def __init__(self, live: LiveIndex, heal: Heal) -> None:
        self.live = live
        """The index as it is: for whoever writes, and handles damage under its own lock."""
        self._heal = heal

    def over(self, live: LiveIndex) -> HealingIndex:
        """The same for another state of the index."""
        return HealingIndex(live, self._heal)

    def search(
        self, queries: Float32, k: int, *, allowed: Int64 | None = None, recall: float = 1.0
    ) -> tuple[Float32, Int64]:
        """See ``FirstMomentIndex``."""
        try:  # spelled out, without a closure: this is the path that must be fast
            return self.live.search(queries, k, allowed=allowed, recall=recall)
        except DamagedIndex as error:
            return self._again(error, lambda live: live.search(queries, k, allowed=allowed, recall=recall))

    def vectors(self, ids: Int64) -> Float32:
        """See ``FirstMomentIndex``."""
        try:
            return self.live.vectors(ids)
        except DamagedIndex as error:
            return self._again(error, lambda live: live.vectors(ids))

    def moments(self) -> tuple[Float64, Float64]:
        """See ``FirstMomentIndex``."""
        try:
            return self.live.moments()
        except DamagedIndex as error:
            return self._again(error, lambda live: live.moments())

    @property
    def ids(self) -> Int64:
        """Ids in row order: always in memory, and verified when they were loaded."""
        return self.live.ids

    @property
    def dimension(self) -> int:
        """d, of the vectors."""
        return self.live.base.dimension

    def __len__(self) -> int:
        return len(self.live)

    def _again(self, error: DamagedIndex, read: Callable[[LiveIndex], Answer]) -> Answer:
        self.live = self._heal(self.live, error)
        return read(self.live)
