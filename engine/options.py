"""The options of a search: one frozen object, validated once, behind Python, the command line, HTTP and the clients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from engine.errors import InvalidQuery
from engine.numbers import checked_whole, shown
from engine.texts import is_storable, nearest

if TYPE_CHECKING:
    from engine.filters import Where

Call = TypeVar("Call", bound=Callable[..., Any])
AUTO = "auto"
MOST_ANSWERS = 10**7
"""Room is made for as many answers as are asked for, whether there are so many models or not: 120 MB a query."""


class SearchKeywords(TypedDict, total=False):
    """``SearchOptions`` as keyword arguments."""

    k: int
    method: str
    encoder: str | None
    where: Where | None
    shortlist: int | None
    tempered: bool
    transform: str | None
    shortlist_space: str | None
    recall: float | None


@dataclass(frozen=True)
class SearchOptions:
    """How a query is answered.

    Attributes:
        k: how many answers, at most 10 000 000; as many come back as exist.
        method: ``auto`` (text, model and several parts: ``first_moment``; image and sketch: ``blend``, unless a
            transform is active for another method), or a rule by name: see ``engine.search.METHODS``.
        encoder: whose statistics to search (default: the collection's).
        where: a filter, see ``engine.filters``.
        shortlist: candidates that the exact stage looks at (default ``settings.shortlist``, or, see there,
            ``settings.density_shortlist``).
        tempered: divide each part's scores by their spread over the collection before weighing them (several parts).
        transform: ``auto`` (the active learned transform of the method and modality, if there is one; of several
            parts, only one that is the same for all), None, or a transform's name.
        shortlist_space: where those candidates come from: ``auto``, ``first_moment``, or ``whitened_first_moment`` or
            ``linear_density`` where these can be had (default ``settings.shortlist_space``).
        recall: the share of the best first moments that is found, on average, as it was measured when the index was
            built (default ``settings.recall``); 1 means all of them. Small collections are always searched exactly.
    """

    k: int = 10
    method: str = AUTO
    encoder: str | None = None
    where: Where | None = None
    shortlist: int | None = None
    tempered: bool = True
    transform: str | None = AUTO
    shortlist_space: str | None = None
    recall: float | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            InvalidQuery: an option is out of range or of a wrong type.
        """
        checked_k(self.k)
        checked_shortlist(self.shortlist)
        checked_recall(self.recall, 1.0)
        if self.encoder is not None and not isinstance(self.encoder, str):
            raise InvalidQuery(f"the encoder is named by a text, got {self.encoder!r:.80}")
        for what in ("method", "transform", "shortlist_space"):
            if getattr(self, what) is not None:
                checked_text(getattr(self, what), what)
        if self.method is None:
            raise InvalidQuery("the method must be text, got None", hint="auto chooses it")


def with_options(method: Call) -> Call:
    """Show the fields of ``SearchOptions`` in the signature of a method that takes them as ``**options``."""
    signature = inspect.signature(method)
    known = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    shown = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=one.type)
        for one in fields(SearchOptions)
    ]
    method.__signature__ = signature.replace(parameters=[*known, *shown])  # type: ignore[attr-defined]
    return method


NAMES = tuple(one.name for one in fields(SearchOptions))


def keywords_to_options(keywords: Mapping[str, Any]) -> SearchOptions:
    """Options given by name.

    Raises:
        InvalidQuery: one does not exist, or is out of range.
    """
    for name in keywords:
        if name not in NAMES:
            raise InvalidQuery(f"search takes no option {name!r:.80}", hint=nearest(name, NAMES, ", ".join(NAMES)))
    return SearchOptions(**keywords)


def checked_k(k: Any) -> int:
    """How many answers are wanted.

    Raises:
        InvalidQuery: not a whole number from 1 to ``MOST_ANSWERS``.
    """
    return checked_whole(k, "k", 1, MOST_ANSWERS, error=InvalidQuery)


def checked_shortlist(shortlist: Any) -> int | None:
    """How many candidates the exact stage looks at, None for the default.

    Raises:
        InvalidQuery: neither None nor a whole number from 1 to ``MOST_ANSWERS``.
    """
    return None if shortlist is None else checked_whole(shortlist, "the shortlist", 1, MOST_ANSWERS, error=InvalidQuery)


def checked_recall(recall: Any, default: float) -> float:
    """The share of the best that should be found, ``default`` for None.

    Raises:
        InvalidQuery: not a number above 0 and at most 1.
    """
    if recall is None:
        return default
    if isinstance(recall, bool) or not isinstance(recall, (int, float)) or not 0 < recall <= 1:
        raise InvalidQuery(f"recall must be a number above 0 and at most 1, got {shown(recall)}", hint="1 means exact")
    return float(recall)


def checked_text(value: Any, what: str) -> str:
    """The name of a method, an encoder, a modality, a transform or a space.

    Raises:
        InvalidQuery: it is not text.
    """
    if not isinstance(value, str) or not is_storable(value):
        raise InvalidQuery(f"the {what} is named by a text without NUL and lone surrogates, got {value!r:.80}")
    return value
