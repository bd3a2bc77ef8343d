"""Model rows to records and back, inside a session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import islice
from typing import Any

from sqlalchemy import BindParameter, Row, Select, bindparam, delete, func, insert, inspect, select
from sqlalchemy.orm import Session

from engine.errors import DuplicateName, ModelNotFound
from engine.numbers import shown
from engine.records import Model
from engine.storage.similar_names import names_like
from engine.storage.tables import ChangeRow, EncoderRow, ModelRow, ModelTagRow, StatisticsRow, TagRow, row_to_table
from engine.texts import is_storable, quoted, suggestion

CHUNK = 1000  # ids in one IN (...): well below every database's limit on bound parameters
COLUMNS = tuple(getattr(ModelRow, each.key) for each in inspect(ModelRow).column_attrs)
_MODELS, _STATISTICS, _ENCODERS, _MODEL_TAGS, _TAG_NAMES = map(
    row_to_table, (ModelRow, StatisticsRow, EncoderRow, ModelTagRow, TagRow)
)
IDS: BindParameter[Any] = bindparam("ids", expanding=True)

# Made once: composing them anew costs a search as much as running them does.
LAST_CHANGE = select(func.coalesce(func.max(row_to_table(ChangeRow).c.seq), 0))
_NEW_CHANGE = insert(row_to_table(ChangeRow)).returning(row_to_table(ChangeRow).c.seq)
_NAMED = select(ModelRow).where(ModelRow.name == bindparam("name"))
_TAGS = select(TagRow).where(TagRow.name.in_(bindparam("names", expanding=True)))
_FOUND = select(*(each.columns[0].label(each.key) for each in inspect(ModelRow).column_attrs)).where(
    _MODELS.c.id.in_(IDS)
)
_MEASURED = (
    select(_STATISTICS.c.model_id, _ENCODERS.c.name, _STATISTICS.c.samples, _STATISTICS.c.quarantined)
    .join(_ENCODERS, _ENCODERS.c.id == _STATISTICS.c.encoder_id)
    .where(_STATISTICS.c.model_id.in_(IDS))
    .order_by(_STATISTICS.c.change)
)
_TAGGED = (
    select(_MODEL_TAGS.c.model_id, _TAG_NAMES.c.name)
    .join(_TAG_NAMES, _TAG_NAMES.c.id == _MODEL_TAGS.c.tag_id)
    .where(_MODEL_TAGS.c.model_id.in_(IDS))
)


def now() -> datetime:
    """The current time, UTC."""
    return datetime.now(timezone.utc)


def chunks(values: Iterable[int]) -> Iterator[list[int]]:
    """Ids in lists short enough for one statement."""
    iterator = (int(value) for value in values)
    while block := list(islice(iterator, CHUNK)):
        yield block


def add_change(session: Session, model_id: int, encoder_id: int | None, op: str) -> int:
    """Append to the change sequence; the number it got."""
    change = {"model_id": model_id, "encoder_id": encoder_id, "op": op, "at": now()}
    return int(session.scalars(_NEW_CHANGE, change).one())


def find_row(session: Session, name: str) -> ModelRow | None:
    """The row of that name."""
    return session.scalar(_NAMED, {"name": name})


def row_of(session: Session, name: str) -> ModelRow:
    """The row of that name.

    Raises:
        ModelNotFound: there is none; the hint names close ones.
    """
    if not isinstance(name, str):
        raise ModelNotFound(f"a model's name is a text, got {shown(name)}", hint="engine list shows what there is")
    row = find_row(session, name) if is_storable(name) else None
    if row is not None:
        return row
    hint = suggestion(name, names_like(session, name), "engine list shows what there is", most=3)
    raise ModelNotFound(f"there is no model named {quoted(name)}", hint=hint)


def new_row(session: Session, name: str, kind: str = "model") -> ModelRow:
    """A fresh row, not yet described."""
    at = now()
    row = ModelRow(
        name=name, kind=kind, links={}, extra={}, source={}, created_at=at, updated_at=at, tags=[]
    )  # fmt: skip
    session.add(row)
    return row


def apply_details(session: Session, row: ModelRow, details: Mapping[str, Any]) -> None:
    """Write checked fields onto a row."""
    for key, value in details.items():
        if key == "tags":
            row.tags = _tag_rows(session, value)
        elif key == "metadata":
            row.extra = dict(value)
        else:
            setattr(row, key, value)
    row.updated_at = now()


def rename(session: Session, row: ModelRow, name: str) -> None:
    """Give a row another name.

    Raises:
        DuplicateName: it is taken.
    """
    if name != row.name and find_row(session, name) is not None:
        raise DuplicateName(f"there is a model named {quoted(name)} already", hint="choose another name")
    row.name = name


def _tag_rows(session: Session, names: Sequence[str]) -> list[TagRow]:
    if not names:
        return []
    known = {tag.name: tag for tag in session.scalars(_TAGS, {"names": list(names)})}
    for name in names:
        if name not in known:
            known[name] = TagRow(name=name)
            session.add(known[name])
    return [known[name] for name in sorted(names)]


def remove_unused_tags(session: Session) -> None:
    """Drop tags that no model has."""
    session.flush()
    session.execute(delete(TagRow).where(TagRow.id.not_in(select(ModelTagRow.tag_id))))


def read_models(session: Session, query: Select[Any]) -> list[Model]:
    """Records of the models that a query over ``ModelRow`` finds, in its order.

    It reads plain columns: objects of the mapper, and of their tags, cost a search more than its shortlist does.
    """
    return rows_to_models(session, session.execute(query.with_only_columns(*COLUMNS)).all())


def models_by_id(session: Session, ids: Iterable[int]) -> dict[int, Model]:
    """Records by id; ids that are gone are left out."""
    found: dict[int, Model] = {}
    connection = session.connection()
    for block in chunks(ids):
        rows = connection.execute(_FOUND, {"ids": block}).all()
        found.update((model.id, model) for model in rows_to_models(session, rows))
    return found


def rows_to_models(session: Session, rows: Sequence[ModelRow | Row[Any]]) -> list[Model]:
    """Records of rows, or of their columns, in order."""
    connection = session.connection()
    measured: dict[int, list[tuple[str, int, int]]] = {}
    tags: dict[int, list[str]] = {}
    for ids in chunks(row.id for row in rows):
        for model_id, name, samples, quarantined in connection.execute(_MEASURED, {"ids": ids}):
            measured.setdefault(model_id, []).append((name, samples, quarantined))
        for model_id, name in connection.execute(_TAGGED, {"ids": ids}):
            tags.setdefault(model_id, []).append(name)
    return [_record(row, measured.get(row.id, []), tags.get(row.id, [])) for row in rows]


def _record(row: ModelRow | Row[Any], measured: list[tuple[str, int, int]], tags: list[str]) -> Model:
    return Model(
        id=row.id,
        name=row.name,
        kind=row.kind,
        tags=tuple(sorted(tags)),
        description=row.description,
        author=row.author,
        license=row.license,
        base_model=row.base_model,
        links=_mapping(row.links),
        resolution=row.resolution,
        metadata=_mapping(row.extra),
        source=_mapping(row.source),
        generator=None if row.generator is None else _mapping(row.generator),
        encoders=tuple(sorted(name for name, *_ in measured)),
        samples=measured[-1][1] if measured else 0,
        quarantined=measured[-1][2] if measured else 0,
        created_at=aware(row.created_at),
        updated_at=aware(row.updated_at),
    )


def _mapping(value: Any) -> dict[str, Any]:
    """A JSON column's mapping; empty where what is stored is damaged."""
    return dict(value) if isinstance(value, Mapping) else {}


def aware(at: datetime) -> datetime:
    """A stored time with its zone, UTC."""
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)  # SQLite drops the zone
