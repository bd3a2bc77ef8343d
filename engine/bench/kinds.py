"""The engine's own kinds of index, as searchers. A kind that this version does not have is listed as absent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.bench.searcher import Float32, Int64, Searcher, Setting
from engine.index import FlatIndex, LiveIndex, QuantizedIndex
from engine.index.choose import AUTO, suited

TAIL, DEAD = 1000, 100
"""Models that came, and models that went, since the live index was built."""
RECALLS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)


class EngineKind(Searcher):
    """What the engine's kinds share."""

    packages: ClassVar[tuple[str, ...]] = ("engine",)
    index: Any

    def search(self, query: Float32, k: int) -> Int64:
        """See the base class."""
        ids: Int64 = self.index.search(query, k, **self.setting)[1]
        return ids

    def search_batch(self, queries: Float32, k: int, threads: int) -> Any:
        """See the base class. The index sets its own number of threads: as many as there are cores."""
        return self.index.search(queries, k, **self.setting)[1]

    def bytes_read(self, k: int) -> tuple[int, str]:
        """Every number, once."""
        return 4 * self.n * self.dimension, "all"


class Flat(EngineKind):
    """``FlatIndex``."""

    exact: ClassVar[bool] = True

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        super().__init__(variant, vectors, folder)
        self.index = FlatIndex.build(np.arange(self.n), vectors, dimension=self.dimension)


class Live(EngineKind):
    """``LiveIndex``: the kind that suits the vectors, with tail and tombstones; in the end it holds the same models."""

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        super().__init__(variant, vectors, folder)
        ids, new, gone = np.arange(self.n), min(TAIL, self.n // 10), min(DEAD, self.n // 10)
        older = self.n - new
        dead = np.arange(self.n, self.n + gone)
        base = FlatIndex.build(
            np.concatenate([ids[:older], dead]),
            np.concatenate([vectors[:older], vectors[older : older + gone]]),
            dimension=self.dimension,
        )
        live = LiveIndex.over(suited(base, AUTO)[0], least=2 * (new + gone))
        self.index = live.updated(ids[older:], np.ascontiguousarray(vectors[older:]), dead)
        assert self.index.writes, "nothing was folded in"

    def bytes_read(self, k: int) -> tuple[int, str]:
        """As of the base."""
        if not getattr(self.index.base, "exact", False):
            return Approximate.least_bytes(self.n, self.dimension, k)
        return super().bytes_read(k)


class Approximate(EngineKind):
    """``QuantizedIndex``, by the recall that is asked for; saved and mapped, as an engine opened again has it."""

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        super().__init__(variant, vectors, folder)
        QuantizedIndex.build(np.arange(self.n), vectors, dimension=self.dimension).save(folder)
        self.index = QuantizedIndex.load(folder, dimension=self.dimension)

    def settings(self) -> Sequence[Setting]:
        """Recalls."""
        return [{"recall": value} for value in RECALLS]

    def bytes_read(self, k: int) -> tuple[int, str]:
        """Centroids, the first part of the codes of the cells probed, and the rows that refine; of an exact search, all
        long codes."""
        setting = self.index.tuning.setting(k, self.setting["recall"])
        if setting is None or self.setting["recall"] >= 1:
            rows = self.index.rows
            return rows.long.nbytes + rows.errors.nbytes, "at least"
        from engine.index.quantized import scan_kernel

        partition = self.index.partition
        near = int(scan_kernel.worth_ranking(setting.probes))
        cells = min(partition.rough.nbytes + self.dimension * near, partition.coarse.nbytes)
        code = 4 * int(partition.layout.first.sum())
        return cells + setting.codes * code + 2 * self.dimension * setting.wanted, "at least"

    @staticmethod
    def least_bytes(n: int, dimension: int, k: int) -> tuple[int, str]:
        """The k answers' vectors in half precision: nobody can rank them by less."""
        return 2 * min(k, n) * dimension, "at least"


KINDS: dict[str, type[Searcher]] = {
    "engine flat": Flat,
    "engine live": Live,
    "engine approximate": Approximate,
}
