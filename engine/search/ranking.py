"""Query parts to ranked ids: the first-moment stage, then, where the method asks for it, the exact one.

First moment alone is one inner-product search, also for several parts: Σ_p w_p cos(μ̃, h_p) / σ_p is the inner
product of μ̃ with Σ_p w_p h_p / σ_p, and σ_p, the spread of a part's cosines over the collection, follows from the
collection's first two moments without reading it. The view's space says what stands for μ̃ and h_p.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidQuery, MissingStatistics
from engine.index import MISSING
from engine.records import QueryPart
from engine.rerank.statistics_cache import StatisticsCache
from engine.scores import (
    blend,
    first_second_moment,
    monte_carlo,
    product_of_experts,
)
from engine.scores.blend import NEAREST
from engine.scores.product_of_experts import SMALLEST_SPREAD, cosine_spread
from engine.search.plan import Plan
from engine.search.spaces import BLEND, GAUSSIAN
from engine.search.views import IndexView

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Scorer = Callable[[Sequence[QueryPart], Int64], Float64]
One = Callable[[NDArray[np.float32]], float]
"""One model's score of a query."""


@dataclass
class Ranking:
    """Ids, best first, their scores, and each part's share ``(parts, n)``; see ``Hits`` for the rest."""

    ids: Int64
    scores: Float64
    parts: Float64
    shortlist: int | None = None
    left_out: int = 0
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Shortlist:
    """One inner-product search: the combined query ``(d,)``, what may be answered, and how many models that are."""

    view: IndexView
    query: NDArray[np.float32]
    named: list[int]
    allowed: Int64 | None
    recall: float

    @property
    def available(self) -> int:
        """How many models can be answered."""
        if self.allowed is None:
            there = self.view.index.vectors(np.array(sorted(set(self.named)), np.int64))
            return len(self.view.index) - int((~np.isnan(there).any(axis=1)).sum())
        return int(np.isin(np.setdiff1d(self.allowed, self.named), self.view.index.ids).sum())

    def best(self, width: int) -> tuple[Int64, Float64]:
        """The ``width`` best and their scores, without those that are ``named``: as many more are asked for."""
        if width == 0:
            return np.empty(0, np.int64), np.empty(0)
        query, count = np.ascontiguousarray(self.query[None]), width + len(self.named)
        scores, ids = self.view.index.search(query, count, allowed=self.allowed, recall=self.recall)
        there = ids[0] != MISSING
        if self.named:
            there &= ~np.isin(ids[0], self.named)
        return ids[0][there][:width], scores[0][there][:width].astype(np.float64)


def rank(
    plan: Plan,
    statistics: StatisticsCache,
    parts: Sequence[QueryPart],
    k: int,
    *,
    shortlist: int,
    recall: float = 1.0,
    allowed: Int64 | None = None,
    tempered: bool = True,
) -> Ranking:
    """The k best models for the parts by a plan.

    Rules that need only the mean are answered in the view's space; the others take their candidates from it.

    Args:
        recall: that of the view's search.
        allowed: restricts the answers; models named by a part are left out.
        shortlist: candidates of the exact stage. When these lack what the rule needs, there are more, until k models
            could be scored or none is left.

    Raises:
        MissingStatistics: models exist but none of them has what the rule needs.
        InvalidQuery: k or the shortlist is below 1.
    """
    if k < 1 or shortlist < 1:
        raise InvalidQuery(f"k and the shortlist must be at least 1, got k={k}, shortlist={shortlist}")
    view = plan.view
    named = [part.model_id for part in parts if part.model_id is not None]
    queries = view.space.queries_to_vectors(np.stack([part.feature for part in parts]))
    scales = _scales(view, parts, queries, tempered)
    search = _Shortlist(view, _combined(queries, scales), named, allowed, recall)
    if plan.rule.needs != "mean":
        best = k if len(parts) == 1 and plan.covariance_map is None else None
        return _rerank(plan, _scorer(plan, statistics, best), parts, k, max(shortlist, k), search, tempered)
    started = perf_counter()
    ids, found = search.best(min(k, search.available))
    shares = found[None] if len(parts) == 1 else _cosines(view, ids, queries, scales)
    scores = shares.sum(axis=0)
    order = np.lexsort((ids, -scores))
    timings = {"shortlist": 1e3 * (perf_counter() - started)}
    return Ranking(ids[order], scores[order], shares[:, order], None, len(view.damaged), timings)


def _rerank(
    plan: Plan, score: Scorer, parts: Sequence[QueryPart], k: int, width: int, search: _Shortlist, tempered: bool
) -> Ranking:
    rule, available = plan.rule, search.available
    timings = {"shortlist": 0.0, "rerank": 0.0}
    while True:
        width = min(width, available)
        started = perf_counter()
        ids, _ = search.best(width)
        searched = perf_counter()
        raw = score(parts, ids)
        timings["shortlist"] += 1e3 * (searched - started)
        timings["rerank"] += 1e3 * (perf_counter() - searched)
        usable = np.isfinite(raw).all(axis=0)
        dropped = np.isneginf(raw).any(axis=0) & (rule.name == GAUSSIAN)
        if usable.sum() >= min(k, available) or width >= available:
            break
        width *= 2
    if available and not usable.any():
        raise MissingStatistics(
            f"none of the {available} models has the {rule.needs} that {rule.name} needs",
            hint="search with method first_moment, or ingest samples rather than moments",
        )
    kept, raw = ids[usable], raw[:, usable]
    weights = [part.weight for part in parts]
    spreads = [float(row.std()) for row in raw] if len(parts) > 1 and tempered and raw.size else None
    scores = product_of_experts(raw, weights, spreads=spreads)
    shares = [
        product_of_experts(raw[i : i + 1], [weight], spreads=None if spreads is None else [spreads[i]])
        for i, weight in enumerate(weights)
    ]
    order = np.lexsort((kept, -scores))[:k]
    left_out = int((~usable & ~dropped).sum()) + len(plan.view.damaged)
    return Ranking(kept[order], scores[order], np.stack(shares)[:, order], len(ids), left_out, timings)


def _scales(view: IndexView, parts: Sequence[QueryPart], queries: NDArray[np.float32], tempered: bool) -> list[float]:
    """What each part's cosine is multiplied by: w for one part, w/σ for several, w/τ for a plain sum of several."""
    if len(parts) == 1:
        return [parts[0].weight]
    if not tempered:
        return [part.weight * view.identity.logit_scale for part in parts]
    centre, second = view.index.moments()
    spreads = [cosine_spread(second, centre, query) for query in queries]
    return [p.weight / s if s > SMALLEST_SPREAD else 0.0 for p, s in zip(parts, spreads, strict=True)]


def _combined(queries: NDArray[np.float32], scales: Sequence[float]) -> NDArray[np.float32]:
    """Σ_p scale_p h_p ``(d,)``: the query whose inner product is the scaled sum of the parts' cosines."""
    return np.asarray(np.asarray(scales) @ queries.astype(np.float64), np.float32)


def _cosines(view: IndexView, ids: Int64, queries: NDArray[np.float32], scales: Sequence[float]) -> Float64:
    vectors = view.index.vectors(ids).astype(np.float64)
    rows = [scale * (vectors @ query) for scale, query in zip(scales, queries, strict=True)]
    return np.stack(rows) if len(ids) else np.empty((len(queries), 0))


def _scorer(plan: Plan, statistics: StatisticsCache, best: int | None) -> Scorer:
    """Each part's log-likelihood of each candidate, ``(parts, n)``; NaN where the model cannot be scored.

    With ``best`` a density may be −∞ where the candidate is certainly not among so many best.
    """
    view, rule, covariance_map, shrinkage = plan.view, plan.rule, plan.covariance_map, plan.shrinkage
    scale, stores = view.identity.logit_scale, statistics.stores

    def second_moment(ids: list[int]) -> dict[int, One]:
        moments = statistics.moments(view.encoder_id, ids)
        return {i: partial(first_second_moment, own, logit_scale=scale) for i, own in moments.items()}

    def samples(ids: list[int]) -> dict[int, One]:
        features = statistics.features(view.encoder_id, ids)
        return {i: partial(monte_carlo, rows, logit_scale=scale) for i, rows in features.items()}

    def scored(by_id: Mapping[int, One], parts: Sequence[QueryPart], ids: list[int]) -> Float64:
        rows = [[by_id[i](part.feature) if i in by_id else np.nan for i in ids] for part in parts]
        return np.array(rows, np.float64).reshape(len(parts), len(ids))

    def scores(parts: Sequence[QueryPart], ids: Int64) -> Float64:
        features = np.stack([part.feature for part in parts])
        if rule.name == GAUSSIAN:
            return stores.densities(view, ids, features, shrinkage, covariance_map, best)
        if rule.name == BLEND:
            turned: dict[str, list[Float64]] = {}
            densities = stores.densities(view, ids, features, shrinkage, covariance_map, turned=turned)
            nearest = stores.similarities(view, ids, features, NEAREST, turned)
            return np.stack([blend(*rows) for rows in zip(densities, nearest, strict=True)])
        if rule.name in ("first_second_moment", "monte_carlo"):
            by_id = (second_moment if rule.name == "first_second_moment" else samples)(ids.tolist())
            return scored(by_id, parts, ids.tolist())
        return stores.similarities(view, ids, features, rule.k)

    return scores
