"""``where=`` to SQL conditions.

``{"tag": "animal", "kind": ["gan", "vae"], "license!": "CC-BY-NC-4.0"}``: every key must hold; a list means any of
its values; a key that ends in ``!`` is negated. Pairs ``[("tag", "a"), ("tag", "b")]`` may repeat a key.

``{"name~": "bird"}`` asks for fields that contain a text, in upper or lower case (on SQLite of A to Z alone), and
``name~!`` for those that do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from engine.errors import InvalidFilter
from engine.storage.details import is_storable
from engine.storage.tables import ModelRow, ModelTagRow, TagRow

Where = Mapping[str, Any] | Sequence[tuple[str, Any]]

COLUMNS: dict[str, InstrumentedAttribute[Any]] = {
    "name": ModelRow.name,
    "kind": ModelRow.kind,
    "author": ModelRow.author,
    "license": ModelRow.license,
    "base_model": ModelRow.base_model,
}
FILTER_KEYS = ("tag", *COLUMNS)
MOST_VALUES = 1000  # bound parameters of one condition: well below every database's limit
MOST_PARTS = 50  # each is a scan of its own


def where_to_conditions(where: Where | None) -> list[ColumnElement[bool]]:
    """Conditions on ``models``, all of which must hold.

    Raises:
        InvalidFilter: an unknown key or a value that is not text.
    """
    if where is None:
        return []
    if not isinstance(where, (Mapping, Sequence)):
        raise InvalidFilter(f"a filter is a mapping or a list of pairs, got {where!r}")
    pairs: Iterable[Any] = where.items() if isinstance(where, Mapping) else where
    conditions = []
    for pair in pairs:
        try:
            key, value = pair
        except (TypeError, ValueError) as error:
            raise InvalidFilter(f"a filter is a (key, value) pair, got {pair!r}") from error
        conditions.append(_condition(key, value))
    return conditions


def _condition(key: Any, value: Any) -> ColumnElement[bool]:
    if not isinstance(key, str):
        raise InvalidFilter(f"a filter's key must be text, got {key!r}")
    negated = key.endswith("!")
    bare = key[:-1] if negated else key
    bare = "license" if bare == "licence" else bare
    values = [value] if isinstance(value, str) else value
    if (
        not isinstance(values, (list, tuple, set, frozenset))
        or not values
        or not all(isinstance(v, str) for v in values)
    ):
        raise InvalidFilter(
            f"filter {key!r:.80} needs a text or a list of texts, got {value!r:.200}",
            hint='for example where={"tag": ["cat", "dog"]}',
        )
    if len(values) > MOST_VALUES or not all(map(is_storable, values)):
        raise InvalidFilter(f"filter {key!r:.80} takes up to {MOST_VALUES} texts without NUL, got {len(values)}")
    if bare.endswith("~"):
        return _containing(bare[:-1], list(values), negated)
    if bare == "tag":
        tagged = (
            select(ModelTagRow.model_id).join(TagRow, TagRow.id == ModelTagRow.tag_id).where(TagRow.name.in_(values))
        )
        condition: ColumnElement[bool] = ModelRow.id.in_(tagged)
        return not_(condition) if negated else condition
    column = _column(bare)
    if negated:  # a model without the field does not have the value
        return or_(column.is_(None), column.not_in(values))
    return column.in_(values)


def _containing(key: str, values: list[str], negated: bool) -> ColumnElement[bool]:
    if len(values) > MOST_PARTS:
        raise InvalidFilter(f"filter {key + '~'!r} takes up to {MOST_PARTS} texts, got {len(values)}")
    column = _column(key)
    condition: ColumnElement[bool] = or_(*(column.icontains(value, autoescape=True) for value in values))
    return or_(column.is_(None), not_(condition)) if negated else condition


def _column(key: str) -> InstrumentedAttribute[Any]:
    column = COLUMNS.get(key)
    if column is None:
        raise InvalidFilter(
            f"there is no filter {key!r}",
            hint=f"filters are {', '.join(FILTER_KEYS)}; a ~ after any but tag asks for a part, a trailing ! negates",
        )
    return column
