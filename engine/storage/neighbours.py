"""Lists of similar models, kept up to date as models come and go."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from engine.storage.database import Database
from engine.storage.model_rows import add_change, chunks
from engine.storage.tables import ModelRow, NeighbourRow, StatisticsRow


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
    """Remove a model and everything of it."""
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
            session.execute(delete(NeighbourRow).filter_by(**key, model_id=model_id))
            for other, value in sorted(current, key=lambda pair: pair[1])[:keep]:
                session.add(NeighbourRow(**key, model_id=model_id, neighbour_id=other, value=value))
            lists = _lists(session, key, [other for other, _ in current])
            for other, value in current:
                _insert(session, key, lists.get(other, []), other, model_id, value, keep)
            mine.neighbours_change = change


def _lists(session: Session, key: dict[str, object], owners: Sequence[int]) -> dict[int, list[NeighbourRow]]:
    """The stored lists of several models, each nearest first."""
    lists: dict[int, list[NeighbourRow]] = {}
    for block in chunks(owners):
        query = (
            select(NeighbourRow)
            .filter_by(**key)
            .where(NeighbourRow.model_id.in_(block))
            .order_by(NeighbourRow.model_id, NeighbourRow.value, NeighbourRow.neighbour_id)
        )
        for row in session.scalars(query):
            lists.setdefault(row.model_id, []).append(row)
    return lists


def _insert(
    session: Session,
    key: dict[str, object],
    rows: list[NeighbourRow],
    owner: int,
    other: int,
    value: float,
    keep: int,
) -> None:
    """Put a model into another's list, dropping what no longer fits."""
    mine = next((row for row in rows if row.neighbour_id == other), None)
    if mine is not None:
        mine.value = value
    elif len(rows) < keep or value < rows[-1].value:
        session.add(NeighbourRow(**key, model_id=owner, neighbour_id=other, value=value))
        for row in rows[keep - 1 :]:
            session.delete(row)
