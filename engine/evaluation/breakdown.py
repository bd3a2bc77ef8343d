"""Answers to rows: every measure by modality, group, kind and tag, with intervals and paired comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.bootstrap import Difference, Estimate, resampled_means, to_difference, to_estimates
from engine.evaluation.judging import MEASURES, Answers
from engine.evaluation.queries import JudgedQuery
from engine.evaluation.records import Comparison, Cut, Row, Stratum
from engine.evaluation.strata import LEFT_OUT, rows_to_stratum
from engine.evaluation.wanted import Wanted
from engine.records import Model

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
WHOLE = ("modality", "group")
"""Cuts on which methods are compared, and averaged without the strata that carry no signal."""
COMPARED = ("top_1", "map_10")


def queries_to_cuts(
    queries: Sequence[JudgedQuery], models: Mapping[str, Model], modality: str, places: Int64
) -> dict[Cut, Int64]:
    """Every cut of one modality's queries, and which of ``places`` are in it: ``(n,)`` positions in ``places``.

    A query is in the cut of every kind and every tag that one of its right models has.
    """
    found: dict[Cut, list[int]] = {}
    grouped = any(query.group for query in queries)
    for position, place in enumerate(places.tolist()):
        query = queries[place]
        right = [models[name] for name in query.models]
        cuts = [Cut("modality", modality)]
        cuts += [Cut("kind", modality, group=query.group, kind=kind) for kind in {model.kind for model in right}]
        cuts += [Cut("tag", modality, tag=tag) for tag in {tag for model in right for tag in model.tags}]
        if grouped and query.group:
            cuts.append(Cut("group", modality, group=query.group))
        for cut in cuts:
            found.setdefault(cut, []).append(position)
    order = ("modality", "group", "kind", "tag")
    ranked = sorted(found, key=lambda cut: (order.index(cut.by), cut.label))
    return {cut: np.array(found[cut], np.int64) for cut in ranked}


@dataclass(frozen=True, eq=False)
class _Scored:
    """Measures of several methods on the same queries.

    ``values`` ``(q, methods, MEASURES)``, ``owners`` ``(q,)``, ``resampled`` ``(resamples, methods, MEASURES)``: the
    same draws for all.
    """

    values: Float64
    owners: Int64
    resampled: Float64

    def estimates(self, method: int) -> dict[str, Estimate]:
        """Each measure of one method."""
        found = to_estimates(self.values[:, method], self.resampled[:, method], self.owners)
        return dict(zip(MEASURES, found, strict=True))

    def difference(self, one: int, other: int, measure: int) -> Difference:
        """One method less another."""
        both = self.resampled[:, (one, other), measure]
        return to_difference(self.values[:, one, measure], self.values[:, other, measure], both, self.owners)


Scorer = Callable[[Int64], _Scored]
"""Positions of queries to what the methods did on them."""


def answers_to_rows(
    answers: Sequence[Answers], wanted: Wanted, cuts: Mapping[Cut, Int64], models: int, resamples: int, seed: int
) -> tuple[list[Row], list[Stratum], list[Comparison]]:
    """Rows, strata and comparisons of one modality.

    Args:
        answers: of each method to the same queries; ``wanted``: what these should find.
        cuts: as ``queries_to_cuts`` gives them.
        models: N, how many models were ranked.
    """

    owners = wanted.owners

    def score(positions: Int64) -> _Scored:
        values = np.stack([answer.measures[positions] for answer in answers], axis=1)
        flat = resampled_means(values.reshape(len(values), -1), owners[positions], resamples, seed)
        return _Scored(values, owners[positions], flat.reshape(resamples, *values.shape[1:]))

    rows: dict[Cut, list[Row]] = {}
    comparisons: list[Comparison] = []
    for cut, positions in cuts.items():
        scored = score(positions)
        right = wanted.take(positions).models()
        rows[cut] = [_row(cut, answer, scored, i, right) for i, answer in enumerate(answers)]
        if cut.by in WHOLE:
            comparisons += _compared(cut, answers, scored)
    strata = [
        rows_to_stratum(rows[cut], wanted.take(positions).chance(models))
        for cut, positions in cuts.items()
        if cut.by == "kind"
    ]
    telling = [cuts[stratum.cut] for stratum in strata if stratum.verdict not in LEFT_OUT]
    signal = np.concatenate([*telling, np.array([], np.int64)])  # of several strata, one that tells is enough
    for cut, positions in cuts.items():
        if cut.by in WHOLE:
            rows[cut] = _with_signal(rows[cut], positions[np.isin(positions, signal)], score)
    return [row for of_cut in rows.values() for row in of_cut], strata, comparisons


def _row(cut: Cut, answer: Answers, scored: _Scored, method: int, models: int) -> Row:
    untagged = int(np.isnan(scored.values[:, method, MEASURES.index("map_5")]).sum())
    return Row(
        cut, answer.method, answer.rule, answer.transform, len(scored.owners), models, len(np.unique(scored.owners)),
        untagged, scored.estimates(method),
    )  # fmt: skip


def _with_signal(rows: Sequence[Row], kept: Int64, score: Scorer) -> list[Row]:
    if not len(kept):
        return [replace(row, signal_queries=0) for row in rows]
    scored = score(kept)
    return [replace(row, signal_queries=len(kept), with_signal=scored.estimates(i)) for i, row in enumerate(rows)]


def _compared(cut: Cut, answers: Sequence[Answers], scored: _Scored) -> list[Comparison]:
    return [
        Comparison(
            cut, measure, answers[one].method, answers[other].method,
            scored.difference(one, other, MEASURES.index(measure)),
        )
        for one, other in combinations(range(len(answers)), 2)
        for measure in COMPARED
    ]  # fmt: skip
