"""Mean average precision by tags: how many of the first answers are models of what was asked for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.accuracy.judge import owners_to_numbers
from benchmarks.accuracy.papers import PAPERS, Scored
from benchmarks.accuracy.tables import Table, to_data
from engine.evaluation.average_precision import average_precision
from engine.evaluation.bootstrap import estimate
from engine.evaluation.figures import percent, with_interval
from engine.evaluation.relevance import tags_to_relevant

DEPTHS = {"mAP@5": 5, "mAP@10": 10, "mAP": None}


def precision_table(sets: Mapping[tuple[str, str], Scored]) -> Table:
    """mAP@5, mAP@10 and mAP of the papers' methods on every set of queries."""
    first = next(iter(sets.values()))
    table = Table(
        "accuracy_map", "Precision by tags",
        f"Mean average precision in per cent among the {len(first.models)} models of *main*: relevant are the models "
        "that share a tag with the right one. Brackets: 95 % bootstrap over models. Chance is the share of relevant "
        "models.",
        ("query", "method", "chance", *DEPTHS),
    )  # fmt: skip
    for (modality, group), scored in sets.items():
        tags = {place: tuple(own) for place, own in enumerate(scored.models.tags)}
        relevant = tags_to_relevant(tags, [np.flatnonzero(own) for own in scored.targets])
        owners = owners_to_numbers(scored.queries.owners)
        chance = float(np.mean([len(own) for own in relevant])) / len(scored.models)
        for method in PAPERS:
            ranking = np.argsort(-scored.scores(method), axis=1, kind="stable")
            found = {
                name: estimate(
                    np.array([average_precision(*one, k) for one in zip(ranking, relevant, strict=True)]), owners
                )
                for name, k in DEPTHS.items()
            }
            table.add(
                (f"{modality}, {group}", method, percent(chance), *map(with_interval, found.values())),
                modality=modality, group=group, method=method, queries=len(owners), chance=chance,
                **{name: to_data(own) for name, own in found.items()},
            )  # fmt: skip
    return table
