"""What search reads of a collection: means, moments, sample features, and which change wrote them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, func, select

from engine.errors import CorruptData
from engine.records import Quarantined, StoredStatistics, Thumbnail
from engine.storage import blobs
from engine.storage.database import Database
from engine.storage.model_rows import LAST_CHANGE, chunks
from engine.storage.tables import (
    ChangeRow,
    EncoderRow,
    SampleFeaturesRow,
    StatisticsRow,
    ThumbnailRow,
    row_to_table,
)

CHUNK_ROWS = 4096
MOMENTS = (
    StatisticsRow.model_id, StatisticsRow.mean, StatisticsRow.covariance, StatisticsRow.checksum,
    StatisticsRow.epsilon, StatisticsRow.samples, StatisticsRow.change,
)  # fmt: skip
FEATURES = (
    SampleFeaturesRow.model_id, SampleFeaturesRow.data, SampleFeaturesRow.checksum, SampleFeaturesRow.count
)  # fmt: skip
Value = TypeVar("Value")

# Made once, of tables: a search after a change waits for these, and composing them costs more than SQLite's answers.
_CHANGES, _STATISTICS, _ENCODERS = map(row_to_table, (ChangeRow, StatisticsRow, EncoderRow))
_SINCE = (_STATISTICS.c.encoder_id == bindparam("encoder_id"), _STATISTICS.c.change > bindparam("change"))
_EXTENT = select(
    LAST_CHANGE.scalar_subquery(),
    select(func.count()).select_from(_STATISTICS).where(*_SINCE).scalar_subquery(),
    _ENCODERS.c.dimension,
).where(_ENCODERS.c.id == bindparam("encoder_id"))
_MEANS = (
    select(_STATISTICS.c.model_id, _STATISTICS.c.mean, _STATISTICS.c.mean_checksum)
    .where(*_SINCE)
    .order_by(_STATISTICS.c.model_id)
    .execution_options(yield_per=CHUNK_ROWS)
)
_CHANGED = select(_STATISTICS.c.model_id, _STATISTICS.c.change).where(*_SINCE)
_REMOVED = select(_CHANGES.c.model_id).where(_CHANGES.c.seq > bindparam("change"), _CHANGES.c.op == "remove")


class StatisticsReads:
    """The questions about statistics. ``Catalog`` is built on it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def statistics_count(self, encoder_id: int) -> int:
        """How many models have statistics of an encoder."""
        with self.database.read() as session:
            query = select(func.count()).select_from(StatisticsRow).filter_by(encoder_id=encoder_id)
            return session.scalar(query) or 0

    def last_change(self) -> int:
        """The newest change's number, 0 before the first."""
        with self.database.read() as session:
            return int(session.scalars(LAST_CHANGE).one())

    def means_since(
        self, encoder_id: int, change: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], list[int], list[int], int]:
        """What happened after ``change``: ``(ids, means (n, d), removed ids, damaged ids, newest change)``."""
        with self.database.read() as session:
            since = {"encoder_id": encoder_id, "change": change}
            newest, count, dimension = session.execute(_EXTENT, since).one()
            ids: list[int] = []
            damaged: list[int] = []
            means = np.empty((count, dimension), np.float32)
            for model_id, mean, expected in session.execute(_MEANS, since):
                try:
                    means[len(ids)] = blobs.blob_to_mean(mean, expected, dimension=dimension)
                except CorruptData:
                    damaged.append(model_id)
                else:
                    ids.append(model_id)
            removed = session.scalars(_REMOVED, {"change": change}).all()
            return np.array(ids, np.int64), means[: len(ids)], list(removed), damaged, newest

    def changes_behind(self, encoder_id: int, change: int) -> int:
        """How many changes after ``change`` concern an encoder's index."""
        with self.database.read() as session:
            concerns = (ChangeRow.encoder_id == encoder_id) | ChangeRow.encoder_id.is_(None)
            return session.scalar(select(func.count()).where(ChangeRow.seq > change, concerns)) or 0

    def changes_of(self, encoder_id: int, ids: Iterable[int]) -> dict[int, int]:
        """For each model, the change that wrote its statistics: a cache's version tag."""
        with self.database.read() as session:
            found: dict[int, int] = {}
            for block in chunks(ids):
                query = select(StatisticsRow.model_id, StatisticsRow.change).where(
                    StatisticsRow.encoder_id == encoder_id, StatisticsRow.model_id.in_(block)
                )
                found.update((row.model_id, row.change) for row in session.execute(query))
            return found

    def all_changes(self, encoder_id: int) -> dict[int, int]:
        """As ``changes_of`` of every model, by id: what the collection is made of."""
        with self.database.read() as session:
            query = (
                select(StatisticsRow.model_id, StatisticsRow.change)
                .filter_by(encoder_id=encoder_id)
                .order_by(StatisticsRow.model_id)
            )
            return {row.model_id: row.change for row in session.execute(query)}

    def changes_since(self, encoder_id: int, change: int) -> tuple[dict[int, int], list[int], int]:
        """What ``all_changes`` says differently after ``change``: ``(changes by id, removed ids, newest change)``."""
        with self.database.read() as session:
            newest = session.scalars(LAST_CHANGE).one()
            changed = session.execute(_CHANGED, {"encoder_id": encoder_id, "change": change})
            found = {row.model_id: row.change for row in changed}
            return found, list(session.scalars(_REMOVED, {"change": change})), newest

    def statistics(self, encoder_id: int, ids: Iterable[int]) -> tuple[dict[int, StoredStatistics], dict[int, str]]:
        """Moments by id, and the reason for each whose checksum does not hold."""

        def decode(row: Any, dimension: int) -> StoredStatistics:
            moments = blobs.blobs_to_statistics(
                row.mean, row.covariance, row.checksum,
                dimension=dimension, epsilon=row.epsilon, samples=row.samples,
            )  # fmt: skip
            return StoredStatistics(row.model_id, moments, row.change)

        return self._decoded(StatisticsRow, MOMENTS, encoder_id, ids, decode)

    def sample_features(
        self, encoder_id: int, ids: Iterable[int]
    ) -> tuple[dict[int, NDArray[np.float32]], dict[int, str]]:
        """Stored sample features ``(n, d)`` float32 by id, and the reason for each that is damaged."""

        def decode(row: Any, dimension: int) -> NDArray[np.float32]:
            return blobs.blob_to_features(row.data, row.checksum, dimension=dimension, count=row.count)

        return self._decoded(SampleFeaturesRow, FEATURES, encoder_id, ids, decode)

    def _decoded(
        self,
        table: type[StatisticsRow] | type[SampleFeaturesRow],
        columns: tuple[Any, ...],
        encoder_id: int,
        ids: Iterable[int],
        decode: Callable[[Any, int], Value],
    ) -> tuple[dict[int, Value], dict[int, str]]:
        """Some columns of a table by model id, decoded, and the reason for each that is damaged.

        The columns alone: what is damaged elsewhere in a row is no reason to leave out what is whole.
        """
        good: dict[int, Value] = {}
        damaged: dict[int, str] = {}
        with self.database.read() as session:
            dimension = session.get_one(EncoderRow, encoder_id).dimension
            for block in chunks(ids):
                query = select(*columns).where(table.encoder_id == encoder_id, table.model_id.in_(block))
                for row in session.execute(query):
                    try:
                        good[row.model_id] = decode(row, dimension)
                    except CorruptData as error:
                        damaged[row.model_id] = error.message
        return good, damaged

    def thumbnails(self, model_id: int) -> list[Thumbnail]:
        """A model's previews, in order."""
        with self.database.read() as session:
            query = select(ThumbnailRow).filter_by(model_id=model_id).order_by(ThumbnailRow.position)
            return [Thumbnail(row.data, row.media_type) for row in session.scalars(query)]

    def quarantine(self, model_id: int) -> list[Quarantined]:
        """The samples that were left out (the first hundred of each encoder)."""
        with self.database.read() as session:
            query = select(StatisticsRow.quarantine).where(StatisticsRow.model_id == model_id)
            return [
                Quarantined(*map(str, pair))
                for rows in session.scalars(query)
                if isinstance(rows, list)
                for pair in rows
                if isinstance(pair, list) and len(pair) == 2
            ]
