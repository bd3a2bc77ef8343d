"""The catalogue of models: every question and every change, one transaction each. It returns records, never rows."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from engine.filters import Where
from engine.records import EncoderIdentity, Ingested, Model, Models, Origin
from engine.storage import blobs
from engine.storage.database import Database
from engine.storage.details import checked_details, checked_name
from engine.storage.encoder_rows import find_encoder, put_encoder, read_encoders
from engine.storage.filters import where_to_conditions
from engine.storage.model_rows import (
    add_change,
    apply_details,
    chunks,
    find_row,
    new_row,
    now,
    read_models,
    remove_unused_tags,
    rename,
    row_of,
    rows_to_models,
)
from engine.storage.neighbours import forget_neighbours, remove_row
from engine.storage.ordering import ByBytes
from engine.storage.record_cache import RecordCache
from engine.storage.sources import (
    is_passing,
    is_precomputed,
    is_readable,
    is_same,
    origin_to_place,
    other_source,
    row_to_origin,
    write_origin,
)
from engine.storage.statistics_reads import StatisticsReads
from engine.storage.tables import (
    CheckpointRow,
    CollectionRow,
    EncoderRow,
    ModelRow,
    SampleFeaturesRow,
    StatisticsRow,
    ThumbnailRow,
)

_ENCODERS_OF = (
    select(EncoderRow.name)
    .join(StatisticsRow, StatisticsRow.encoder_id == EncoderRow.id)
    .where(StatisticsRow.model_id == bindparam("model_id"))
)


class Catalog(StatisticsReads):
    """Questions and changes to one database whose schema is current."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._records = RecordCache()

    # --- the collection and its encoders

    def initialise(self, default_encoder: str) -> None:
        """Give a fresh schema its identity; on a collection that has one, change nothing."""
        with self.database.write() as session:
            if session.get(CollectionRow, "id") is None:
                session.add(CollectionRow(key="id", value=uuid.uuid4().hex))
                session.add(CollectionRow(key="default_encoder", value=default_encoder))

    def facts(self) -> dict[str, str]:
        """The collection's ``id`` and ``default_encoder``."""
        with self.database.read() as session:
            return {row.key: row.value for row in session.scalars(select(CollectionRow))}

    def set_fact(self, key: str, value: str) -> None:
        """Change one of the collection's facts."""
        with self.database.write() as session:
            session.merge(CollectionRow(key=key, value=value))

    def encoders(self) -> dict[int, EncoderIdentity]:
        """The encoders that made statistics here, by id."""
        with self.database.read() as session:
            return read_encoders(session)

    def register_encoder(self, identity: EncoderIdentity) -> int:
        """The id of an encoder, registering it if it is new.

        Raises:
            EncoderMismatch: that name stands here for other weights or another preprocessing.
        """
        known = self.encoder_id(identity)
        if known is not None:
            return known
        with self.database.write() as session:
            return put_encoder(session, identity, now())

    def encoder_id(self, identity: EncoderIdentity) -> int | None:
        """The id of an encoder, or None if it is not registered.

        Raises:
            EncoderMismatch: that name stands here for other weights or another preprocessing.
        """
        with self.database.read() as session:
            return find_encoder(session, identity)

    # --- models

    def put(self, ingested: Ingested, encoder_id: int, *, replace: bool = False, add: bool = False) -> Model:
        """Write or replace a model's statistics under one encoder, with all that goes with them, at once.

        Args:
            replace: a model from another source is removed with everything of it, and this one takes its name.
            add: features or moments from another source, of an encoder that the model has no statistics of, are added.

        Raises:
            DuplicateName: the model is from another source (see ``storage.sources``), and neither was allowed.
        """
        details = checked_details(ingested.details)
        statistics = ingested.statistics
        mean, covariance = (
            blobs.mean_to_blob(statistics.mean),
            blobs.covariance_to_blob(statistics.covariance),
        )
        with self.database.write() as session:
            encoder = session.get_one(EncoderRow, encoder_id).name
            row = find_row(session, ingested.name)
            fate = None if row is None else _fate(session, row, encoder, ingested.origin, replace=replace, add=add)
            if row is not None and fate == "replaced":
                remove_row(session, row)
                session.flush()  # the name must be free before it is given again
                row = None
            if row is None:
                row = new_row(session, checked_name(ingested.name), ingested.kind)
            apply_details(session, row, details)
            write_origin(row, encoder, ingested.origin, added=fate == "added")
            session.flush()
            change = add_change(session, row.id, encoder_id, "put")
            forget_neighbours(session, row.id, encoder_id)
            session.merge(
                StatisticsRow(
                    model_id=row.id,
                    encoder_id=encoder_id,
                    samples=statistics.samples,
                    epsilon=statistics.epsilon,
                    mean=mean,
                    covariance=covariance,
                    mean_checksum=blobs.checksum(mean),
                    checksum=blobs.checksum(mean, covariance or b""),
                    source_digest=ingested.source_digest,
                    quarantined=len(ingested.quarantine),
                    quarantine=[[q.label, q.reason] for q in ingested.quarantine[:100]],
                    change=change,
                    neighbours_change=None,
                    updated_at=now(),
                )
            )
            key = {"model_id": row.id, "encoder_id": encoder_id}
            session.execute(delete(SampleFeaturesRow).filter_by(**key))
            if ingested.sample_features is not None and len(ingested.sample_features):
                data = blobs.features_to_blob(ingested.sample_features)
                count = len(ingested.sample_features)
                session.add(SampleFeaturesRow(**key, count=count, data=data, checksum=blobs.checksum(data)))
            if ingested.thumbnails:
                session.execute(delete(ThumbnailRow).where(ThumbnailRow.model_id == row.id))
                session.add_all(
                    ThumbnailRow(model_id=row.id, position=i, media_type=t.media_type, data=t.data)
                    for i, t in enumerate(ingested.thumbnails)
                )
            session.execute(delete(CheckpointRow).filter_by(name=ingested.name, encoder_id=encoder_id))
            remove_unused_tags(session)
            return rows_to_models(session, [row])[0]

    def check_origin(self, name: str, encoder: str, origin: Origin, *, replace: bool, add: bool) -> None:
        """Refuse what ``put`` would refuse, before samples are encoded.

        Raises:
            DuplicateName: as ``put``.
        """
        with self.database.read() as session:
            row = find_row(session, name)
            if row is not None:
                _fate(session, row, encoder, origin, replace=replace, add=add)

    def put_origin(self, name: str, encoder: str, origin: Origin) -> None:
        """Record where unchanged content lies now, if that is elsewhere than it was and can be found again."""
        place = origin_to_place(origin)
        with self.database.read() as session:
            row = find_row(session, name)
            if row is None or is_passing(place) or origin_to_place(row_to_origin(row, encoder)) == place:
                return
        with self.database.write() as session:
            row = row_of(session, name)
            write_origin(row, encoder, origin)
            row.updated_at = now()

    def update(self, name: str, changes: Mapping[str, Any]) -> Model:
        """Change descriptive fields; ``name`` among them renames.

        Raises:
            ModelNotFound, DuplicateName, InvalidInput
        """
        details = checked_details({key: value for key, value in changes.items() if key != "name"})
        with self.database.write() as session:
            row = row_of(session, name)
            if "name" in changes:
                rename(session, row, checked_name(changes["name"]))
            apply_details(session, row, details)
            remove_unused_tags(session)
            return rows_to_models(session, [row])[0]

    def remove(self, name: str) -> None:
        """Remove a model and all its data.

        Raises:
            ModelNotFound
        """
        with self.database.write() as session:
            row = row_of(session, name)
            remove_row(session, row)
            remove_unused_tags(session)

    def model(self, name: str) -> Model:
        """The model of that name.

        Raises:
            ModelNotFound
        """
        with self.database.read() as session:
            return rows_to_models(session, [row_of(session, name)])[0]

    def models(self, where: Where | None = None) -> Models:
        """Every model that a filter admits, by name."""
        with self.database.read() as session:
            conditions, remarks = where_to_conditions(session, where)
            query = select(ModelRow).where(*conditions).order_by(ByBytes(ModelRow.name))
            return Models(read_models(session, query), remarks=remarks)

    def models_by_id(self, ids: Iterable[int]) -> dict[int, Model]:
        """Records by id; ids that are gone are left out. Records that are known and unchanged are not read again."""
        with self.database.read() as session:
            return self._records.read(session, ids)

    def names(self, ids: Iterable[int]) -> dict[int, str]:
        """Names by id; ids that are gone are left out."""
        with self.database.read() as session:
            found: dict[int, str] = {}
            for block in chunks(ids):
                query = select(ModelRow.id, ModelRow.name).where(ModelRow.id.in_(block))
                found.update((row.id, row.name) for row in session.execute(query))
            return found

    def matching(self, where: Where | None) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
        """Ids that a filter admits, ascending, None for all; and remarks about values that no model has."""
        if where is None:
            return None, ()
        with self.database.read() as session:
            conditions, remarks = where_to_conditions(session, where)
            query = select(ModelRow.id).where(*conditions).order_by(ModelRow.id)
            return np.array(session.scalars(query).all(), np.int64), remarks

    def remarks(self, where: Where | None) -> tuple[str, ...]:
        """Sentences about values of a filter that no model has."""
        if where is None:
            return ()
        with self.database.read() as session:
            return where_to_conditions(session, where).remarks

    def count(self) -> int:
        """How many models there are."""
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(ModelRow)) or 0

    # --- what ingest asks

    def source_digest(self, name: str, encoder_id: int) -> str | None:
        """The digest of the content behind a model's statistics, or None if it has none."""
        with self.database.read() as session:
            query = (
                select(StatisticsRow.source_digest)
                .join(ModelRow, ModelRow.id == StatisticsRow.model_id)
                .where(ModelRow.name == name, StatisticsRow.encoder_id == encoder_id)
            )
            return session.scalar(query)

    def is_whole(self, name: str, encoder_id: int) -> bool:
        """Whether what is stored of a model under an encoder matches its checksums, and is finite."""
        model_id = self.model(name).id
        return not any(read(encoder_id, [model_id])[1] for read in (self.statistics, self.sample_features))

    def save_checkpoint(self, name: str, encoder_id: int, digest: str, position: int, state: bytes) -> None:
        """Remember where a running ingest stands."""
        with self.database.write() as session:
            session.merge(
                CheckpointRow(
                    name=name, encoder_id=encoder_id, source_digest=digest, position=position, state=state,
                    updated_at=now(),
                )
            )  # fmt: skip

    def checkpoint(self, name: str, encoder_id: int, digest: str) -> bytes | None:
        """The state of an interrupted ingest of the same content, or None."""
        with self.database.read() as session:
            row = session.get(CheckpointRow, (name, encoder_id))
            return row.state if row is not None and row.source_digest == digest else None

    def drop_checkpoint(self, name: str, encoder_id: int) -> None:
        """Forget an interrupted ingest."""
        with self.database.write() as session:
            session.execute(delete(CheckpointRow).filter_by(name=name, encoder_id=encoder_id))

    def mark_neighbours(self, model_id: int, encoder_id: int, change: int) -> None:
        """Say that a model's lists of similar models are those of the statistics written by ``change``."""
        with self.database.write() as session:
            session.execute(
                update(StatisticsRow)
                .filter_by(model_id=model_id, encoder_id=encoder_id, change=change)
                .values(neighbours_change=change)
            )


def _fate(
    session: Session, row: ModelRow, encoder: str, origin: Origin, *, replace: bool, add: bool
) -> Literal["updated", "added", "replaced"]:
    """What becomes of a model when something is ingested under its name.

    Raises:
        DuplicateName: it is from another source.
    """
    stored = row_to_origin(row, encoder)
    if not is_readable(row) or is_same(stored, origin):
        return "updated"
    if add and is_precomputed(origin) and encoder not in session.scalars(_ENCODERS_OF, {"model_id": row.id}).all():
        return "added"
    if not replace:
        raise other_source(row.name, stored, origin)
    return "replaced"
