"""Whole models out of a database and into another: every field, every blob, as they are stored.

What is derived, lists of similar models, and what is passing, checkpoints, stay behind. Ids, changes and the
collection's own id are the database's own; everything else is the same on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, and_, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from engine.errors import DuplicateName
from engine.filters import Where
from engine.records import EncoderIdentity, Thumbnail
from engine.storage import blobs
from engine.storage.database import Database
from engine.storage.encoder_rows import put_encoder, row_to_identity
from engine.storage.filters import where_to_conditions
from engine.storage.model_rows import add_change, apply_details, aware, find_row, new_row, remove_unused_tags
from engine.storage.neighbours import remove_row
from engine.storage.tables import (
    EncoderRow,
    ModelRow,
    SampleFeaturesRow,
    StatisticsRow,
    ThumbnailRow,
    TransformRow,
    row_to_table,
)

WHITENING = "whitening"
"""The parameterisation of what is fitted to a collection by itself."""
REFUSE, SKIP, REPLACE = "refuse", "skip", "replace"
CONFLICTS = (REFUSE, SKIP, REPLACE)
"""What is done with a model whose name is taken."""
ELSEWHERE = "import into another collection"

# Made once, of tables: what is composed, or tracked, for each of thousands of models takes longer than their blobs do.
_STATISTICS, _FEATURES, _THUMBNAILS = map(row_to_table, (StatisticsRow, SampleFeaturesRow, ThumbnailRow))
_OWN: BindParameter[Any] = bindparam("model_id")
_MEASURED = (
    select(_STATISTICS, *(_FEATURES.c[name].label(f"kept_{name}") for name in ("count", "data", "checksum")))
    .outerjoin(
        _FEATURES,
        and_(_FEATURES.c.model_id == _STATISTICS.c.model_id, _FEATURES.c.encoder_id == _STATISTICS.c.encoder_id),
    )
    .where(_STATISTICS.c.model_id == _OWN)
    .order_by(_STATISTICS.c.encoder_id)
)
_PREVIEWS = (
    select(_THUMBNAILS.c.data, _THUMBNAILS.c.media_type)
    .where(_THUMBNAILS.c.model_id == _OWN)
    .order_by(_THUMBNAILS.c.position)
)


@dataclass(frozen=True, eq=False)
class StatisticsRecord:
    """A model's moments under an encoder, named by its place in a list of encoders, as bytes."""

    encoder: int
    samples: int
    epsilon: float
    mean: bytes
    covariance: bytes | None
    source_digest: str
    quarantined: int
    quarantine: list[Any]
    updated_at: datetime
    features: bytes | None = None
    count: int = 0


@dataclass(frozen=True, eq=False)
class ModelRecord:
    """A model with everything of it. ``details`` are its descriptive fields, tags among them."""

    name: str
    details: Mapping[str, Any]
    source: Mapping[str, Any]
    generator: Mapping[str, Any] | None
    created_at: datetime
    updated_at: datetime
    statistics: tuple[StatisticsRecord, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()


@dataclass(frozen=True, eq=False)
class TransformRecord:
    """A transform of an encoder, named by its place in a list, with its arrays as bytes."""

    name: str
    encoder: int
    method: str
    modality: str
    parameterisation: str
    version: int
    data: bytes
    report: Mapping[str, Any]
    active: bool
    created_at: datetime


@dataclass
class ImportCounts:
    """What became of the models and transforms of an archive. ``remarks`` say what of them was not taken."""

    added: int = 0
    replaced: int = 0
    skipped: int = 0
    transforms: int = 0
    remarks: list[str] = field(default_factory=list)


@dataclass
class Damaged:
    """What was left out because it does not match its checksum: names and reasons."""

    models: dict[str, str] = field(default_factory=dict)
    transforms: list[str] = field(default_factory=list)


class Reading:
    """One consistent view of a database, model by model. Use ``reading``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._encoder_ids = list(session.scalars(select(EncoderRow.id).order_by(EncoderRow.id)))
        self.damaged = Damaged()

    def encoders(self) -> list[tuple[EncoderIdentity, datetime]]:
        """Every encoder, and since when it is known; records name them by their places here."""
        rows = self._session.scalars(select(EncoderRow).order_by(EncoderRow.id))
        return [(row_to_identity(row), aware(row.created_at)) for row in rows]

    def matching(self, where: Where | None) -> tuple[list[int], tuple[str, ...]]:
        """Ids of the models that a filter admits, ascending, and remarks about values that no model has."""
        conditions, remarks = where_to_conditions(self._session, where)
        return list(self._session.scalars(select(ModelRow.id).where(*conditions).order_by(ModelRow.id))), remarks

    def models(self, ids: Iterable[int]) -> Iterator[ModelRecord]:
        """Those models, in the order of their ids, one in memory at a time; damaged ones are left out and named."""
        for model_id in ids:
            row = self._session.get_one(ModelRow, model_id)
            record = self._record(row)
            self._session.expunge(row)
            if record is not None:
                yield record

    def transforms(self) -> Iterator[TransformRecord]:
        """Every transform; damaged ones are left out and named."""
        for row in self._session.scalars(select(TransformRow).order_by(TransformRow.id)):
            if blobs.checksum(row.data) != row.checksum:
                self.damaged.transforms.append(row.name)
                continue
            yield TransformRecord(
                row.name, self._encoder_ids.index(row.encoder_id), row.method, row.modality, row.parameterisation,
                row.version, row.data, dict(row.report), row.active, aware(row.created_at),
            )  # fmt: skip

    def _record(self, row: ModelRow) -> ModelRecord | None:
        statistics = []
        for one in self._session.execute(_MEASURED, {"model_id": row.id}):
            good = blobs.checksum(one.mean, one.covariance or b"") == one.checksum
            if not good or (one.kept_data is not None and blobs.checksum(one.kept_data) != one.kept_checksum):
                self.damaged.models[row.name] = "what is stored does not match its checksum"
                return None
            statistics.append(
                StatisticsRecord(
                    self._encoder_ids.index(one.encoder_id), one.samples, one.epsilon, one.mean, one.covariance,
                    one.source_digest, one.quarantined, list(one.quarantine), aware(one.updated_at),
                    one.kept_data, one.kept_count or 0,
                )
            )  # fmt: skip
        details = {
            "kind": row.kind, "description": row.description, "author": row.author, "license": row.license,
            "base_model": row.base_model, "links": dict(row.links), "resolution": row.resolution,
            "metadata": dict(row.extra), "tags": sorted(tag.name for tag in row.tags),
        }  # fmt: skip
        return ModelRecord(
            row.name, details, dict(row.source), row.generator, aware(row.created_at), aware(row.updated_at),
            tuple(statistics),
            tuple(Thumbnail(*one) for one in self._session.execute(_PREVIEWS, {"model_id": row.id})),
        )  # fmt: skip


@contextmanager
def reading(database: Database) -> Iterator[Reading]:
    """Everything as of one moment, however long it takes; writers go on meanwhile."""
    with database.read() as session:
        yield Reading(session)


def write_records(
    database: Database,
    encoders: list[tuple[EncoderIdentity, datetime]],
    models: Iterable[ModelRecord],
    transforms: Iterable[TransformRecord],
    *,
    on_conflict: str = REFUSE,
) -> ImportCounts:
    """Write models and transforms in one transaction: all of them, or, whatever happens, none.

    Raises:
        EncoderMismatch: an encoder's name stands here for other weights.
        DuplicateName: a name is taken, and ``on_conflict`` is ``refuse``.
    """
    counts = ImportCounts()
    with database.write(slow=True) as session:  # the archive is read in it
        ids = [put_encoder(session, identity, at, hint=ELSEWHERE) for identity, at in encoders]
        for record in models:
            _put_model(session, record, ids, on_conflict, counts)
            session.expunge_all()
        for transform in transforms:
            counts.transforms += _put_transform(session, transform, ids[transform.encoder], on_conflict)
        remove_unused_tags(session)
    return counts


def _put_model(
    session: Session, record: ModelRecord, encoder_ids: list[int], on_conflict: str, counts: ImportCounts
) -> None:
    known = find_row(session, record.name)
    if known is not None:
        if on_conflict == REFUSE:
            raise DuplicateName(
                f"there is a model named {record.name!r} already; nothing was imported",
                hint="--on-conflict skip keeps the models that are there, replace takes the archive's",
            )
        if on_conflict == SKIP:
            counts.skipped += 1
            return
        remove_row(session, known)
        session.flush()
    counts.replaced += known is not None
    counts.added += known is None
    row = new_row(session, record.name)
    apply_details(session, row, record.details)
    row.source = dict(record.source)
    row.generator = None if record.generator is None else dict(record.generator)
    row.created_at, row.updated_at = record.created_at, record.updated_at
    session.flush()
    for one in record.statistics:
        key = {"model_id": row.id, "encoder_id": encoder_ids[one.encoder]}
        session.execute(
            insert(_STATISTICS),
            {
                **key, "samples": one.samples, "epsilon": one.epsilon, "mean": one.mean, "covariance": one.covariance,
                "mean_checksum": blobs.checksum(one.mean),
                "checksum": blobs.checksum(one.mean, one.covariance or b""), "source_digest": one.source_digest,
                "quarantined": one.quarantined, "quarantine": one.quarantine,
                "change": add_change(session, row.id, key["encoder_id"], "put"), "neighbours_change": None,
                "updated_at": one.updated_at,
            },
        )  # fmt: skip
        if one.features is not None:
            kept = {**key, "count": one.count, "data": one.features, "checksum": blobs.checksum(one.features)}
            session.execute(insert(_FEATURES), kept)
    if record.thumbnails:
        session.execute(
            insert(_THUMBNAILS),
            [
                {"model_id": row.id, "position": i, "media_type": one.media_type, "data": one.data}
                for i, one in enumerate(record.thumbnails)
            ],
        )


def _put_transform(session: Session, record: TransformRecord, encoder_id: int, on_conflict: str) -> bool:
    """Whether it was written. A whitening is a collection's own: where there is one, the archive's is left out."""
    kind = {"encoder_id": encoder_id, "method": record.method, "modality": record.modality}
    fitted = record.parameterisation == WHITENING
    if fitted and session.scalar(select(TransformRow.id).filter_by(**kind, parameterisation=WHITENING)) is not None:
        return False
    known = session.scalar(select(TransformRow).where(TransformRow.name == record.name))
    if known is not None:
        if on_conflict == SKIP or known.checksum == blobs.checksum(record.data):
            return False
        if on_conflict == REFUSE:
            raise DuplicateName(
                f"there is a transform named {record.name!r} already; nothing was imported",
                hint="--on-conflict skip keeps the one that is there, replace takes the archive's",
            )
        session.execute(delete(TransformRow).where(TransformRow.name == record.name))
    other = session.scalar(select(TransformRow.id).filter_by(**kind, active=True))
    if record.active and other is not None and on_conflict == REPLACE:
        session.execute(update(TransformRow).filter_by(**kind).values(active=False))
        other = None
    session.add(
        TransformRow(
            name=record.name, encoder_id=encoder_id, method=record.method, modality=record.modality,
            parameterisation=record.parameterisation, version=record.version, data=record.data,
            checksum=blobs.checksum(record.data), report=dict(record.report),
            active=record.active and other is None, created_at=record.created_at,
        )
    )  # fmt: skip
    session.flush()
    return True
