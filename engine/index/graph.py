"""Approximate search in a graph: FAISS's HNSW over 16-bit floats, beside a flat index for what must be exact.

The graph answers searches without a filter below recall 1; a filter, and recall 1, are answered by reading all vectors.
A graph cannot forget: folding writes in builds it anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.index.base import MISSING, Float32, Int64
from engine.index.flat import IDS, VECTORS, FlatIndex, read_rows
from engine.index.quantized.query_families import QueryFamily, query_families
from engine.index.quantized.tuning import (
    DEPTHS,
    JUDGES,
    QUERIES,
    RECALLS,
    SEED,
    Setting,
    Tuning,
    assured,
    choosing,
    exact_rows,
    without_own,
)

GRAPH, TUNING = "graph.faiss", "tuning.json"
LINKS = 16
"""Of a node, on each level but the lowest, which has twice as many."""
BUILD = 80
"""Candidates while a node is put in."""
WIDTHS = tuple(int(width) for width in np.unique(np.geomspace(10, 4096, 36).astype(int)))
"""Candidates that are tried while searching."""


class GraphIndex(FlatIndex):
    """``faiss.IndexHNSWSQ`` of 16-bit floats and a flat index of the same vectors."""

    kind: ClassVar[str] = "graph"
    exact: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = (VECTORS, IDS, GRAPH, TUNING)

    def __init__(
        self, ids: Int64, vectors: Float32, dimension: int, graph: Any = None, tuning: Tuning | None = None
    ) -> None:
        super().__init__(ids, vectors, dimension)
        self._graph = self._linked() if graph is None else graph
        self.tuning = self._tuned() if tuning is None else tuning

    @classmethod
    def build(cls, ids: Int64, vectors: Float32, *, dimension: int) -> GraphIndex:
        """See the base class."""
        return cls(ids, vectors, dimension)

    def _linked(self) -> Any:
        quantizer = self._faiss.ScalarQuantizer.QT_fp16
        graph = self._faiss.IndexHNSWSQ(self._dimension, quantizer, LINKS, self._faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = BUILD
        self._faiss.omp_set_num_threads(max(os.cpu_count() or 1, 1))
        if len(self._ids):
            graph.train(self._matrix[: 1 + len(self._ids) // 100])
            graph.add(self._matrix)
        return graph

    def _tuned(self) -> Tuning:
        if len(self) <= DEPTHS[-1]:
            return Tuning(len(self), 0, ())
        families = query_families(self, QUERIES + JUDGES, np.random.default_rng(SEED))
        truths = [self._truth(family) for family in families]
        settings: list[Setting] = []
        for depth in DEPTHS:
            wanted = [*RECALLS]
            for width in (width for width in WIDTHS if width >= depth):
                chosen, judged = [], {}
                for family, truth in zip(families, truths, strict=True):
                    hits = self._hits(family, truth[:, :depth], width)
                    cut = choosing(family)
                    chosen.append(float(assured(hits[:cut])))
                    judged[family.name] = float(hits[cut:].mean())
                hardest = min(judged, key=judged.__getitem__)
                while wanted and min(chosen) >= wanted[0]:
                    settings.append(Setting(depth, wanted.pop(0), width, width, judged[hardest], width, hardest))
                if not wanted:
                    break
        return Tuning(len(self), QUERIES, tuple(settings), tuple(family.name for family in families))

    def _truth(self, family: QueryFamily) -> Int64:
        return without_own(exact_rows(self._matrix, family.queries, DEPTHS[-1] + 1), self._ids, family)

    def _hits(self, family: QueryFamily, truth: Int64, width: int) -> NDArray[np.float64]:
        """The share of each query's best rows ``(m, depth)`` that a walk so wide finds ``(m,)``."""
        _, rows = self._walk(family.queries, min(truth.shape[1] + 1, width), width)
        found = without_own(rows, self._ids, family)
        return np.array([np.isin(own, best).mean() for own, best in zip(truth, found, strict=True)])

    def _walk(self, queries: Float32, k: int, width: int) -> tuple[Float32, Int64]:
        self._faiss.omp_set_num_threads(1 if len(queries) == 1 else max(os.cpu_count() or 1, 1))
        parameters = self._faiss.SearchParametersHNSW(efSearch=width)
        scores, rows = self._graph.search(queries, k, params=parameters)
        return scores, rows

    def search(
        self, queries: Float32, k: int, *, allowed: Int64 | None = None, recall: float = 1.0
    ) -> tuple[Float32, Int64]:
        """See the base class."""
        setting = self.tuning.setting(k, recall) if recall < 1 and allowed is None else None
        if setting is None:
            return super().search(queries, k, allowed=allowed)
        scores, rows = self._walk(queries, k, max(setting.wanted, k))
        found = rows >= 0
        if not found.all():  # a walk that ended early: k answers come back all the same
            return super().search(queries, k)
        return scores, np.where(found, self._ids[rows], MISSING)

    def _of_stored(self, ids: Int64, stored: Float32) -> GraphIndex:
        return GraphIndex(ids, stored, self._dimension)

    def save(self, folder: Path) -> None:
        """See the base class."""
        super().save(folder)
        (folder / GRAPH).write_bytes(self._faiss.serialize_index(self._graph).tobytes())
        (folder / TUNING).write_text(json.dumps(self.tuning.to_json()), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, dimension: int) -> GraphIndex:
        """See the base class."""
        import faiss

        ids, vectors = read_rows(folder, dimension)
        try:
            graph = faiss.deserialize_index(np.frombuffer((folder / GRAPH).read_bytes(), np.uint8))
        except RuntimeError as error:
            raise ValueError(f"{GRAPH} is no graph: {error}") from error
        if not isinstance(graph, faiss.IndexHNSWSQ) or (graph.ntotal, graph.d) != vectors.shape:
            raise ValueError(f"{GRAPH} is not the graph of {vectors.shape[0]} vectors of {vectors.shape[1]} numbers")
        tuning = Tuning.from_json(json.loads((folder / TUNING).read_text(encoding="utf-8")))
        return cls(ids, vectors, dimension, graph, tuning)
