"""Lists of similar models, kept up to date as models come and go."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, islice
from operator import itemgetter

from sqlalchemy import bindparam, delete, func, or_, select, update
from sqlalchemy.orm import Session

from engine.storage.database import Database
from engine.storage.insert_rows import insert_rows
from engine.storage.model_rows import add_change, chunks
from engine.storage.tables import ModelRow, NeighbourRow, StatisticsRow, row_to_table

_TABLE = row_to_table(NeighbourRow)
_LEAVE = delete(_TABLE).where(
    _TABLE.c.encoder_id == bindparam("encoder_id"), _TABLE.c.distance == bindparam("distance"),
    _TABLE.c.model_id == bindparam("owner"), _TABLE.c.neighbour_id == bindparam("last"),
)  # fmt: skip


def forget_neighbours(session: Session, model_id: int, encoder_id: int) -> None:
    """A model's statistics change or go: drop it from every list, and have the lists it leaves computed again."""
    touched = select(NeighbourRow.model_id).where(
        NeighbourRow.encoder_id == encoder_id, NeighbourRow.neighbour_id == model_id
    )
    session.execute(
        update(StatisticsRow)
        .where(StatisticsRow.encoder_id == encoder_id, StatisticsRow.model_id.in_(touched))
        .values(neighbours_change=None)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        delete(NeighbourRow)
        .where(
            NeighbourRow.encoder_id == encoder_id,
            or_(NeighbourRow.model_id == model_id, NeighbourRow.neighbour_id == model_id),
        )
        .execution_options(synchronize_session=False)
    )


def remove_row(session: Session, row: ModelRow) -> None:
    """Remove a model and all its data."""
    encoders = select(StatisticsRow.encoder_id).where(StatisticsRow.model_id == row.id)
    for encoder_id in session.scalars(encoders).all():
        forget_neighbours(session, row.id, encoder_id)
    add_change(session, row.id, None, "remove")
    session.delete(row)


class Neighbours:
    """The stored lists of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def nearest(self, encoder_id: int, distance: str, model_id: int, k: int) -> list[tuple[int, float]]:
        """``(neighbour id, distance)``, nearest first."""
        with self.database.read() as session:
            query = (
                select(NeighbourRow.neighbour_id, NeighbourRow.value)
                .filter_by(encoder_id=encoder_id, distance=distance, model_id=model_id)
                .order_by(NeighbourRow.value, NeighbourRow.neighbour_id)
                .limit(k)
            )
            return [(row.neighbour_id, row.value) for row in session.execute(query)]

    def pending(self, encoder_id: int) -> list[int]:
        """Models with a covariance whose lists are not those of their current statistics."""
        with self.database.read() as session:
            query = (
                select(StatisticsRow.model_id)
                .where(
                    StatisticsRow.encoder_id == encoder_id,
                    StatisticsRow.covariance.is_not(None),
                    or_(
                        StatisticsRow.neighbours_change.is_(None),
                        StatisticsRow.neighbours_change != StatisticsRow.change,
                    ),
                )
                .order_by(StatisticsRow.model_id)
            )
            return list(session.scalars(query))

    def put(
        self,
        encoder_id: int,
        distance: str,
        model_id: int,
        change: int,
        values: Sequence[tuple[int, float]],
        *,
        keep: int,
    ) -> None:
        """Store a model's distances to others, both ways, keeping the ``keep`` nearest of every list touched.

        Nothing is written when the model's statistics are no longer those of ``change``.
        """
        with self.database.write() as session:
            mine = session.get(StatisticsRow, (model_id, encoder_id))
            if mine is None or mine.change != change:
                return
            alive: set[int] = set()
            for block in chunks(other for other, _ in values):
                query = select(StatisticsRow.model_id).where(
                    StatisticsRow.encoder_id == encoder_id, StatisticsRow.model_id.in_(block)
                )
                alive.update(session.scalars(query))
            current = [(other, value) for other, value in values if other in alive and other != model_id]
            key = {"encoder_id": encoder_id, "distance": distance}
            owners = [other for other, _ in current]
            _take_out(session, key, model_id, owners)
            rows = [(model_id, *pair) for pair in sorted(current, key=lambda pair: pair[1])[:keep]]
            full = _full_lists(session, key, owners, keep)
            entered = [(other, value) for other, value in current if other not in full or value < full[other]]
            leaving = _beyond(session, key, [other for other, _ in entered if other in full], keep - 1)
            if leaving:
                session.connection().execute(_LEAVE, leaving)
            rows += [(other, model_id, value) for other, value in entered]
            if rows:
                columns = dict(zip(("model_id", "neighbour_id", "value"), zip(*rows, strict=True), strict=True))
                insert_rows(session.connection(), _TABLE, columns, key)
            mine.neighbours_change = change


def _take_out(session: Session, key: dict[str, object], model_id: int, owners: Sequence[int]) -> None:
    """Empty a model's list, and take the model out of those of others."""
    session.execute(delete(_TABLE).filter_by(**key, model_id=model_id))
    for block in chunks(owners):
        session.execute(delete(_TABLE).filter_by(**key, neighbour_id=model_id).where(_TABLE.c.model_id.in_(block)))


def _full_lists(session: Session, key: dict[str, object], owners: Sequence[int], keep: int) -> dict[int, float]:
    """The largest distance in the list of each owner that has ``keep`` or more."""
    largest: dict[int, float] = {}
    for block in chunks(owners):
        query = select(_TABLE.c.model_id, func.max(_TABLE.c.value)).filter_by(**key).where(_TABLE.c.model_id.in_(block))
        full = query.group_by(_TABLE.c.model_id).having(func.count() >= keep)
        largest.update((row.model_id, row[1]) for row in session.execute(full))
    return largest


def _beyond(session: Session, key: dict[str, object], owners: Sequence[int], keep: int) -> list[dict[str, object]]:
    """Of each owner's list what comes after its ``keep`` nearest, as parameters of ``_LEAVE``.

    As rows, not objects: there may be thousands for every model that is taken in.
    """
    found: list[dict[str, object]] = []
    columns = _TABLE.c.model_id, _TABLE.c.value, _TABLE.c.neighbour_id
    for block in chunks(owners):
        query = select(*columns).filter_by(**key).where(_TABLE.c.model_id.in_(block)).order_by(*columns)
        for owner, rows in groupby(session.execute(query).all(), key=itemgetter(0)):
            found += [{**key, "owner": owner, "last": other} for _, _, other in islice(rows, keep, None)]
    return found
