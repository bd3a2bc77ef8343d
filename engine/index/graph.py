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

from engine.index.base import MISSING, Float32, Int64
from engine.index.flat import IDS, VECTORS, FlatIndex, read_rows
from engine.index.tuning import DEPTHS, QUERIES, RECALLS, SEED, Setting, Tuning, exact_rows, near_models

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
        queries = near_models(self, 2 * QUERIES, np.random.default_rng(SEED))
        truth = exact_rows(self._matrix, queries, DEPTHS[-1])
        settings: list[Setting] = []
        for depth in DEPTHS:
            wanted = [*RECALLS]
            for width in (width for width in WIDTHS if width >= depth):
                _, rows = self._walk(queries, depth, width)
                hits = [np.isin(row, true[:depth]).mean() for row, true in zip(rows, truth, strict=True)]
                chosen, held = np.array(hits[:QUERIES]), np.array(hits[QUERIES:])
                sure = chosen.mean() - chosen.std() / np.sqrt(QUERIES)
                while wanted and sure >= wanted[0]:
                    settings.append(Setting(depth, wanted.pop(0), width, width, float(held.mean()), width))
                if not wanted:
                    break
        return Tuning(len(self), QUERIES, tuple(settings))

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
