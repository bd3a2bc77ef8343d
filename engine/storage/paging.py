"""Models page by page: by keyset, so that pages neither repeat nor skip a model when others come and go."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select

from engine.errors import InvalidInput
from engine.filters import Where
from engine.numbers import LARGEST_SIZE, checked_whole
from engine.records import Model
from engine.storage.database import Database
from engine.storage.filters import where_to_conditions
from engine.storage.model_rows import aware, read_models
from engine.storage.ordering import ByBytes
from engine.storage.tables import ModelRow
from engine.texts import is_storable

SORTS: dict[str, Any] = {
    "name": ByBytes(ModelRow.name),
    "created_at": ModelRow.created_at,
    "updated_at": ModelRow.updated_at,
}


@dataclass(frozen=True)
class ModelPage:
    """``models`` in order; ``next`` is the cursor of the page after this one, None on the last.

    ``remarks`` are sentences about values of the filter that no model has.
    """

    models: list[Model]
    next: str | None
    remarks: tuple[str, ...] = ()


def models_page(
    database: Database, where: Where | None, *, sort: str = "name", limit: int = 100, cursor: str | None = None
) -> ModelPage:
    """Up to ``limit`` models that a filter admits, in the order of ``sort``: a column of ``SORTS``, ``-`` for falling.

    Raises:
        InvalidFilter
        InvalidInput: an unknown sort, a limit below 1, or a cursor that is not one of this sort.
    """
    column = SORTS.get(sort.removeprefix("-"))
    if column is None:
        raise InvalidInput(
            f"there is no sort {sort!r}", hint=f"sorts are {', '.join(SORTS)}; a - before one turns it round"
        )
    limit = checked_whole(limit, "the limit", 1)
    falling = sort.startswith("-")
    query = select(ModelRow)
    if cursor is not None:
        value, model_id = _position(cursor, sort)
        beyond = column < value if falling else column > value
        later = ModelRow.id < model_id if falling else ModelRow.id > model_id
        query = query.where(or_(beyond, and_(column == value, later)))
    order = (column.desc(), ModelRow.id.desc()) if falling else (column, ModelRow.id)
    with database.read() as session:
        conditions, remarks = where_to_conditions(session, where)
        models = read_models(session, query.where(*conditions).order_by(*order).limit(limit + 1))
    more = len(models) > limit
    models = models[:limit]
    return ModelPage(models, _cursor(models[-1], sort) if more else None, remarks)


def _cursor(model: Model, sort: str) -> str:
    value = getattr(model, sort.removeprefix("-"))
    said = [sort, value.isoformat() if isinstance(value, datetime) else value, model.id]
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


def _position(cursor: str, sort: str) -> tuple[Any, int]:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        sorted_by, value, model_id = json.loads(base64.urlsafe_b64decode(padded))
        whole = isinstance(model_id, int) and abs(model_id) <= LARGEST_SIZE
        if sorted_by != sort or not isinstance(value, str) or not is_storable(value) or not whole:
            raise ValueError(f"it is of sort {sorted_by!r}")
        if sort.removeprefix("-") != "name":
            value = aware(datetime.fromisoformat(value))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(
            f"{cursor[:60]!r} is not a cursor of this listing", hint="give what the page before said as next"
        ) from error
    return value, model_id
