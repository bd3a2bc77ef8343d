"""Which models are found in whose place.

Of a query with several right models, none of them first, it is the one ranked first of these whose place was taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.judging import MEASURES, Answers
from engine.evaluation.records import Confusions

MOST_MODELS = 40
"""Models that a heat map can show."""


def answers_to_confusions(answers: Answers, names: Mapping[int, str]) -> Confusions:
    """Pairs (asked for, found first instead) with their counts; ``names`` are the models' by id."""
    wrong = answers.measures[:, MEASURES.index("top_1")] == 0
    pairs = Counter(
        (names[asked], names[found])
        for asked, found in zip(answers.nearest[wrong].tolist(), answers.first[wrong].tolist(), strict=True)
        if found in names  # NOBODY is not, nor is a model that came meanwhile
    )
    ordered = sorted(((*pair, count) for pair, count in pairs.items()), key=lambda item: (-item[2], item[:2]))
    return Confusions(answers.modality, answers.method, int(wrong.sum()), tuple(ordered))


def confusions_to_matrix(confusions: Confusions, most: int = MOST_MODELS) -> tuple[list[str], NDArray[np.int64]]:
    """The ``n ≤ most`` models with most errors, by name, and counts ``(n, n)``: row asked for, column found.

    A model's errors are the times that it was not found, and those that it was found instead of another.
    """
    errors: Counter[str] = Counter()
    for asked, found, count in confusions.pairs:
        errors[asked] += count
        errors[found] += count
    chosen = sorted(sorted(errors), key=lambda name: -errors[name])[:most]
    names = sorted(chosen)
    matrix = np.zeros((len(names), len(names)), np.int64)
    for asked, found, count in confusions.pairs:
        if asked in chosen and found in chosen:
            matrix[names.index(asked), names.index(found)] = count
    return names, matrix
