r"""``where=``: conditions on models, read by one rule wherever they are written.

A condition is a key and a text, ``tag`` and ``cat,dog``: the comma means any of. ``\,`` is a comma inside a value,
``\\`` a backslash. All conditions must hold, those that repeat a key too. A ``-`` or ``!`` before a key, or a ``!``
after it, leaves out what fits; a ``~`` after a key asks for fields that contain the value; ``title`` is ``name~``.
Matching ignores case, by ``str.casefold``.

The command line writes ``--where 'tag!=cat,dog'``, the page ``-tag:cat,dog``, an address ``tag!=cat,dog``; Python and
JSON ``{"tag!": "cat,dog"}``, or ``[("tag", "cat"), ("tag", "dog")]`` for a model that has both. A list in place of a
text holds the values themselves: ``{"tag": ["cat", "dog"]}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import InvalidFilter
from engine.texts import is_storable, nearest, quoted

Where = Mapping[str, Any] | Sequence[tuple[str, Any]]
FIELDS = ("tag", "name", "kind", "author", "license", "base_model")
METADATA = "meta."
"""Before a key of a model's metadata."""
ALIASES = {"licence": "license"}
TITLE = "title"
"""A part of the name."""
MOST_CONDITIONS = 100
"""Each is nested in the others: SQLite takes expressions up to 1000 deep."""
MOST_VALUES = 1000
"""Of all conditions together: each costs a comparison a row."""
MOST_PARTS = 200
"""Likewise, of those that are sought within texts."""
MOST_TEXT = 64 * 1024
"""Characters of keys and values together."""
PART = re.compile(r"(?:\\.|[^,])*", re.DOTALL)
HINT = f"filters are {', '.join(FIELDS)} and {METADATA}KEY; ! after a key leaves out, ~ asks for a part of the value"


@dataclass(frozen=True)
class Filter:
    """One condition: a field has one of ``values``.

    Attributes:
        key: one of ``FIELDS``, or ``meta.KEY``.
        values: as they were given; compared without case.
        negated: models that fit are left out.
        within: a value need only be part of the field.
    """

    key: str
    values: tuple[str, ...]
    negated: bool = False
    within: bool = False


def where_to_filters(where: Where | None) -> tuple[Filter, ...]:
    """Conditions of a mapping or of pairs, all of which must hold.

    Raises:
        InvalidFilter: an unknown key, or a value that is not text.
    """
    if where is None:
        return ()
    given: Any = where  # callers without types give texts, too
    if not isinstance(given, (Mapping, Sequence)) or isinstance(given, (str, bytes)):
        raise InvalidFilter(
            f"a filter is a mapping or a list of pairs, got {quoted(given)}",
            hint='for example where={"tag": "cat,dog"}',
        )
    pairs: Iterable[Any] = given.items() if isinstance(given, Mapping) else given
    if len(given) > MOST_CONDITIONS:
        raise InvalidFilter(f"a filter may have up to {MOST_CONDITIONS} conditions, got {len(given)}")
    filters: list[Filter] = []
    text = 0
    for pair in pairs:
        try:
            key, value = pair
        except (TypeError, ValueError) as error:
            raise InvalidFilter(f"a filter is a (key, value) pair, got {quoted(pair)}") from error
        text += _length(key) + _length(value)
        if text > MOST_TEXT:
            raise InvalidFilter(
                f"a filter may have up to {MOST_TEXT:,} characters in all its keys and values, got more",
                hint="ask with fewer or shorter values",
            )
        filters.append(_filter(key, value))
    check_size(filters)
    return tuple(filters)


def check_size(filters: Sequence[Filter]) -> None:
    """Whether conditions have few enough values, all together.

    Raises:
        InvalidFilter: they have more.
    """
    values = sum(len(one.values) for one in filters)
    if values > MOST_VALUES:
        raise InvalidFilter(
            f"a filter may have up to {MOST_VALUES:,} values in all its conditions, got {values:,}",
            hint="ask in several requests",
        )
    parts = sum(len(one.values) for one in filters if one.within)
    if parts > MOST_PARTS:
        raise InvalidFilter(
            f"a filter may seek up to {MOST_PARTS} parts (~) in all its conditions, got {parts:,}",
            hint="seek fewer parts, or name whole values",
        )


def is_filter(key: str) -> bool:
    """Whether a text is a filter's key, as ``tag``, ``name~!`` or ``meta.KEY`` are."""
    try:
        _key(key)
    except InvalidFilter:
        return False
    return True


def text_to_values(text: str) -> tuple[str, ...]:
    r"""The alternatives of ``a, b\, c``: ``("a", "b, c")``."""
    values, at = [], 0
    while True:
        found = PART.match(text, at)
        assert found is not None  # it matches the empty text
        values.append(re.sub(r"\\([,\\])", r"\1", found[0]).strip())
        at = found.end() + 1
        if at > len(text):
            return tuple(values)


def values_to_text(values: Iterable[str]) -> str:
    """What ``text_to_values`` reads as these values, which have no white space at their ends."""
    return ",".join(re.sub(r"([,\\])", r"\\\1", value) for value in values)


def where_to_pairs(where: Where | None) -> list[tuple[str, list[str]]]:
    """A filter as pairs of a key and its alternatives, as JSON has them.

    Raises:
        InvalidFilter
    """
    return [
        (f"{one.key}{'~' * one.within}{'!' * one.negated}", list(one.values)) for one in where_to_filters(where)
    ]  # fmt: skip


def _length(given: Any) -> int:
    """Characters of a key, a value or a list of values."""
    if isinstance(given, (list, tuple, set, frozenset)):
        return sum(len(one) for one in given if isinstance(one, str))
    return len(given) if isinstance(given, str) else 0


def _filter(given: Any, value: Any) -> Filter:
    if not isinstance(given, str):
        raise InvalidFilter(f"a filter's key must be text, got {quoted(given)}", hint=HINT)
    key, negated, within = _key(given)
    values = text_to_values(value) if isinstance(value, str) else value
    if (
        not isinstance(values, (list, tuple, set, frozenset))
        or not values
        or not all(isinstance(one, str) for one in values)
    ):
        raise InvalidFilter(
            f"filter {quoted(given)} needs a text or a list of texts, got {quoted(value)}",
            hint='for example where={"tag": ["cat", "dog"]}',
        )
    if not all(map(is_storable, values)):
        raise InvalidFilter(f"filter {quoted(given)} takes texts without NUL and lone surrogates, got {quoted(value)}")
    return Filter(key, tuple(values), negated, within)


def _key(given: str) -> tuple[str, bool, bool]:
    before, after = given[:1] in ("-", "!"), given.endswith("!")
    bare = given[before : len(given) - after]
    within = bare.endswith("~")
    bare = bare[: len(bare) - within]
    start, rest = bare[: len(METADATA)].casefold(), bare[len(METADATA) :]
    key = METADATA + rest if start == METADATA else ALIASES.get(bare.casefold(), bare.casefold())
    if key == TITLE:
        key, within = "name", True
    known = is_storable(rest) and bool(rest) if start == METADATA else key in FIELDS
    if not known or (before and after):
        raise InvalidFilter(f"there is no filter {quoted(given)}", hint=nearest(bare, (*FIELDS, *ALIASES, TITLE), HINT))
    return key, before or after, within
