"""Encoded queries to what each method answered, through the ranking that search uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidQuery
from engine.evaluation.accuracy import found_within
from engine.evaluation.average_precision import average_precision
from engine.evaluation.drop_off import BEST, drop_off
from engine.evaluation.progress import OnProgress, silent
from engine.evaluation.queries import PARTS
from engine.evaluation.wanted import Wanted
from engine.records import QueryPart
from engine.rerank.statistics_cache import StatisticsCache
from engine.search import Plan, Ranking, rank
from engine.search.rules import method_to_rule

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Planner = Callable[[str, list[str]], Plan]
"""A method and a query's modalities to how search would answer it."""

MEASURES = ("top_1", "top_5", "top_10", "map_5", "map_10", "map")
NOBODY = -1
"""Stands for a model where there is no answer."""


def ask(plan: Plan, evidence: StatisticsCache, parts: Sequence[QueryPart], k: int, shortlist: int) -> Ranking:
    """What ``Engine.search`` does with encoded parts: the one place where evaluation asks search anything."""
    return rank(plan, evidence, parts, k, shortlist=plan.shortlist or shortlist)


@dataclass(frozen=True, eq=False)
class Answers:
    """What one method answered to ``q`` queries of one modality.

    Attributes:
        modality: ``image``, or ``image+text`` for mixed queries.
        method: as it was asked for; ``rule`` is the one that scored, ``transform`` the stored transform, if any.
        places: ``(q,)``, which of the queries these are.
        measures: ``(q, len(MEASURES))``; NaN where a measure does not apply to a query.
        first: ``(q,)``, the best answer's id, or ``NOBODY``.
        nearest: ``(q,)``, the right model that was ranked first of the right ones; the first given if none was ranked.
        drop_off: ``(q, BEST)``.
        rank_ms: ``(q,)``, from the encoded query to its ten best models.
    """

    modality: str
    method: str
    rule: str
    transform: str | None
    places: Int64
    measures: Float64
    first: Int64
    nearest: Int64
    drop_off: Float64
    rank_ms: Float64


def methods_to_plans(
    methods: Sequence[str], modalities: Sequence[str], plan_for: Planner
) -> dict[tuple[str, str], Plan]:
    """A plan for each modality (of queries) and method that can score it.

    Raises:
        InvalidQuery: a method is unknown, is given twice, or can score none of the modalities; and as search.
    """
    if not methods or len(set(methods)) < len(methods):
        raise InvalidQuery(
            f"methods must be one or more, each once, got {list(methods)!r:.200}", hint="or give none: auto"
        )
    plans: dict[tuple[str, str], Plan] = {}
    for method in methods:
        rule = None if method == "auto" else method_to_rule(method)
        fitting = [m for m in modalities if rule is None or set(m.split("+")) <= rule.modalities]
        if not fitting:
            raise InvalidQuery(
                f"{method} can score none of the queries, which are {', '.join(modalities)}",
                hint="leave it out, or judge queries that it can score",
            )
        for modality in fitting:
            plans[modality, method] = plan_for(method, [part for part in PARTS if part in modality.split("+")])
    return plans


def judge(
    parts: Sequence[Sequence[QueryPart]],
    wanted: Wanted,
    groups: Mapping[str, Int64],
    plans: Mapping[tuple[str, str], Plan],
    evidence: StatisticsCache,
    *,
    shortlist: int,
    full_ranking: bool = True,
    on_progress: OnProgress = silent,
) -> list[Answers]:
    """Every plan's answers to the queries of its modality.

    Args:
        parts: each query's encoded parts.
        wanted: what they should find.
        groups: the places of each modality's queries.
        full_ranking: rank all models for each query besides, for mAP over all and the drop-off.
    """
    return [
        _judge_one(
            modality, method, plan, [parts[i] for i in groups[modality]], wanted.take(groups[modality]),
            groups[modality], evidence, shortlist, full_ranking, on_progress,
        )
        for (modality, method), plan in plans.items()
    ]  # fmt: skip


def _judge_one(
    modality: str,
    method: str,
    plan: Plan,
    parts: Sequence[Sequence[QueryPart]],
    wanted: Wanted,
    places: Int64,
    evidence: StatisticsCache,
    shortlist: int,
    full_ranking: bool,
    on_progress: OnProgress,
) -> Answers:
    models = max(len(plan.view.index), 1)
    shortlist = plan.shortlist or shortlist
    once = full_ranking and plan.rule.needs != "mean" and shortlist >= models  # the same ranking would come twice
    measures = np.full((len(parts), len(MEASURES)), np.nan)
    first = np.full(len(parts), NOBODY, np.int64)
    nearest = np.array([right[0] for right in wanted.right], np.int64)
    curves = np.full((len(parts), BEST), np.nan)
    took = np.zeros(len(parts))
    ask(plan, evidence, parts[0], BEST, shortlist)  # fills the caches: they are warm in a collection that is in use
    for i, (query, right, relevant) in enumerate(zip(parts, wanted.right, wanted.relevant, strict=True)):
        started = perf_counter()
        ranking = ask(plan, evidence, query, models if once else BEST, shortlist)
        took[i] = 1e3 * (perf_counter() - started)
        ids = ranking.ids[:BEST]
        if ids.size:
            first[i] = ids[0]
        measures[i, :3] = [found_within(ids, right, k) for k in (1, 5, 10)]
        measures[i, 3:5] = [average_precision(ids, relevant, k) for k in (5, 10)]
        if full_ranking:
            if not once:
                ranking = ask(replace(plan, shortlist=None), evidence, query, models, models)
            measures[i, 5] = average_precision(ranking.ids, relevant)
            curves[i] = drop_off(ranking.scores)
        ranked = ranking.ids[np.isin(ranking.ids, right)]
        if ranked.size:
            nearest[i] = ranked[0]
        on_progress(f"{modality} by {method}", i + 1, len(parts))
    return Answers(modality, method, plan.rule.name, plan.transform, places, measures, first, nearest, curves, took)
