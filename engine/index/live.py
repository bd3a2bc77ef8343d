"""An index that takes writes: a large base, a small exact tail of what is new, and tombstones for what is gone.

Both are merged when it is searched, so that a write costs a copy of the tail and not of the base. Once tail and
tombstones have grown to a share of the base they should be folded in, by whoever holds the index; ``carried`` brings
what was written meanwhile over to the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.index.base import MISSING, FirstMomentIndex, Float32, Int64
from engine.index.choose import AUTO, no_models, suited
from engine.index.flat import FlatIndex
from engine.index.gpu import GpuIndex
from engine.index.quantized.query_families import RealQueries

LEAST = 1024
"""Writes that are never worth folding in before there are so many."""
SHARE = 0.02
"""Of the base: more tail and tombstones than this are folded in."""


@dataclass(frozen=True, eq=False)
class LiveIndex:
    """Answers as a ``FirstMomentIndex`` does; ``updated`` gives another one over the same base.

    Attributes:
        base: what was folded together last.
        tail: what came since.
        dead: ids of the base ``(n,)`` that no longer count: removed, or replaced by the tail's. Sorted, distinct.
        least: so many writes are never worth folding in.
        wanted: the kind that the base gets when they are.
        why: in words, why the base is of the kind that it is.
        real: gives queries that the collection may be asked, for a base that is tuned.
    """

    base: FirstMomentIndex
    tail: FlatIndex
    dead: Int64
    least: int = LEAST
    wanted: str = AUTO
    why: str = ""
    real: RealQueries | None = None

    @classmethod
    def over(
        cls, base: FirstMomentIndex, *, least: int = LEAST, wanted: str = AUTO, why: str = "",
        real: RealQueries | None = None,
    ) -> LiveIndex:  # fmt: skip
        """A base without writes."""
        return cls(base, no_models(base.dimension), np.empty(0, np.int64), least, wanted, why, real)

    @property
    def writes(self) -> int:
        """How many models are in the tail or dead: what is not in the base as it is."""
        return len(self.tail) + len(self.dead)

    @property
    def overgrown(self) -> bool:
        """Whether the writes should be folded in, or the base made anew."""
        return self.displaced or self.writes > max(self.least, SHARE * len(self.base))

    @property
    def displaced(self) -> bool:
        """Whether the base was made for a GPU that serves it no more: what suits a processor should take its place."""
        return isinstance(self.base, GpuIndex) and bool(self.base.refused)

    def updated(self, ids: Int64, vectors: Float32, removed: Int64) -> LiveIndex:
        """See ``FirstMomentIndex``. Costs one copy of the tail."""
        gone = np.concatenate([np.asarray(removed, np.int64), np.asarray(ids, np.int64)])
        dead = np.union1d(self.dead, gone[self._in_base(gone)])
        return replace(self, tail=self.tail.updated(ids, vectors, removed), dead=dead)

    def compacted(self) -> LiveIndex:
        """The same models with everything in the base."""
        if not self.writes and not self.displaced:
            return self
        ids = self.tail.ids
        base = self.base.updated(ids, self.tail.vectors(ids), self.dead)
        base.refused = self.base.refused
        base, why = suited(base, self.wanted, self.real)
        return LiveIndex.over(base, least=self.least, wanted=self.wanted, why=why, real=self.real)

    def carried(self, since: LiveIndex, folded: LiveIndex) -> LiveIndex:
        """``folded`` is ``since`` compacted, and this index what has become of ``since`` meanwhile: both together."""
        assert self.base is since.base, "folded from another base"
        ids = self.tail.ids
        mine = self.tail.vectors(ids)
        changed = (mine != since.tail.vectors(ids)).any(axis=1)  # what was not there is NaN, and differs
        gone = np.union1d(np.setdiff1d(self.dead, since.dead), np.setdiff1d(since.tail.ids, ids))
        return folded.updated(ids[changed], mine[changed], np.setdiff1d(gone, ids))

    def search(
        self, queries: Float32, k: int, *, allowed: Int64 | None = None, recall: float = 1.0
    ) -> tuple[Float32, Int64]:
        """See ``FirstMomentIndex``. The tail is always searched exactly."""
        if not len(self.dead):
            scores, ids = self.base.search(queries, k, allowed=allowed, recall=recall)
        else:
            scores, ids = self._base_without_the_dead(queries, k, allowed, recall)
        if not len(self.tail):
            return scores, ids
        more, others = self.tail.search(queries, k, allowed=allowed)
        scores, ids = np.concatenate([scores, more], axis=1), np.concatenate([ids, others], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)

    def _base_without_the_dead(
        self, queries: Float32, k: int, allowed: Int64 | None, recall: float
    ) -> tuple[Float32, Int64]:
        """The base's k best that live. Few of the dead are among the best: fetch a few more, then twice that."""
        if allowed is not None:
            return self.base.search(queries, k, allowed=np.setdiff1d(allowed, self.dead), recall=recall)
        width = min(k + 8, k + len(self.dead))
        while True:
            scores, ids = self.base.search(queries, width, recall=recall)
            alive = ~np.isin(ids, self.dead) & (ids != MISSING)
            if width >= k + len(self.dead) or (alive.sum(axis=1) >= k).all():
                break
            width = min(2 * width, k + len(self.dead))
        order = np.argsort(~alive, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(alive, order, axis=1)
        scores = np.where(found, np.take_along_axis(scores, order, axis=1), np.float32(-np.inf))
        return scores, np.where(found, np.take_along_axis(ids, order, axis=1), MISSING)

    def vectors(self, ids: Int64) -> Float32:
        """See ``FirstMomentIndex``."""
        found = self.tail.vectors(ids)
        older = np.isnan(found).any(axis=1) & ~np.isin(ids, self.dead)
        found[older] = self.base.vectors(np.asarray(ids)[older])
        return found

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean, second = self.base.moments()
        total, sums, squares = len(self.base), mean * len(self.base), second * len(self.base)
        for sign, rows in ((-1, self.base.vectors(self.dead)), (1, self.tail.vectors(self.tail.ids))):
            wide = rows.astype(np.float64)
            total += sign * len(wide)
            sums = sums + sign * wide.sum(axis=0)
            squares = squares + sign * wide.T @ wide
        return sums / max(total, 1), squares / max(total, 1)

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See ``FirstMomentIndex``."""
        return self._moments

    @property
    def ids(self) -> Int64:
        """Ids in row order."""
        return self._ids

    @cached_property
    def _ids(self) -> Int64:
        if not self.writes:
            return self.base.ids
        older = self.base.ids
        return np.concatenate([older[~np.isin(older, self.dead)], self.tail.ids])

    def __len__(self) -> int:
        return len(self.base) - len(self.dead) + len(self.tail)

    def _in_base(self, ids: Int64) -> NDArray[np.bool_]:
        return np.asarray(~np.isnan(self.base.vectors(ids)).any(axis=1)) if len(ids) else np.zeros(0, bool)
