"""What values the fields of a collection's models have, and how often; what each model is called."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import func, select

from engine.storage.database import Database
from engine.storage.deadlines import heeding
from engine.storage.ordering import ByBytes
from engine.storage.tables import ModelRow, ModelTagRow, TagRow

Facets = dict[str, list[tuple[str, int]]]
"""By field, ``(value, how many models have it)``, the commonest first."""


class Label(NamedTuple):
    """What a model is called: the least that a picture of the whole collection shows of it."""

    name: str
    kind: str
    tags: list[str]


def model_labels(database: Database) -> dict[int, Label]:
    """Every model's, by id."""
    with database.read() as session:
        found = {
            model_id: Label(name, kind, [])
            for model_id, name, kind in heeding(session.execute(select(ModelRow.id, ModelRow.name, ModelRow.kind)))
        }
        tagged = select(ModelTagRow.model_id, TagRow.name).join(TagRow, TagRow.id == ModelTagRow.tag_id)
        for model_id, tag in heeding(session.execute(tagged.order_by(ByBytes(TagRow.name)))):
            found[model_id].tags.append(tag)
        return found


def facet_counts(database: Database, limit: int) -> Facets:
    """The commonest tags, kinds, authors and licences, up to ``limit`` of each."""
    counted = func.count().label("models")
    tags = select(TagRow.name, counted).join(ModelTagRow, ModelTagRow.tag_id == TagRow.id)
    with database.read() as session:

        def commonest(query: Any, value: Any) -> list[tuple[str, int]]:
            ordered = query.group_by(value).order_by(counted.desc(), ByBytes(value)).limit(limit)
            return [(text, count) for text, count in session.execute(ordered)]

        found = {"tag": commonest(tags, TagRow.name)}
        for field in ("kind", "author", "license"):
            column = getattr(ModelRow, field)
            found[field] = commonest(select(column, counted).where(column.is_not(None)), column)
        return found
