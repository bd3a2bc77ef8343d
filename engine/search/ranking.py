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
    CovarianceMap,
    Shrinkage,
    blend,
    first_second_moment,
    monte_carlo,
    product_of_experts,
)
from engine.scores.blend import NEAREST
from engine.scores.product_of_experts import SMALLEST_SPREAD, cosine_spread
from engine.search.rules import Rule
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


def rank(
    view: IndexView,
    evidence: StatisticsCache,
    rule: Rule,
    parts: Sequence[QueryPart],
    k: int,
    *,
    shortlist: int,
    recall: float = 1.0,
    allowed: Int64 | None = None,
    tempered: bool = True,
    covariance_map: CovarianceMap | None = None,
    shrinkage: Shrinkage | None = None,
) -> Ranking:
    """The k best models for the parts under a rule.

    Rules that need only the mean are answered in the view's space; the others take their candidates from it.
    ``covariance_map`` is a learned transform of densities, ``shrinkage`` what their covariances are drawn toward.

    ``recall`` is that of the view's search. ``allowed`` restricts the answers; models named by a part are left out.
    When candidates lack what the rule needs, the shortlist grows until k models could be scored or none is left.

    Raises:
        MissingStatistics: models exist but none of them has what the rule needs.
        InvalidQuery: k or the shortlist is below 1.
    """
    if k < 1 or shortlist < 1:
        raise InvalidQuery(f"k and the shortlist must be at least 1, got k={k}, shortlist={shortlist}")
    named = [part.model_id for part in parts if part.model_id is not None]
    queries = view.space.queries_to_vectors(np.stack([part.feature for part in parts]))
    scales = _scales(view, parts, queries, tempered)
    combined = _combined(queries, scales)
    available = _available(view, named, allowed)

    def candidates(width: int) -> Int64:
        return _candidates(view, combined, width, allowed, recall, named)[0]

    if rule.needs != "mean":
        width = max(shortlist, k)
        best = k if len(parts) == 1 and covariance_map is None else None
        score = _scorer(view, evidence, rule, covariance_map, shrinkage, best)
        return _rerank(view, score, rule, parts, k, width, available, tempered, candidates)
    started = perf_counter()
    ids, found = _candidates(view, combined, min(k, available), allowed, recall, named)
    shares = found[None] if len(parts) == 1 else _cosines(view, ids, queries, scales)
    scores = shares.sum(axis=0)
    order = np.lexsort((ids, -scores))
    timings = {"shortlist": 1e3 * (perf_counter() - started)}
    return Ranking(ids[order], scores[order], shares[:, order], None, len(view.damaged), timings)


def _rerank(
    view: IndexView,
    score: Scorer,
    rule: Rule,
    parts: Sequence[QueryPart],
    k: int,
    width: int,
    available: int,
    tempered: bool,
    candidates: Callable[[int], Int64],
) -> Ranking:
    timings = {"shortlist": 0.0, "rerank": 0.0}
    while True:
        width = min(width, available)
        started = perf_counter()
        ids = candidates(width)
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
    several = len(parts) > 1 and tempered
    weights = [part.weight for part in parts]
    spreads = [float(row.std()) for row in raw] if several and raw.size else None
    scores = product_of_experts(raw, weights, spreads=spreads)
    shares = np.stack([
        product_of_experts(raw[i : i + 1], [weight], spreads=None if spreads is None else [spreads[i]])
        for i, weight in enumerate(weights)
    ])  # fmt: skip
    order = np.lexsort((kept, -scores))[:k]
    left_out = int((~usable & ~dropped).sum()) + len(view.damaged)
    return Ranking(kept[order], scores[order], shares[:, order], len(ids), left_out, timings)


def _available(view: IndexView, named: list[int], allowed: Int64 | None) -> int:
    """How many models can be answered."""
    if allowed is None:
        there = view.index.vectors(np.array(sorted(set(named)), np.int64))
        return len(view.index) - int((~np.isnan(there).any(axis=1)).sum())
    return int(np.isin(np.setdiff1d(allowed, named), view.index.ids).sum())


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


def _candidates(
    view: IndexView, query: NDArray[np.float32], width: int, allowed: Int64 | None, recall: float, named: list[int]
) -> tuple[Int64, Float64]:
    """The ``width`` best and their scores, without those that are ``named``: as many more are asked for."""
    if width == 0:
        return np.empty(0, np.int64), np.empty(0)
    scores, ids = view.index.search(
        np.ascontiguousarray(query[None]), width + len(named), allowed=allowed, recall=recall
    )  # fmt: skip
    there = ids[0] != MISSING
    if named:
        there &= ~np.isin(ids[0], named)
    return ids[0][there][:width], scores[0][there][:width].astype(np.float64)


def _cosines(view: IndexView, ids: Int64, queries: NDArray[np.float32], scales: Sequence[float]) -> Float64:
    vectors = view.index.vectors(ids).astype(np.float64)
    rows = [scale * (vectors @ query) for scale, query in zip(scales, queries, strict=True)]
    return np.stack(rows) if len(ids) else np.empty((len(queries), 0))


def _scorer(
    view: IndexView,
    evidence: StatisticsCache,
    rule: Rule,
    covariance_map: CovarianceMap | None,
    shrinkage: Shrinkage | None,
    best: int | None,
) -> Scorer:
    """Each part's log-likelihood of each candidate, ``(parts, n)``; NaN where the model cannot be scored.

    With ``best`` a density may be −∞ where the candidate is certainly not among so many best.
    """
    scale, stores = view.identity.logit_scale, evidence.stores

    def second_moment(ids: list[int]) -> dict[int, One]:
        moments = evidence.moments(view.encoder_id, ids)
        return {i: partial(first_second_moment, own, logit_scale=scale) for i, own in moments.items()}

    def samples(ids: list[int]) -> dict[int, One]:
        features = evidence.features(view.encoder_id, ids)
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
