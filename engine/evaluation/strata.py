"""Strata that tell nothing: where no method beats chance, or all are perfect, an average only dilutes the rest.

A stratum is one kind of models in one modality (and group). It carries ``no signal`` when the best method's 95 %
interval of top-1 accuracy does not lie above chance, the mean share of models that are right (1/N, if each query has
one); it is ``too easy`` when every method reaches 99.5 %. Queries of a single model (or concept) give no interval, and
such a stratum is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.evaluation.records import Row, Stratum

TOO_EASY = 0.995
SIGNAL = "signal"
NO_SIGNAL = "no signal"
EASY = "too easy"
FEW = "too few models"
LEFT_OUT = (NO_SIGNAL, EASY)


def rows_to_stratum(rows: Sequence[Row], chance: float) -> Stratum:
    """The verdict on a stratum from every method's row on it."""
    assert len({row.cut for row in rows}) == 1, "the rows are of one stratum"
    best = max(rows, key=lambda row: row.measures["top_1"].value)
    found = best.measures["top_1"]
    verdict = SIGNAL
    if math.isnan(found.low):
        verdict = FEW
    elif found.low <= chance:
        verdict = NO_SIGNAL
    elif all(row.measures["top_1"].value >= TOO_EASY for row in rows):
        verdict = EASY
    return Stratum(best.cut, best.queries, best.models, verdict, best.method, found)
