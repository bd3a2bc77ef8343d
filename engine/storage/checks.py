"""What the doctor asks of a database: whether its file is whole, and every stored blob, a block at a time.

Blocks are read in transactions of their own, in the order of ids: a long examination holds up no writer and no
checkpoint of the log, and of a million models a few dozen are in memory. What is written meanwhile is either seen as it
was or as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Text, and_, delete, func, select, text, update
from sqlalchemy import cast as sql_cast

from engine.errors import CorruptData
from engine.records import Thumbnail
from engine.storage import blobs
from engine.storage.database import Database
from engine.storage.model_rows import add_change, chunks
from engine.storage.tables import (
    Base,
    ChangeRow,
    CheckpointRow,
    EncoderRow,
    ModelRow,
    NeighbourRow,
    SampleFeaturesRow,
    StatisticsRow,
    ThumbnailRow,
    TransformRow,
)
from engine.texts import is_storable

BYTES = 32 * 2**20
"""Of blobs in memory at a time."""
MOST = 4096  # rows of a block
JSON_COLUMNS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "models": (ModelRow, ("links", "metadata", "source", "generator")),
    "statistics": (StatisticsRow, ("quarantine",)),
    "encoders": (EncoderRow, ("modalities",)),
    "transforms": (TransformRow, ("report",)),
}
LISTS = {"quarantine", "modalities"}


@dataclass(frozen=True)
class Fault:
    """What is wrong with what is stored of one model under one encoder."""

    model_id: int
    reason: str


@dataclass(frozen=True, eq=False)
class Means:
    """Models ``(n,)`` whose mean is whole, their means ``(n, d)``, and the changes that wrote them ``(n,)``."""

    ids: NDArray[np.int64]
    means: NDArray[np.float32]
    changes: NDArray[np.int64]


class Checks:
    """The questions about one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- the file and the references in it

    def file_faults(self) -> list[str]:
        """What the database says of its own pages and indexes; nothing where all is well."""
        try:
            with self.database.read() as session:
                if self.database.is_sqlite:
                    said = session.execute(text("PRAGMA integrity_check")).scalars().all()
                    return [line for line in said if line != "ok"]
                invalid = (
                    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid"
                )
                return [f"the index {name} is not valid" for name in session.execute(text(invalid)).scalars()]
        except CorruptData as error:
            return [error.message]

    def orphans(self) -> dict[str, int]:
        """How many rows of each table refer to a row that is not there, by table."""
        found: dict[str, int] = {}
        with self.database.read() as session:
            for table, lost in _orphaned():
                count = session.scalar(select(func.count()).select_from(table).where(lost)) or 0
                if count:
                    found[table.name] = found.get(table.name, 0) + count
        return found

    def remove_orphans(self) -> None:
        """Remove rows that refer to what is not there: ids are never used again, so nothing can reach them."""
        with self.database.write() as session:
            for table, lost in _orphaned():
                session.execute(delete(table).where(lost))

    def without_change(self, encoder_id: int) -> list[int]:
        """Models whose statistics name a change that the sequence does not have."""
        with self.database.read() as session:
            return list(session.scalars(_without_change(encoder_id)))

    def give_changes(self, encoder_id: int) -> None:
        """Enter those into the sequence again, so that every index takes them in."""
        with self.database.write() as session:
            for model_id in session.scalars(_without_change(encoder_id)).all():
                change = add_change(session, model_id, encoder_id, "put")
                session.execute(
                    update(StatisticsRow)
                    .filter_by(model_id=model_id, encoder_id=encoder_id)
                    .values(change=change, neighbours_change=None)
                )

    # --- blobs

    def statistics(self, encoder_id: int) -> Iterator[tuple[int, list[Fault]]]:
        """For each block of models: how many there were, and what is wrong with their moments."""
        row = StatisticsRow
        columns = (row.mean, row.covariance, row.mean_checksum, row.checksum, row.epsilon, row.samples)
        dimension = self._dimension(encoder_id)
        each = 2 * dimension * (dimension + 3)
        for rows in self._blocks(row, columns, encoder_id, each):
            found = ((one.model_id, _moments_fault(one, dimension)) for one in rows)
            yield len(rows), [Fault(model_id, reason) for model_id, reason in found if reason]

    def features(self, encoder_id: int, each: int) -> Iterator[tuple[int, list[Fault]]]:
        """The same for kept sample features, of which a model has ``each`` at most."""
        row = SampleFeaturesRow
        dimension = self._dimension(encoder_id)
        for rows in self._blocks(row, (row.data, row.checksum, row.count), encoder_id, 2 * dimension * each):
            found = ((one.model_id, _features_fault(one, dimension)) for one in rows)
            yield len(rows), [Fault(model_id, reason) for model_id, reason in found if reason]

    def means(self, encoder_id: int) -> Iterator[Means]:
        """Every model's mean, in blocks, those that are damaged left out."""
        row = StatisticsRow
        dimension = self._dimension(encoder_id)
        for rows in self._blocks(row, (row.mean, row.mean_checksum, row.change), encoder_id, 4 * dimension):
            good = [one for one in rows if not _mean_fault(one, dimension)]
            yield Means(
                np.array([one.model_id for one in good], np.int64),
                np.frombuffer(b"".join(one.mean for one in good), blobs.FLOAT32).reshape(len(good), dimension),
                np.array([one.change for one in good], np.int64),
            )

    def removed_since(self, change: int) -> list[int]:
        """Models that were removed after a change."""
        with self.database.read() as session:
            query = select(ChangeRow.model_id).where(ChangeRow.seq > change, ChangeRow.op == "remove")
            return list(session.scalars(query))

    def names(self) -> Iterator[tuple[int, str]]:
        """Every model's id and name."""
        last = -1
        while True:
            with self.database.read() as session:
                query = select(ModelRow.id, ModelRow.name).where(ModelRow.id > last).order_by(ModelRow.id).limit(MOST)
                rows = session.execute(query).all()
            if not rows:
                return
            yield from ((row.id, row.name) for row in rows)
            last = rows[-1].id

    def thumbnails(self) -> Iterator[tuple[int, int, Thumbnail]]:
        """Every preview, with its model's id and its place."""
        last = (-1, -1)
        while True:
            with self.database.read() as session:
                query = (
                    select(ThumbnailRow.model_id, ThumbnailRow.position, ThumbnailRow.media_type, ThumbnailRow.data)
                    .where(
                        (ThumbnailRow.model_id > last[0])
                        | and_(ThumbnailRow.model_id == last[0], ThumbnailRow.position > last[1])
                    )
                    .order_by(ThumbnailRow.model_id, ThumbnailRow.position)
                    .limit(256)
                )
                rows = session.execute(query).all()
            if not rows:
                return
            for model_id, position, media_type, data in rows:
                yield model_id, position, Thumbnail(data, media_type)
            last = rows[-1][0], rows[-1][1]

    def checkpoints(self) -> Iterator[tuple[str, int, bytes]]:
        """Every checkpoint: the model's name, the encoder, the bytes; one at a time."""
        with self.database.read() as session:
            keys = session.execute(select(CheckpointRow.name, CheckpointRow.encoder_id)).all()
        for name, encoder_id in keys:
            with self.database.read() as session:
                state = session.scalar(select(CheckpointRow.state).filter_by(name=name, encoder_id=encoder_id))
            if state is not None:
                yield name, encoder_id, state

    def json_faults(self) -> Iterator[tuple[str, str, int]]:
        """JSON that cannot be read, or is of another kind than it should be: ``(table, column, row's id)``."""
        for table, (row, names) in JSON_COLUMNS.items():
            columns = row.__table__.c
            key = columns.model_id if table == "statistics" else columns.id
            texts = [sql_cast(columns[name], Text).label(name) for name in names]
            last = -1
            while True:
                with self.database.read() as session:
                    query = select(key.label("key"), *texts).where(key > last).order_by(key).limit(MOST)
                    rows = session.execute(query).all()
                if not rows:
                    break
                for one in rows:
                    for name, value in zip(names, one[1:], strict=True):
                        if not _is_json(value, list if name in LISTS else dict, missing=name == "generator"):
                            yield table, name, one.key
                last = rows[-1].key

    # --- lists of similar models

    def wrong_neighbours(self, encoder_id: int) -> list[int]:
        """Models in whose lists a distance is negative, or not that of the list that it was entered into as well."""
        mine, other = NeighbourRow.__table__.alias("mine"), NeighbourRow.__table__.alias("other")
        both = and_(
            other.c.encoder_id == mine.c.encoder_id,
            other.c.distance == mine.c.distance,
            other.c.model_id == mine.c.neighbour_id,
            other.c.neighbour_id == mine.c.model_id,
        )
        query = (
            select(mine.c.model_id)
            .select_from(mine.outerjoin(other, both))
            .where(
                mine.c.encoder_id == encoder_id,
                (mine.c.value != other.c.value) | ~mine.c.value.between(0, 1e300),
            )
            .distinct()
        )
        with self.database.read() as session:
            return list(session.scalars(query))

    def forget_lists(self, encoder_id: int, ids: list[int]) -> None:
        """Have the lists of some models made again."""
        with self.database.write() as session:
            for block in chunks(ids):
                session.execute(
                    update(StatisticsRow)
                    .where(StatisticsRow.encoder_id == encoder_id, StatisticsRow.model_id.in_(block))
                    .values(neighbours_change=None)
                    .execution_options(synchronize_session=False)
                )
                session.execute(
                    delete(NeighbourRow)
                    .where(NeighbourRow.encoder_id == encoder_id, NeighbourRow.model_id.in_(block))
                    .execution_options(synchronize_session=False)
                )

    # --- helpers of these

    def _dimension(self, encoder_id: int) -> int:
        with self.database.read() as session:
            return int(session.scalars(select(EncoderRow.dimension).filter_by(id=encoder_id)).one())

    def _blocks(
        self, row: type[StatisticsRow] | type[SampleFeaturesRow], columns: tuple[Any, ...], encoder_id: int, each: int
    ) -> Iterator[list[Any]]:
        last, most = -1, min(max(BYTES // max(each, 1), 1), MOST)
        while True:
            with self.database.read() as session:
                query = (
                    select(row.model_id, *columns)
                    .where(row.encoder_id == encoder_id, row.model_id > last)
                    .order_by(row.model_id)
                    .limit(most)
                )
                rows = list(session.execute(query).all())
            if not rows:
                return
            yield rows
            last = rows[-1].model_id


def _orphaned() -> Iterator[tuple[Any, Any]]:
    """Each table with a condition that its row refers to one that is not there."""
    for table in Base.metadata.sorted_tables:
        for constraint in sorted(table.foreign_key_constraints, key=lambda one: str(one.name)):
            (element,) = constraint.elements
            yield table, element.parent.not_in(select(element.column))
    features = SampleFeaturesRow.__table__.c
    measured = select(StatisticsRow.model_id).where(
        StatisticsRow.model_id == features.model_id, StatisticsRow.encoder_id == features.encoder_id
    )
    yield SampleFeaturesRow.__table__, ~measured.exists()


def _without_change(encoder_id: int) -> Any:
    named = select(ChangeRow.seq).where(
        ChangeRow.seq == StatisticsRow.change, ChangeRow.model_id == StatisticsRow.model_id
    )
    return select(StatisticsRow.model_id).where(StatisticsRow.encoder_id == encoder_id, ~named.exists())


def _mean_fault(row: Any, dimension: int) -> str:
    try:
        blobs.blob_to_mean(row.mean, row.mean_checksum, dimension=dimension)
    except CorruptData as error:
        return error.message
    return ""


def _moments_fault(row: Any, dimension: int) -> str:
    try:
        blobs.blob_to_mean(row.mean, row.mean_checksum, dimension=dimension)
        blobs.check_moments(row.mean, row.covariance, row.checksum, dimension=dimension, epsilon=row.epsilon)
    except CorruptData as error:
        return error.message
    if not (np.isfinite(row.epsilon) and row.epsilon > 0 and row.samples >= 1):
        return f"epsilon is {row.epsilon} and the sample count {row.samples}"
    return ""


def _features_fault(row: Any, dimension: int) -> str:
    try:
        blobs.blob_to_features(row.data, row.checksum, dimension=dimension, count=row.count)
    except CorruptData as error:
        return error.message
    return ""


def _is_json(value: str | None, kind: type, *, missing: bool) -> bool:
    if value is None:
        return missing
    try:
        return is_storable(value) and isinstance(json.loads(value), kind)
    except (ValueError, RecursionError):
        return False
