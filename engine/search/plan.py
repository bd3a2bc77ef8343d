"""What a search will do, decided before it is done: the rule, the index of its first stage, the transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.config import SHORTLIST_SPACES
from engine.errors import InvalidQuery, MissingStatistics
from engine.records import EncoderIdentity
from engine.scores import CovarianceMap, Shrinkage
from engine.search.rules import Rule, rule_for
from engine.search.spaces import BLEND, FIRST_MOMENT, GAUSSIAN, IDENTITY, LINEAR, WHITENED, Space
from engine.search.transforms import AUTO, TransformCache, preferred_method
from engine.search.views import IndexView, IndexViews


@dataclass(frozen=True, eq=False)
class Plan:
    """``view`` is what the first stage searches; ``transform`` names the stored transform that the scores are of.

    ``shortlist`` is how many candidates suit it, unless another number is asked for, where that is not the setting's.
    """

    rule: Rule
    view: IndexView
    transform: str | None = None
    covariance_map: CovarianceMap | None = None
    shrinkage: Shrinkage | None = None
    shortlist: int | None = None


def query_to_plan(
    views: IndexViews,
    maps: TransformCache,
    encoder_id: int,
    identity: EncoderIdentity,
    modalities: Sequence[str],
    *,
    method: str,
    transform: str | None,
    shortlist_space: str,
    shrinkage: float,
    density_shortlist: int,
) -> Plan:
    """Decide how a query of these parts is answered.

    With method ``auto``, a transform that is named brings its own method, and so does one that is active for the
    query's modality, where the default method has none.
    ``shrinkage`` is the weight of the collection's pooled covariance in each model's, for densities, and
    ``density_shortlist`` how many of the linear density's candidates suit these.

    Raises:
        InvalidQuery: the method, transform or space is unknown or cannot serve such a query.
        TransformNotFound, MissingStatistics, CorruptData
    """
    if shortlist_space not in SHORTLIST_SPACES:
        raise InvalidQuery(f"there is no space {shortlist_space!r}", hint=f"spaces are {', '.join(SHORTLIST_SPACES)}")
    if transform is not None and not isinstance(transform, str):
        raise InvalidQuery(f"a transform is named by a text, got {transform!r}", hint="auto, None, or a name")
    active = maps.transforms.active(encoder_id) if transform == AUTO else []
    if method == AUTO and transform not in (None, AUTO):
        method = maps.transforms.get(transform).method
    elif method == transform == AUTO and len(modalities) == 1:
        method = preferred_method(active, modalities[0])
    rule = rule_for(method, modalities)
    learned = maps.chosen(transform, encoder_id, rule, modalities, active)
    covariance_map = None
    space, wide = IDENTITY, False
    if rule.name == WHITENED:
        space = maps.whitened(encoder_id, identity)
    elif rule.name == LINEAR:
        space = maps.linear(encoder_id, identity, shrinkage)
    elif rule.name == FIRST_MOMENT and learned is not None:
        space = maps.space(learned)
    elif rule.needs != "mean":
        if shortlist_space == AUTO:
            wide = rule.name == GAUSSIAN and views.has(encoder_id, identity, LINEAR)
            shortlist_space = LINEAR if wide else FIRST_MOMENT
        space = _candidates_from(maps, encoder_id, identity, shortlist_space, shrinkage)
        covariance_map = None if learned is None else maps.covariance_map(learned)
    name = learned.name if learned is not None else space.transform if rule.name in (WHITENED, LINEAR) else None
    toward = maps.shrinkage(encoder_id, identity, shrinkage) if rule.name in (GAUSSIAN, BLEND) else None
    return Plan(
        rule,
        views.current(encoder_id, identity, space),
        name,
        covariance_map,
        toward,
        density_shortlist if wide else None,
    )


def _candidates_from(
    maps: TransformCache, encoder_id: int, identity: EncoderIdentity, wanted: str, shrinkage: float
) -> Space:
    """The space of the shortlist. Where there can be no whitening (one model), candidates still can be had."""
    if wanted == FIRST_MOMENT:
        return IDENTITY
    try:
        if wanted == LINEAR:
            return maps.linear(encoder_id, identity, shrinkage)
        return maps.whitened(encoder_id, identity)
    except MissingStatistics:
        return IDENTITY
