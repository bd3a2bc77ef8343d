"""Many models' ready-made moments in one transaction, a few statements for a thousand of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, delete, func, insert, select, update
from sqlalchemy.orm import Session

from engine.records import Statistics
from engine.storage import blobs
from engine.storage.database import Database
from engine.storage.insert_rows import insert_rows
from engine.storage.model_rows import CHUNK, chunks, now, remove_unused_tags
from engine.storage.neighbours import forget_neighbours
from engine.storage.tables import (
    Base,
    ChangeRow,
    CheckpointRow,
    ModelRow,
    ModelTagRow,
    SampleFeaturesRow,
    StatisticsRow,
    TagRow,
)

KIND = "unknown"
"""Of a model of which nothing but its moments was given."""


@dataclass(frozen=True)
class BulkModel:
    """One model's moments; ``digest`` tells unchanged content, ``tags`` None leaves the tags as they are."""

    name: str
    statistics: Statistics
    digest: str
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True)
class BulkCounts:
    """What became of the models."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0

    def __add__(self, other: BulkCounts) -> BulkCounts:
        return BulkCounts(
            self.added + other.added, self.replaced + other.replaced, self.unchanged + other.unchanged
        )  # fmt: skip


def put_many(database: Database, encoder_id: int, models: Sequence[BulkModel]) -> BulkCounts:
    """Write or replace the statistics of models of distinct, checked names: all of them, or none.

    Models whose content is unchanged keep their statistics, and get the tags that were given.
    """
    with database.write() as session:
        ids = _known(session, [model.name for model in models])
        digests = _digests(session, encoder_id, ids.values())
        changed = [model for model in models if digests.get(ids.get(model.name, 0)) != model.digest]
        replaced = [ids[model.name] for model in changed if ids.get(model.name) in digests]
        fresh = [model.name for model in changed if model.name not in ids]
        ids |= _added(session, fresh, {model.name: model for model in changed})
        _forget(session, encoder_id, replaced)
        _write(session, encoder_id, [(ids[model.name], model) for model in changed])
        described = [(ids[model.name], model.tags) for model in models if model.tags is not None]
        _tag(session, described, new={ids[name] for name in fresh})
        for names in _pieces([model.name for model in changed]):
            session.execute(
                delete(CheckpointRow).where(CheckpointRow.name.in_(names), CheckpointRow.encoder_id == encoder_id)
            )
        return BulkCounts(len(changed) - len(replaced), len(replaced), len(models) - len(changed))


def _table(row: type[Base]) -> Table:
    """For rows rather than objects: nothing of them is to be tracked."""
    table = row.__table__
    assert isinstance(table, Table)
    return table


def _pieces(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))


def _known(session: Session, names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for piece in _pieces(names):
        rows = session.execute(select(ModelRow.name, ModelRow.id).where(ModelRow.name.in_(piece)))
        found.update((name, model_id) for name, model_id in rows)
    return found


def _digests(session: Session, encoder_id: int, ids: Iterable[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for block in chunks(ids):
        query = select(StatisticsRow.model_id, StatisticsRow.source_digest).where(
            StatisticsRow.encoder_id == encoder_id, StatisticsRow.model_id.in_(block)
        )
        found.update((model_id, digest) for model_id, digest in session.execute(query))
    return found


def _added(session: Session, names: Sequence[str], models: dict[str, BulkModel]) -> dict[str, int]:
    if not names:
        return {}
    at, table = now(), _table(ModelRow)
    last = session.scalar(select(func.max(table.c.id))) or 0
    given = [models[name].statistics for name in names]
    each: dict[str, Sequence[Any]] = {"name": names}
    same: dict[str, Any] = {"kind": KIND, "links": {}, "metadata": {}, "created_at": at, "updated_at": at}
    shapes = [(len(one.mean), one.samples) for one in given]
    sources = {shape: {"type": "moments", "dimension": shape[0], "samples": shape[1]} for shape in shapes}
    if len(sources) == 1:
        same["source"] = sources[shapes[0]]
    else:
        each["source"] = [sources[shape] for shape in shapes]
    insert_rows(session.connection(), table, each, same)
    made = session.execute(select(table.c.name, table.c.id).where(table.c.id > last)).all()
    return dict(made)


def _forget(session: Session, encoder_id: int, ids: Sequence[int]) -> None:
    """What was made from the statistics that are replaced."""
    for model_id in ids:
        forget_neighbours(session, model_id, encoder_id)
    for block in chunks(ids):
        for table in (SampleFeaturesRow, StatisticsRow):
            session.execute(delete(table).where(table.encoder_id == encoder_id, table.model_id.in_(block)))
        session.execute(
            update(ModelRow)
            .where(ModelRow.id.in_(block))
            .values(updated_at=now())
            .execution_options(synchronize_session=False)
        )


def _write(session: Session, encoder_id: int, models: Sequence[tuple[int, BulkModel]]) -> None:
    if not models:
        return
    at, connection, changes = now(), session.connection(), _table(ChangeRow)
    ids, given = [model_id for model_id, _ in models], [model.statistics for _, model in models]
    last = session.scalar(select(func.max(changes.c.seq))) or 0
    insert_rows(connection, changes, {"model_id": ids}, {"encoder_id": encoder_id, "op": "put", "at": at})
    made = session.execute(select(changes.c.model_id, changes.c.seq).where(changes.c.seq > last)).all()
    change = dict(made)
    means = [blobs.mean_to_blob(one.mean) for one in given]
    covariances = [blobs.covariance_to_blob(one.covariance) for one in given]
    sums = [blobs.checksum(mean) for mean in means]
    both = [
        alone if covariance is None else blobs.checksum(mean, covariance)
        for mean, covariance, alone in zip(means, covariances, sums, strict=True)
    ]
    insert_rows(
        connection,
        _table(StatisticsRow),
        {
            "model_id": ids, "samples": [one.samples for one in given], "epsilon": [one.epsilon for one in given],
            "mean": means, "covariance": covariances, "mean_checksum": sums, "checksum": both,
            "source_digest": [model.digest for _, model in models], "change": [change[model_id] for model_id in ids],
        },
        {"encoder_id": encoder_id, "quarantined": 0, "quarantine": [], "updated_at": at},
    )  # fmt: skip


def _tag(session: Session, described: Sequence[tuple[int, tuple[str, ...]]], *, new: set[int]) -> None:
    if not described:
        return
    for block in chunks(model_id for model_id, _ in described if model_id not in new):
        session.execute(delete(ModelTagRow).where(ModelTagRow.model_id.in_(block)))
    wanted = sorted({tag for _, tags in described for tag in tags})
    known: dict[str, int] = {}
    for piece in _pieces(wanted):
        known.update(
            (row.name, row.id) for row in session.execute(select(TagRow.name, TagRow.id).where(TagRow.name.in_(piece)))
        )
    missing = [{"name": tag} for tag in wanted if tag not in known]
    if missing:
        made = session.execute(insert(TagRow).returning(TagRow.id, TagRow.name), missing).all()
        known.update((row.name, row.id) for row in made)
    pairs = [{"model_id": model_id, "tag_id": known[tag]} for model_id, tags in described for tag in tags]
    if pairs:
        session.connection().execute(insert(_table(ModelTagRow)), pairs)
    remove_unused_tags(session)
