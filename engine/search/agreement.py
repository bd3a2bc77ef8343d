"""How far the two stages agree with the exhaustive density, measured on a collection's own models.

Re-ranking is exact, so a model that the exhaustive density has among its ten best is among the two stages' ten best if
and only if it is on the shortlist: one exhaustive ranking and one long shortlist a query tell of every shortlist size.
Queries are drawn near models: a fresh draw from a model's own Gaussian, of unit norm, the models spread evenly by age.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorruptData
from engine.files import make_folder, open_private
from engine.rerank.statistics_cache import StatisticsCache
from engine.scores import Shrinkage, unit
from engine.search.real_queries import statistics_to_draw
from engine.search.views import IndexView

log = logging.getLogger("engine.search")
Float32 = NDArray[np.float32]
SIZES = (25, 50, 100, 200, 500, 1000)
"""Shortlists that are looked at, besides the one that searches use."""
BEST = 10
QUERIES = 100
DENSITIES = 200_000
"""Of models for queries that are scored at most: beyond, fewer queries are asked."""
LEAST = 10
UNKEPT = 1000
"""Models whose factors are made for the measurement alone."""


@dataclass(frozen=True)
class Agreement:
    """``share`` of the exhaustive ``k`` best that are on the shortlist, by its size, on average over ``queries``.

    ``space`` is where the shortlist comes from, ``shrinkage`` the densities' weight, ``measured`` when, in UTC.
    """

    measured: str
    change: int
    models: int
    queries: int
    k: int
    space: str
    shrinkage: float
    share: dict[str, float]


def measure_agreement(
    view: IndexView, evidence: StatisticsCache, shrinkage: Shrinkage | None, sizes: tuple[int, ...] = SIZES
) -> Agreement | None:
    """Measure it among the models whose factors are in the file, or, where there is no file, among ``UNKEPT`` at most.

    ``view`` is of the space that shortlists come from. None where there are too few models for a shortlist to leave
    any out.
    """
    everything = np.sort(view.index.ids)
    kept = np.intersect1d(everything, evidence.stores.factors(view, shrinkage).ids)
    ids = kept if len(kept) else everything[:UNKEPT]
    allowed = None if len(ids) == len(everything) else ids
    queries = near_models(view, evidence, ids, max(min(QUERIES, DENSITIES // max(len(ids), 1)), LEAST))
    sizes = tuple(size for size in sorted(set(sizes)) if BEST <= size < len(ids))
    if not sizes or not len(queries):
        return None
    hits = np.zeros(len(sizes))
    for query in queries:
        best = exhaustive_best(view, evidence, ids, query, shrinkage)
        _, found = view.index.search(view.space.queries_to_vectors(query[None]), sizes[-1], allowed=allowed)
        on = np.isin(found[0], best)
        hits += [on[:size].sum() / max(len(best), 1) for size in sizes]
    share = {str(size): float(value) for size, value in zip(sizes, hits / len(queries), strict=True)}
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    weight = 0.0 if shrinkage is None else shrinkage.weight
    return Agreement(now, view.change, len(ids), len(queries), BEST, view.space.key, weight, share)


def exhaustive_best(
    view: IndexView, evidence: StatisticsCache, ids: NDArray[np.int64], query: Float32, shrinkage: Shrinkage | None
) -> NDArray[np.int64]:
    """The ids of the k best by density among all."""
    scores = evidence.stores.densities(view, ids, query[None], shrinkage, k=BEST)[0]
    finite = np.flatnonzero(np.isfinite(scores))
    return np.asarray(ids[finite[np.argsort(-scores[finite], kind="stable")[:BEST]]])


def near_models(view: IndexView, evidence: StatisticsCache, ids: NDArray[np.int64], count: int) -> Float32:
    """Queries ``(m, d)`` of unit norm, drawn from m ≤ ``count`` models that have a covariance."""
    step = max(-(-len(ids) // count), 1)
    stored, _ = evidence.catalog.statistics(view.encoder_id, ids[::step].tolist())
    random = np.random.default_rng(0)
    drawn = [statistics_to_draw(item.statistics, random) for _, item in sorted(stored.items())]
    rows = [row for row in drawn if row is not None]
    return unit(np.stack(rows)) if rows else np.empty((0, view.identity.dimension), np.float32)


def save_agreement(path: Path, agreement: Agreement | None) -> None:
    """Keep it beside the index; where that cannot be written, it is said and not kept."""
    beside = path.with_name(f"{path.name}.beside")
    try:
        if agreement is None:
            path.unlink(missing_ok=True)
            return
        make_folder(path.parent)
        said = asdict(agreement)
        with open_private(beside, "wb") as stream:
            stream.write(json.dumps({"agreement": said, "sha256": _digest(said)}).encode() + b"\n")
        beside.replace(path)
    except OSError as error:
        log.warning("the measured agreement could not be kept: %s", error)


def load_agreement(path: Path) -> dict[str, Any] | None:
    """What was kept, or None where nothing was, or nothing that can be read."""
    try:
        return read_agreement(path)
    except CorruptData as error:
        log.warning("%s", error)
        return None


def read_agreement(path: Path) -> dict[str, Any] | None:
    """What was kept, or None where nothing was.

    Raises:
        CorruptData: it cannot be read, or does not match its checksum.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["sha256"] == _digest(said["agreement"]):
            return asdict(Agreement(**said["agreement"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptData(f"the measured agreement in {path} cannot be read: {str(error)!r}") from error
    raise CorruptData(f"the measured agreement in {path} does not match its checksum")


def _digest(agreement: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(agreement, sort_keys=True).encode()).hexdigest()
