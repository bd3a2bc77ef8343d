"""What a recall costs: measured on queries near the collection's own models, against exact answers.

Queries lie at cosine ``CLOSE`` from a model, in a random direction away from it. One half chooses the settings, the
other says what they reach: the recall that an index promises was measured on queries that had no part in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.index.base import FirstMomentIndex

if TYPE_CHECKING:
    from engine.index.quantized import QuantizedIndex

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
CLOSE = 0.8
QUERIES = 400
"""Each half."""
SURE = 1.64
"""Standard errors that a setting's recall must lie above what it is chosen for: one in twenty may fall short."""
DEPTHS = (10, 100, 200)
"""Answers that settings are measured for: those of a page, and of shortlists."""
RECALLS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
TIMES = np.rint(2.0 ** np.arange(0, 10, 0.5) * 10).astype(int) / 10
"""Estimates kept that are tried, in times the depth."""
MOST = 8192
"""And at most."""
CODE, ROW, CELL = 5.0, 200.0, 100.0
"""Nanoseconds, by which settings are compared: of a code, a row and a cell. Only their proportions matter."""
BLOCK = 16_384
SEED = 21


@dataclass(frozen=True)
class Setting:
    """``recall`` of the ``depth`` best, on average, for so many cells probed and so many codes refined."""

    depth: int
    target: float
    probes: int
    wanted: int
    recall: float
    codes: int


@dataclass(frozen=True)
class Tuning:
    """The settings that were measured, on ``queries`` queries, when there were so many ``models``."""

    models: int
    queries: int
    settings: tuple[Setting, ...]

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
        return Setting(k, best.target, best.probes * times, best.wanted * times, best.recall, best.codes * times)

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
                    float(one["recall"]), int(one["codes"]),
                )
                for one in said["settings"]
            )  # fmt: skip
            found = cls(int(said["models"]), int(said["queries"]), settings)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError("the settings of the index are none") from error
        if not all(one.probes > 0 and one.wanted > 0 and 0 <= one.recall <= 1 for one in settings):
            raise ValueError("a setting of the index is out of range")
        return found


def tuned(index: QuantizedIndex) -> Tuning:
    """Measure what each recall takes."""
    if len(index) <= DEPTHS[-1]:
        return Tuning(len(index), 0, ())
    rng = np.random.default_rng(SEED)
    queries = near_models(index, 2 * QUERIES, rng)
    truth = exact_rows(index.rows.all_vectors(), queries, DEPTHS[-1])
    turned = [index.turned(query) for query in queries]
    cheapest: dict[tuple[int, float], tuple[float, Setting]] = {}
    for probes in probes_tried(len(index.rows.sizes)):
        codes, found = measured(index, turned, truth, probes)
        for depth in DEPTHS:
            for wanted, hits in zip(kept(depth, len(index)), found[depth].T, strict=True):
                chosen, held = hits[:QUERIES], hits[QUERIES:]
                sure = float(chosen.mean() - SURE * chosen.std() / np.sqrt(QUERIES))
                cost = CODE * codes + ROW * wanted + CELL * probes
                for target in RECALLS:
                    best = cheapest.get((depth, target))
                    if sure >= target and (best is None or cost < best[0]):
                        setting = Setting(depth, target, probes, wanted, float(held.mean()), int(codes))
                        cheapest[depth, target] = cost, setting
        if all((depth, RECALLS[-1]) in cheapest for depth in DEPTHS):
            break  # more cells reach no more
    return Tuning(len(index), QUERIES, tuple(cheapest[key][1] for key in sorted(cheapest)))


def kept(depth: int, models: int) -> list[int]:
    """Numbers of estimates that are tried, for the ``depth`` best of so many models."""
    most = max(min(models // 8, MOST), depth)
    return sorted({min(round(depth * times), models) for times in TIMES.tolist() if depth * times <= most})


def probes_tried(cells: int) -> list[int]:
    """Numbers of cells, rising by about a fifth, up to all of them."""
    steps = np.unique(np.rint(np.geomspace(1, cells, max(int(np.log(cells) / np.log(1.2)), 1) + 1)).astype(int))
    return [int(step) for step in steps]


def measured(
    index: QuantizedIndex, turned: list[Float32], truth: Int64, probes: int
) -> tuple[float, dict[int, NDArray[np.float64]]]:
    """Codes read on average, and by depth the share of the best that is found ``(m, numbers kept)``.

    ``truth`` ``(m, deepest)`` are each query's best rows, best first. Found is what has an estimate among those kept.
    """
    tried = {depth: kept(depth, len(index)) for depth in DEPTHS}
    found = {depth: np.zeros((len(turned), len(numbers))) for depth, numbers in tried.items()}
    place = np.full(len(index.rows.ids), -1)
    scanned = 0
    for at, query in enumerate(turned):
        rows, estimates, codes = index.candidates(query, probes, max(numbers[-1] for numbers in tried.values()))
        scanned += codes
        place[rows] = np.arange(len(rows))
        theirs = place[truth[at]]
        ordered = np.sort(estimates)
        ranks = len(ordered) - np.searchsorted(ordered, estimates[np.maximum(theirs, 0)], side="right")
        ranks[theirs < 0] = len(place)
        for depth, numbers in tried.items():
            found[depth][at] = [np.count_nonzero(ranks[:depth] < wanted) / depth for wanted in numbers]
        place[rows] = -1
    return scanned / len(turned), found


def near_models(index: FirstMomentIndex, count: int, rng: np.random.Generator) -> Float32:
    """Queries ``(count, d)`` at cosine ``CLOSE`` from models drawn at random."""
    own = index.vectors(rng.choice(index.ids, count)).astype(np.float64)
    lengths = np.linalg.norm(own, axis=1, keepdims=True)
    own /= np.maximum(lengths, 1e-12)
    away = rng.standard_normal(own.shape)
    away -= np.einsum("qd,qd->q", away, own)[:, None] * own
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    return np.ascontiguousarray(CLOSE * own + np.sqrt(1 - CLOSE**2) * away, np.float32)


def exact_rows(vectors: Float32, queries: Float32, k: int) -> Int64:
    """The rows ``(m, k)`` with the largest inner products, best first; rows of no model are zero, and lose."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.zeros((len(queries), k), np.int64)
    for start in range(0, len(vectors), BLOCK):
        block = np.asarray(vectors[start : start + BLOCK])
        scores = queries @ block.T
        scores[:, ~block.any(axis=1)] = -np.inf
        both = np.concatenate([best, scores], axis=1)
        numbers = np.concatenate([rows, np.broadcast_to(np.arange(start, start + len(block)), scores.shape)], axis=1)
        keep = np.argpartition(-both, k - 1, axis=1)[:, :k]
        best, rows = np.take_along_axis(both, keep, axis=1), np.take_along_axis(numbers, keep, axis=1)
    return np.take_along_axis(rows, np.argsort(-best, axis=1, kind="stable"), axis=1)
