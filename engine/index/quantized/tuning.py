"""What a recall costs: settings of an approximate index, and the recall that each was measured to reach.

A setting is chosen on one part of the queries of every family (``query_families.py``): the cheapest whose recall lies
``SURE`` standard errors above the target in the hardest family. The rest of the queries judge: the recall that is
stored and shown is that of the hardest family, measured by searching.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.index.base import MISSING
from engine.index.quantized.query_families import QueryFamily

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
QUERIES, JUDGES = 300, 100
"""Of each family: those that choose, and those that judge."""
SURE = 1.64
"""Standard errors that a setting's recall must lie above what it is chosen for: one in twenty may fall short."""
DEPTHS = (10, 100, 200)
"""Answers that settings are measured for: those of a page, and of shortlists."""
RECALLS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
BLOCK = 65_536
SEED = 21


@dataclass(frozen=True)
class Setting:
    """``recall`` of the ``depth`` best, on average, for so many cells probed and so many codes refined.

    ``recall`` is that of the ``hardest`` family of queries.
    """

    depth: int
    target: float
    probes: int
    wanted: int
    recall: float
    codes: int
    hardest: str = ""


@dataclass(frozen=True)
class Tuning:
    """The settings that were measured among ``models`` models, chosen on ``queries`` queries of each family."""

    models: int
    queries: int
    settings: tuple[Setting, ...]
    families: tuple[str, ...] = ()

    def setting(self, k: int, recall: float) -> Setting | None:
        """The cheapest that was found to reach a recall of the k best, or None: then the search must be exact.

        Beyond the deepest that was measured, as many times more is read.
        """
        depth = next((depth for depth in self._depths if k <= depth), self._depths[-1])
        fitting = [one for one in self.settings if one.depth == depth and one.target >= recall - 1e-9]
        if not fitting:
            return None
        best = min(fitting, key=lambda one: one.target)
        if k <= depth:
            return best
        times = -(-k // depth)
        return Setting(
            k, best.target, best.probes * times, best.wanted * times, best.recall, best.codes * times, best.hardest
        )

    @cached_property
    def _depths(self) -> list[int]:
        """Those that settings were measured for, ascending: a snapshot may be of a version that had others."""
        return sorted({one.depth for one in self.settings}) or [DEPTHS[-1]]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and texts."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: Any) -> Tuning:
        """Raises: ValueError: it is not what ``to_json`` writes."""
        try:
            settings = tuple(
                Setting(
                    int(one["depth"]), float(one["target"]), int(one["probes"]), int(one["wanted"]),
                    float(one["recall"]), int(one["codes"]), str(one["hardest"]),
                )
                for one in said["settings"]
            )  # fmt: skip
            found = cls(int(said["models"]), int(said["queries"]), settings, tuple(map(str, said["families"])))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError("the settings of the index are none") from error
        if not all(one.probes > 0 and one.wanted > 0 and 0 <= one.recall <= 1 for one in settings):
            raise ValueError("a setting of the index is out of range")
        return found


def assured(hits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The recall that shares of found answers ``(queries, …)`` allow to promise: mean less ``SURE`` standard errors."""
    return np.asarray(hits.mean(axis=0) - SURE * hits.std(axis=0) / np.sqrt(len(hits)))


def choosing(family: QueryFamily) -> int:
    """How many of a family's queries choose; those behind them judge."""
    return len(family.queries) * QUERIES // (QUERIES + JUDGES)


def without_own(rows: Int64, ids: Int64, family: QueryFamily) -> Int64:
    """Rows ``(m, k)``, best first, as ``(m, k − 1)``: without the one that a query is made of, or else the last.

    ``ids`` are the rows'.
    """
    others = (family.own[:, None] == MISSING) | (ids[rows] != family.own[:, None])
    order = np.argsort(~others, axis=1, kind="stable")[:, : rows.shape[1] - 1]
    return np.take_along_axis(rows, order, axis=1)


def exact_rows(vectors: Float32, queries: Float32, k: int, there: NDArray[np.bool_] | None = None) -> Int64:
    """The rows ``(m, k)`` with the largest inner products, best first, of ``vectors`` ``(n, d)``, n ≥ k.

    ``there`` ``(n,)`` says which rows count.
    """
    import faiss

    best = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        own = np.arange(start, start + len(block))
        if there is not None:
            kept = there[start : start + BLOCK]
            block, own = block[kept], own[kept]
        if not len(block):
            continue
        scores, places = faiss.knn(
            queries, np.ascontiguousarray(block), min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT
        )
        best = np.concatenate([best, scores], axis=1)
        rows = np.concatenate([rows, own[places]], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, rows = np.take_along_axis(best, order, axis=1), np.take_along_axis(rows, order, axis=1)
    return rows
