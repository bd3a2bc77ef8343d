"""Which models are found in whose place, by the cosine of means and by the engine's default."""

from __future__ import annotations

from collections import Counter

import numpy as np

from benchmarks.accuracy.further import Further
from benchmarks.accuracy.judge import scores_to_ranks
from benchmarks.accuracy.load import Bool, Float32, Models
from benchmarks.accuracy.required import DEFAULT
from benchmarks.accuracy.tables import Table
from engine.evaluation.figures import percent

MOST = 10
SETS = (("image", "in-sample"), ("sketch", "in-sample"))


def scores_to_pairs(scores: Float32, targets: Bool) -> Counter[tuple[int, int]]:
    """How often (the best right model, the wrong one before it) came, by their places, from ``(q, n)`` each."""
    wrong = scores_to_ranks(scores, targets) > 0
    right = np.where(targets, scores, -np.inf).argmax(axis=1)[wrong]
    first = np.where(targets, -np.inf, scores).argmax(axis=1)[wrong]
    return Counter(zip(right.tolist(), first.tolist(), strict=True))


def confusion_table(all_: Further) -> Table:
    """The ten most frequent pairs of each set and method."""
    models = all_.parts["main"]
    rows: list[tuple[tuple[str, ...], dict[str, object]]] = []
    shares = []
    for modality, group in SETS:
        scored = all_.scored("main", modality, group)
        asked = scored.targets.sum(axis=0).tolist()
        for method in ("first moment", DEFAULT):
            rules = all_.rules("main", modality)
            scores = rules[method](scored) if method in rules else scored.scores(method)
            pairs = scores_to_pairs(scores, scored.targets)
            shares.append(f"{modality} by {method}: {_shared(pairs, models)}")
            for (right, first), times in pairs.most_common(MOST):
                rows.append(
                    (
                        (f"{modality}, {group}", method, *_said(models, right), *_said(models, first),
                         f"{times} of {asked[right]}"),
                        {"modality": modality, "group": group, "method": method, "right": models.names[right],
                         "first": models.names[first], "times": times, "queries": asked[right]},
                    )
                )  # fmt: skip
    table = Table(
        "accuracy_confusion", "Confused models",
        f"The {MOST} most frequent pairs of a right model and a wrong one that was ranked first, and how many of the "
        f"right one's queries that was. {DEFAULT.capitalize()} is the engine's default method, with the choices made "
        f"on *synthetic*. What the pairs of *all* errors share: {'; '.join(shares)}.",
        ("query", "method", "right", "concept, style", "ranked first", "its concept, style", "times"),
    )  # fmt: skip
    for cells, data in rows:
        table.add(cells, **data)
    return table


def _said(models: Models, place: int) -> tuple[str, str]:
    return models.names[place], f"{models.concepts[place] or '–'}, {models.styles[place]}"


def _shared(pairs: Counter[tuple[int, int]], models: Models) -> str:
    """What errors have in common, as text."""
    total = pairs.total()
    concept = sum(n for (a, b), n in pairs.items() if models.concepts[a] and models.concepts[a] == models.concepts[b])
    style = sum(n for (a, b), n in pairs.items() if models.styles[a] == models.styles[b])
    return f"{total} errors, {percent(concept / total)} % the concept, {percent(style / total)} % the style"
