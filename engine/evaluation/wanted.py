"""What each judged query should find, as ids: its right models, the models relevant to it, and whose it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import MissingStatistics
from engine.evaluation.queries import JudgedQuery
from engine.evaluation.relevance import tags_to_relevant
from engine.records import Model

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Wanted:
    """Of ``q`` queries.

    Attributes:
        right: each one's right models ``(r,)``, r ≥ 1, in the order in which they were given.
        relevant: the models that share a tag with one of these ``(GT,)``; none if none of these has a tag.
        owners: ``(q,)``, equal where the bootstrap draws queries together: same models, or same concept.
    """

    right: tuple[Int64, ...]
    relevant: tuple[Int64, ...]
    owners: Int64

    def take(self, places: Int64) -> Wanted:
        """The queries at these places."""
        chosen = places.tolist()
        return Wanted(
            tuple(self.right[i] for i in chosen), tuple(self.relevant[i] for i in chosen), self.owners[places]
        )

    def models(self) -> int:
        """How many models are right for one or more of the queries."""
        return len(np.unique(np.concatenate(self.right)))

    def chance(self, models: int) -> float:
        """Top-1 accuracy of a ranking of so many ``models`` at random: the mean share of them that is right."""
        return float(np.mean([len(right) for right in self.right])) / models


def queries_to_wanted(queries: Sequence[JudgedQuery], models: Mapping[str, Model], ids: Int64, encoder: str) -> Wanted:
    """Queries whose models are all known, by name in ``models``; ``ids`` are those that can be found.

    Raises:
        MissingStatistics: a right model cannot be found under the encoder of that name.
    """
    found = set(ids.tolist())
    right = []
    for query in queries:
        for name in query.models:
            if models[name].id not in found:
                raise MissingStatistics(
                    f"{query.place}: {name!r} has no usable statistics of {encoder}",
                    hint="ingest it with that encoder, or leave it out",
                )
        right.append(np.array([models[name].id for name in query.models], np.int64))
    tags = {model.id: model.tags for model in models.values()}
    relevant = tags_to_relevant({i: tags.get(i, ()) for i in found}, right)
    numbers = {owner: number for number, owner in enumerate(sorted({query.owner for query in queries}))}
    return Wanted(tuple(right), relevant, np.array([numbers[query.owner] for query in queries], np.int64))
