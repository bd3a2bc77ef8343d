"""Models and answers to what a card shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from engine.records import Hit, Hits, Model

LEAST = 0.04
"""Of a bar's width, so that the last answer has one too."""


@dataclass(frozen=True)
class Share:
    """What a part of a query contributed: ``width`` of 1, of the largest contribution of all answers."""

    part: str
    value: float
    width: float


@dataclass(frozen=True)
class Card:
    """A model as it is listed; ``score`` and ``width`` (of 1) are those of an answer, None where nothing was asked."""

    model: Model
    version: str
    rank: int | None = None
    score: float | None = None
    width: float | None = None
    shares: tuple[Share, ...] = ()


def model_to_card(model: Model) -> Card:
    """One that answers nothing."""
    return Card(model, version_of(model))


def hits_to_cards(hits: Hits) -> list[Card]:
    """Bars run from the best answer's to the last one's, of a distance from nothing to the farthest."""
    largest = max((abs(value) for hit in hits for value in hit.parts.values()), default=0.0) or 1.0
    widths = scores_to_widths([hit.score for hit in hits], falling=hits.lower_is_nearer)
    return [_card(hit, width, largest) for hit, width in zip(hits, widths, strict=True)]


def _card(hit: Hit, width: float, largest: float) -> Card:
    shares = tuple(Share(part, value, max(value, 0.0) / largest) for part, value in hit.parts.items())
    return Card(hit.model, version_of(hit.model), hit.rank, hit.score, width, shares)


def scores_to_widths(scores: Sequence[float], *, falling: bool) -> list[float]:
    """Lengths of the bars, of 1: the best score's is 1, the worst one's ``LEAST``."""
    if not scores:
        return []
    signed = [-score if falling else score for score in scores]
    high, low = max(signed), min(signed)
    spread = (high - low) or 1.0
    return [1.0 if high == low else LEAST + (1 - LEAST) * (score - low) / spread for score in signed]


def version_of(model: Model) -> str:
    """Changes when the model does, so that its pictures may be kept for ever under their address."""
    changed = model.updated_at or datetime.fromtimestamp(0, timezone.utc)
    return f"{int(changed.timestamp() * 1000):x}"
