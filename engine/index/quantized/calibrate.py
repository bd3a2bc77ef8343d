"""Measuring what each recall costs a quantized index.

One scan of many cells a query tells of every setting at once: an answer is found with ``probes`` cells and ``wanted``
estimates kept if its cell is among the first ``probes``, and fewer than ``wanted`` vectors of these cells have a better
estimate. The settings chosen so are then judged by searching with them.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.index.base import MISSING, FirstMomentIndex
from engine.index.quantized.query_families import QueryFamily, query_families
from engine.index.quantized.rows import Rows
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

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Scan = tuple[NDArray[np.float64], dict[int, NDArray[np.float64]]]
TIMES = np.rint(2.0 ** np.arange(0, 10, 0.5) * 10).astype(int) / 10
"""Estimates kept that are tried, in times the depth."""
MOST = 8192
"""And at most."""
CODE, ROW, CELL = 5.0, 200.0, 100.0
"""Nanoseconds, by which settings are compared: of a code, a row and a cell. Only their proportions matter."""
STEP = 1.15
"""Between the numbers of cells that are tried."""
START = 1 / 8
"""Share of the cells that is scanned at first; twice as many, and so on, where that does not reach every recall."""


class CalibratedIndex(FirstMomentIndex):
    """An index of cells and codes, as far as it is measured here.

    Attributes:
        rows: its vectors, by row.
        real: queries that the collection may be asked ``(m, d)``.
    """

    rows: Rows
    real: Float32

    @abstractmethod
    def turned(self, query: Float32) -> Float32:
        """A query ``(d,)`` in the basis of the codes."""

    @abstractmethod
    def ranked_cells(self, turned: Float32, probes: int) -> Int64:
        """The ``probes`` cells that promise most for a turned query, best first."""

    @abstractmethod
    def candidates(
        self, turned: Float32, probes: int, wanted: int, admitted: NDArray[np.bool_] | None = None
    ) -> tuple[Int64, Float32, int]:
        """Rows ``(n,)`` with the best estimates, in no order, these, and how many codes were read."""

    @abstractmethod
    def answers(self, query: Float32, k: int, setting: Setting) -> Int64:
        """The ids ``(k,)`` that a search for ``query`` ``(d,)`` by that setting finds, best first."""


def tuned(index: CalibratedIndex, only: str = "") -> Tuning:
    """Measure what each recall takes, for queries of every family, or of one."""
    if len(index) <= DEPTHS[-1]:
        return Tuning(len(index), 0, ())
    families = query_families(index, QUERIES + JUDGES, np.random.default_rng(SEED), index.real)
    families = [family for family in families if only in ("", family.name)]
    truths = [_truth(index, family) for family in families]
    cells = len(index.rows.sizes)
    most = max(int(START * cells), 1)
    while True:
        settings = _cheapest(index, families, truths, most)
        if most == cells or len(settings) == len(DEPTHS) * len(RECALLS):
            break
        most = min(2 * most, cells)
    judged = [_judged(index, setting, families, truths) for setting in settings]
    return Tuning(len(index), QUERIES, tuple(judged), tuple(family.name for family in families))


def estimates_kept(depth: int, models: int) -> list[int]:
    """Numbers of estimates that are tried, for the ``depth`` best of so many models."""
    most = max(min(models // 8, MOST), depth)
    return sorted({min(round(depth * times), models) for times in TIMES.tolist() if depth * times <= most})


def cells_tried(most: int) -> Int64:
    """Numbers of cells, rising by ``STEP``, up to ``most``."""
    steps = np.geomspace(1, most, max(int(np.log(most) / np.log(STEP)), 1) + 1)
    return np.unique(np.rint(steps)).astype(np.int64)


def _truth(index: CalibratedIndex, family: QueryFamily) -> Int64:
    """Each query's best rows ``(m, deepest)``."""
    there = index.rows.ids != MISSING
    rows = exact_rows(index.rows.all_vectors(), family.queries, DEPTHS[-1] + 1, there)
    return without_own(rows, index.rows.ids, family)


def _cheapest(
    index: CalibratedIndex, families: Sequence[QueryFamily], truths: Sequence[Int64], most: int
) -> list[Setting]:
    """For every depth and recall the cheapest setting of at most so many cells that reaches it, if there is one."""
    probes = cells_tried(most)
    kept = {depth: np.array(estimates_kept(depth, len(index))) for depth in DEPTHS}
    assured_by = {depth: np.full((len(probes), len(wanted)), np.inf) for depth, wanted in kept.items()}
    codes = np.zeros(len(probes))
    for family, truth in zip(families, truths, strict=True):
        asked = range(choosing(family))

        def scan(at: int, family: QueryFamily = family, truth: Int64 = truth) -> Scan:
            return _scanned(index, family.queries[at], int(family.own[at]), truth[at], probes, kept)

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            scans = list(pool.map(scan, asked))
        codes += np.mean([read for read, _ in scans], axis=0) / len(families)
        for depth, least in assured_by.items():
            np.minimum(least, assured(np.stack([shares[depth] for _, shares in scans])), out=least)
    settings = []
    for depth, least in assured_by.items():
        cost = CODE * codes[:, None] + ROW * kept[depth] + CELL * probes[:, None]
        for target in RECALLS:
            fitting = np.where(least >= target, cost, np.inf)
            cell, number = np.unravel_index(np.argmin(fitting), fitting.shape)
            if np.isfinite(fitting[cell, number]):
                wanted = int(kept[depth][number])
                settings.append(Setting(depth, target, int(probes[cell]), wanted, 0.0, int(codes[cell])))
    return settings


def _scanned(
    index: CalibratedIndex, query: Float32, own: int, truth: Int64, probes: Int64, kept: Mapping[int, Int64]
) -> Scan:
    """Codes read ``(p,)``, and by depth the share of the best that each setting finds ``(p, numbers kept)``."""
    turned = index.turned(query)
    order = index.ranked_cells(turned, int(probes[-1]))
    position = np.full(len(index.rows.sizes), len(index.rows.sizes))
    position[order] = np.arange(len(order))
    rows, estimates, _ = index.candidates(turned, len(order), len(index.rows.ids))
    place = np.full(len(index.rows.ids), -1)
    place[rows] = np.arange(len(rows))
    theirs = place[truth]
    met = position[index.rows.cell_of[truth]]
    # How many better estimates the first cells hold: counted by the answers' own estimates, in ascending order.
    own_estimates = np.where(theirs >= 0, estimates[np.maximum(theirs, 0)], -np.inf)
    ascending = np.argsort(own_estimates, kind="stable")
    scale = own_estimates[ascending]
    good = np.flatnonzero(estimates >= scale[np.argmax(scale > -np.inf)])
    good = good[index.rows.ids[rows[good]] != own] if own != MISSING else good
    beaten = np.searchsorted(scale, estimates[good], side="left")
    first = np.searchsorted(probes, position[index.rows.cell_of[rows[good]]], side="right")
    counts = np.zeros((len(probes) + 1, len(truth) + 1), np.int64)
    np.add.at(counts, (first, beaten), 1)
    better = counts[:-1].cumsum(axis=0)[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    ranks = np.empty((len(probes), len(truth)), np.int64)
    ranks[:, ascending] = better
    ranks[met[None, :] >= probes[:, None]] = len(index.rows.ids)
    read = index.rows.sizes[order].cumsum()[np.minimum(probes, len(order)) - 1].astype(np.float64)
    return read, {
        depth: (ranks[:, :depth, None] < wanted[None, None, :]).mean(axis=1) for depth, wanted in kept.items()
    }


def _judged(
    index: CalibratedIndex, setting: Setting, families: Sequence[QueryFamily], truths: Sequence[Int64]
) -> Setting:
    """The setting with the recall that searching by it reaches in the hardest family, on the queries that judge."""
    reached = {}
    for family, truth in zip(families, truths, strict=True):
        judging = range(choosing(family), len(family.queries))

        def share(at: int, family: QueryFamily = family, truth: Int64 = truth) -> float:
            found = index.answers(family.queries[at], setting.depth + 1, setting)
            others = found[found != family.own[at]][: setting.depth]  # and not its own
            return float(np.isin(index.rows.ids[truth[at, : setting.depth]], others).mean())

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            reached[family.name] = float(np.mean(list(pool.map(share, judging))))
    hardest = min(reached, key=reached.__getitem__)
    return replace(setting, recall=reached[hardest], hardest=hardest)
