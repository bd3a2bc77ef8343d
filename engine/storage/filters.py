"""Filters to SQL conditions, and to remarks about values that no model has.

Case is ignored by Python's ``str.casefold`` on both databases, which agree on the case of ASCII letters alone: they
match texts that are all ASCII, the others are read and matched here, and come back as a list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, BLOB, ColumnElement, Text, any_, bindparam, cast, func, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from engine.filters import METADATA, Filter, Where, where_to_filters
from engine.storage.deadlines import heeding, together
from engine.storage.ordering import ByBytes
from engine.storage.tables import ModelRow, ModelTagRow, TagRow
from engine.texts import suggestion

COLUMNS: dict[str, InstrumentedAttribute[Any]] = {
    "tag": TagRow.name,
    "name": ModelRow.name,
    "kind": ModelRow.kind,
    "author": ModelRow.author,
    "license": ModelRow.license,
    "base_model": ModelRow.base_model,
}
REMARKS = {
    "tag": "no model is tagged {value}", "name": "no model is named {value}", "author": "no model is by {value}",
    "base_model": "no model is based on {value}",
}  # fmt: skip
MOST_KNOWN = 5_000
"""Values, or models' metadata, among which a resembling one is looked for."""
LONGEST = 255
"""Characters of what is stored in a column that can be filtered by."""
MOST_TOLD, MOST_SUGGESTED = 20, 3
"""Remarks on one filter, and how many of them suggest a value."""


class Conditions(NamedTuple):
    """``sql``: conditions on ``models``, all of which must hold; ``remarks``: sentences about values no model has."""

    sql: list[ColumnElement[bool]]
    remarks: tuple[str, ...]


class Missing(NamedTuple):
    """A value that no model has: the sentence that says so, the value, and those among which it may have been meant."""

    said: str
    given: str
    known: Callable[[], Iterable[str]] = tuple


@together()
def where_to_conditions(session: Session, where: Where | None) -> Conditions:
    """Conditions for statements of the same transaction.

    Raises:
        InvalidFilter: an unknown key, or a value that is not text.
    """
    found, missing = [], []
    for asked in where_to_filters(where):
        match = _metadata if asked.key.startswith(METADATA) else _tag if asked.key == "tag" else _column
        condition, more = match(session, asked)
        found.append(condition)
        missing += more
    return Conditions(found, _remarks(missing))


Matched = tuple[ColumnElement[bool], list[Missing]]


def _column(session: Session, asked: Filter) -> Matched:
    column = COLUMNS[asked.key]
    condition, missing = _matching(session, column, asked)
    if asked.negated:  # a model without the field does not have the value
        condition = or_(column.is_(None), not_(condition))
    return condition, missing


def _tag(session: Session, asked: Filter) -> Matched:
    matching, missing = _matching(session, TagRow.name, asked)
    tagged = select(ModelTagRow.model_id).join(TagRow, TagRow.id == ModelTagRow.tag_id).where(matching)
    condition = ModelRow.id.in_(tagged)
    return not_(condition) if asked.negated else condition, missing


def _matching(session: Session, column: InstrumentedAttribute[Any], asked: Filter) -> Matched:
    """Whether a text column has what is asked; it is null where the column is."""
    wanted = {value.casefold(): value for value in asked.values}
    plain = [folded for folded in wanted if folded.isascii()]
    read, parts, found = _is_not_ascii(session, column), [], set()
    if asked.within:
        by_part = {folded: _contains(session, column, folded) for folded in plain if len(folded) <= LONGEST}
        parts = list(by_part.values())
        found = {folded for folded in plain[MOST_TOLD:] if folded in by_part}  # nothing would be told of them
        for folded in plain[:MOST_TOLD]:
            if folded in by_part and session.scalar(select(column).where(by_part[folded]).limit(1)) is not None:
                found.add(folded)
    else:  # these few are read as well: the condition is then one that an index answers
        read = or_(read, func.lower(ByBytes(column)).in_(plain))  # of A to Z alone
    spelled, others = _spelled(session.scalars(select(column).distinct().where(read)), wanted, asked.within)
    known = select(column).distinct().where(column.is_not(None)).limit(MOST_KNOWN)
    missing = _missing(asked, wanted, found | others, lambda: session.scalars(known))
    return or_(*parts, _is_one_of(session, column, spelled)), missing


def _spelled(texts: Iterable[str], wanted: dict[str, str], within: bool) -> tuple[list[str], set[str]]:
    """Those of some texts that are meant, and what they were meant by."""
    spelled, found = [], set()
    for text in heeding(texts):
        meant = _meant(text, wanted, within)
        if meant:
            spelled.append(text)
            found |= meant
    return spelled, found


def _meant(text: str, wanted: dict[str, str], within: bool) -> set[str]:
    folded = text.casefold()
    return {value for value in wanted if value in folded} if within else wanted.keys() & {folded}


def _metadata(session: Session, asked: Filter) -> Matched:
    key = asked.key.removeprefix(METADATA).casefold()
    wanted = {value.casefold(): value for value in asked.values}
    ids, found, there = [], set(), False
    for model_id, metadata in _with_key(session, key):
        values = [text for name, value in metadata.items() if name.casefold() == key for text in _texts(value)]
        there = there or any(name.casefold() == key for name in metadata)
        meant = set().union(*(_meant(text, wanted, asked.within) for text in values))
        if meant:
            ids.append(model_id)
            found |= meant
    condition = _is_one_of(session, ModelRow.id, ids)
    if there:
        missing = _missing(asked, wanted, found, lambda: islice(_known(session, key), MOST_KNOWN))
    else:
        said = f"no model's metadata has {_shown(asked.key.removeprefix(METADATA))}"
        missing = [Missing(said, key, lambda: _keys(session))]
    return not_(condition) if asked.negated else condition, missing


def _with_key(session: Session, key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Models whose metadata may have a key: what is not ASCII is stored as escapes, and looked at here."""
    stored = cast(ModelRow.extra, Text)
    may_have = [stored.contains("\\u", autoescape=True)]
    if key.isascii():
        may_have.append(func.lower(ByBytes(stored)).contains(json.dumps(key), autoescape=True))
    return _metadata_of(session, select(ModelRow.id, stored).where(or_(*may_have)))


def _metadata_of(session: Session, query: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for model_id, text in heeding(session.execute(query)):
        try:
            found = json.loads(text)
        except (TypeError, ValueError, RecursionError):  # damaged: the doctor's affair
            continue
        if isinstance(found, dict):
            yield model_id, found


def _texts(value: Any) -> Iterator[str]:
    """What a value of metadata can be matched by: a text, a number or a truth value, or any of a list."""
    if isinstance(value, list):
        for one in value:
            if not isinstance(one, list):
                yield from _texts(one)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, (int, float)):
        yield json.dumps(value)


def _keys(session: Session) -> Iterator[str]:
    some = select(ModelRow.id, cast(ModelRow.extra, Text)).limit(MOST_KNOWN)
    return (key for _, metadata in _metadata_of(session, some) for key in metadata)


def _known(session: Session, key: str) -> Iterator[str]:
    return (
        text
        for _, metadata in _with_key(session, key)
        for name, value in metadata.items() if name.casefold() == key
        for text in _texts(value)
    )  # fmt: skip


def _missing(
    asked: Filter, wanted: dict[str, str], found: set[str], known: Callable[[], Iterable[str]]
) -> list[Missing]:
    key = asked.key.removeprefix(METADATA)
    said = (
        "no model's {key} contains {value}"
        if asked.within
        else REMARKS.get(asked.key, "no model has the {key} {value}")
    )
    return [
        Missing(said.format(key=key, value=_shown(value)), value, tuple if asked.within else known)
        for folded, value in wanted.items() if folded not in found
    ]  # fmt: skip


def _remarks(missing: Sequence[Missing]) -> tuple[str, ...]:
    """Sentences, of which the first few suggest what may have been meant: looking for it takes long."""
    remarks = {}
    for place, one in enumerate(missing[:MOST_TOLD]):
        near = suggestion(one.given, one.known()) if place < MOST_SUGGESTED else None
        remarks[one.said] = one.said if near is None else f"{one.said}; {near}"
    more = len(missing) - MOST_TOLD
    return (*remarks.values(), *([f"no model has {more} other values of the filter"] if more > 0 else []))


def _shown(value: str) -> str:
    return value[:80] if value.strip() else repr(value[:80])


def _contains(session: Session, column: InstrumentedAttribute[Any], folded: str) -> ColumnElement[bool]:
    """Whether a column contains a text of ASCII in whatever case. SQLite's LIKE is of A to Z alone."""
    if session.get_bind().dialect.name == "postgresql":
        return func.lower(ByBytes(column)).contains(folded, autoescape=True)
    return column.contains(folded, autoescape=True)


def _is_not_ascii(session: Session, column: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    if session.get_bind().dialect.name == "postgresql":
        return func.octet_length(column) != func.char_length(column)
    return func.length(cast(column, BLOB)) != func.length(column)


def _is_one_of(
    session: Session, column: InstrumentedAttribute[Any], values: Sequence[str] | Sequence[int]
) -> ColumnElement[bool]:
    """``IN``, however many there are: one parameter holds them all."""
    if session.get_bind().dialect.name == "postgresql":
        return column == any_(bindparam(None, list(values), type_=ARRAY(column.type)))
    each = func.json_each(json.dumps(values)).table_valued("value")
    return column.in_(select(each.c.value))
