"""What a search will do, decided before it is done: the rule, the index of its first stage, the transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.config import SHORTLIST_SPACES, Settings
from engine.errors import InvalidQuery, MissingStatistics
from engine.records import EncoderRef, Transform
from engine.scores import CovarianceMap, Shrinkage
from engine.search.rules import Rule, rule_for
from engine.search.spaces import BLEND, FIRST_MOMENT, GAUSSIAN, IDENTITY, LINEAR, WHITENED, Space
from engine.search.transforms import AUTO, TransformCache, preferred_method
from engine.search.views import IndexView, IndexViews
from engine.storage.search_facts import SearchFacts


class PlanRequest(NamedTuple):
    """What decides a plan, besides the collection: the encoder's name, the parts' modalities, and the options."""

    encoder: str | None
    modalities: tuple[str, ...]
    method: str = AUTO
    transform: str | None = AUTO
    shortlist_space: str | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """How a query is answered.

    Attributes:
        view: what the first stage searches.
        transform: the name of the stored transform that the scores are of.
        shortlist: how many candidates suit it, where that is not the setting's number.
    """

    rule: Rule
    view: IndexView
    transform: str | None = None
    covariance_map: CovarianceMap | None = None
    shrinkage: Shrinkage | None = None
    shortlist: int | None = None


class Planner:
    """Decides how queries are answered, by the facts of the collection."""

    def __init__(self, views: IndexViews, transforms: TransformCache, settings: Settings) -> None:
        self._views = views
        self._transforms = transforms
        self._settings = settings

    def plan(self, encoder: EncoderRef, request: PlanRequest, facts: SearchFacts) -> Plan:
        """How a query of these parts is answered.

        With method ``auto``, a transform that is named brings its own method, and so does one that is active for the
        query's modality, where the default method has none.

        Raises:
            InvalidQuery: the method, transform or space is unknown or cannot serve such a query.
            TransformNotFound, MissingStatistics, CorruptData
        """
        transforms, weight = self._transforms, self._settings.shrinkage
        wanted = self._settings.shortlist_space if request.shortlist_space is None else request.shortlist_space
        if wanted not in SHORTLIST_SPACES:
            raise InvalidQuery(f"unknown shortlist space {wanted!r}", hint=f"spaces are {', '.join(SHORTLIST_SPACES)}")
        active = facts.active.get(encoder.id, ()) if request.transform == AUTO else ()
        rule = rule_for(self._method(request, active), request.modalities)
        learned = transforms.chosen(request.transform, encoder, rule, request.modalities, active)
        covariance_map = None
        space, wide = IDENTITY, False
        if rule.name == WHITENED:
            space = transforms.whitened(encoder, facts)
        elif rule.name == LINEAR:
            space = transforms.linear(encoder, weight, facts)
        elif rule.name == FIRST_MOMENT and learned is not None:
            space = transforms.space(learned)
        elif rule.needs != "mean":
            if wanted == AUTO:
                wide = rule.name == GAUSSIAN and self._views.has(encoder, LINEAR)
                wanted = LINEAR if wide else FIRST_MOMENT
            space = self._shortlist_space(wanted, encoder, facts)
            covariance_map = None if learned is None else transforms.covariance_map(learned)
        return Plan(
            rule,
            self._views.current(encoder, space, change=facts.change),
            learned.name if learned is not None else space.transform if rule.name in (WHITENED, LINEAR) else None,
            covariance_map,
            transforms.shrinkage(encoder, weight, facts) if rule.name in (GAUSSIAN, BLEND) else None,
            self._settings.density_shortlist if wide else None,
        )

    def _method(self, request: PlanRequest, active: Sequence[Transform]) -> str:
        if request.method != AUTO:
            return request.method
        if request.transform not in (None, AUTO):
            return self._transforms.transforms.get(request.transform).method
        if request.transform == AUTO and len(request.modalities) == 1:
            return preferred_method(active, request.modalities[0])
        return AUTO

    def _shortlist_space(self, wanted: str, encoder: EncoderRef, facts: SearchFacts) -> Space:
        """The space of the shortlist: the first moment where the collection can have no whitening (one model)."""
        try:
            if wanted == LINEAR:
                return self._transforms.linear(encoder, self._settings.shrinkage, facts)
            return IDENTITY if wanted == FIRST_MOMENT else self._transforms.whitened(encoder, facts)
        except MissingStatistics:
            return IDENTITY
