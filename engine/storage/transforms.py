"""Linear maps of features, stored beside the statistics that they map: versions, which one is active, checksums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnExpressionArgument, delete, func, select, update
from sqlalchemy.orm import Session

from engine.errors import CorruptData, TransformNotFound
from engine.records import Transform
from engine.storage import blobs
from engine.storage.database import Database
from engine.storage.model_rows import aware, now
from engine.storage.ordering import ByBytes
from engine.storage.tables import EncoderRow, TransformRow
from engine.texts import is_storable

AXES: Mapping[str, Mapping[str, int]] = {
    "diagonal": {"diagonal": 1},
    "triangular": {"matrix": 2},
    "full": {"matrix": 2},
    "whitening": {"whiten": 2, "centre": 1, "average": 1, "between": 2},
}
"""By parameterisation: the arrays that make a transform, and how many axes of length d each has."""


class Transforms:
    """The transforms of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def all(self) -> list[Transform]:
        """Every transform, by name."""
        return self._read()

    def active(self, encoder_id: int) -> list[Transform]:
        """Those that searches use by themselves."""
        return self._read(TransformRow.encoder_id == encoder_id, TransformRow.active)

    def get(self, name: str) -> Transform:
        """The transform of that name.

        Raises:
            TransformNotFound: there is none; the hint names those that there are.
        """
        with self.database.read() as session:
            return _record(_row(session, name))

    def arrays(self, transform: Transform) -> dict[str, NDArray[np.float32]]:
        """Its arrays, named as in ``AXES``.

        Raises:
            CorruptData: what is stored does not match its checksum.
            TransformNotFound: it has been removed.
        """
        with self.database.read() as session:
            row = _row(session, transform.name)
            dimension = session.get_one(EncoderRow, row.encoder_id).dimension
            try:
                axes = AXES[row.parameterisation]
                return blobs.blob_to_arrays(row.data, transform.checksum, axes=axes, dimension=dimension)
            except (CorruptData, KeyError) as error:
                raise CorruptData(
                    f"the transform {transform.name} is damaged: {error}",
                    hint=f"engine transforms remove {transform.name}, and make it again",
                ) from error

    def add(
        self,
        encoder_id: int,
        method: str,
        modality: str,
        parameterisation: str,
        arrays: Mapping[str, NDArray[np.float32]],
        report: Mapping[str, Any],
        *,
        activate: bool,
        replace: bool = False,
    ) -> Transform:
        """Store the next version of a transform; ``replace`` removes the versions before it."""
        assert {name: array.ndim for name, array in arrays.items()} == AXES[parameterisation]
        data = blobs.arrays_to_blob(arrays)
        kind = {"method": method, "modality": modality, "parameterisation": parameterisation}
        with self.database.write() as session:
            latest = session.scalar(select(func.max(TransformRow.version)).filter_by(**kind)) or 0
            if replace:
                session.execute(delete(TransformRow).filter_by(encoder_id=encoder_id, **kind))
            if activate:
                _deactivate(session, encoder_id, method, modality)
            row = TransformRow(
                name=f"{modality}-{method}-{parameterisation}-{latest + 1}",
                encoder_id=encoder_id,
                version=latest + 1,
                data=data,
                checksum=blobs.checksum(data),
                report=dict(report),
                active=activate,
                created_at=now(),
                **kind,
            )
            session.add(row)
            session.flush()
            return _record(row)

    def activate(self, name: str) -> Transform:
        """Let searches use it by themselves, instead of the one that they used.

        Raises:
            TransformNotFound
        """
        with self.database.write() as session:
            row = _row(session, name)
            _deactivate(session, row.encoder_id, row.method, row.modality)
            row.active = True
            session.flush()
            return _record(row)

    def deactivate(self, name: str) -> Transform:
        """Keep it, but let searches use it only when it is named.

        Raises:
            TransformNotFound
        """
        with self.database.write() as session:
            row = _row(session, name)
            row.active = False
            session.flush()
            return _record(row)

    def remove(self, name: str) -> Transform:
        """Forget it; what it was.

        Raises:
            TransformNotFound
        """
        with self.database.write() as session:
            row = _row(session, name)
            removed = _record(row)
            session.delete(row)
            return removed

    def _read(self, *conditions: ColumnExpressionArgument[bool]) -> list[Transform]:
        with self.database.read() as session:
            return read_transforms(session, *conditions)


def read_transforms(session: Session, *conditions: ColumnExpressionArgument[bool]) -> list[Transform]:
    """The transforms that fulfil conditions, by name."""
    query = select(TransformRow).where(*conditions).order_by(ByBytes(TransformRow.name))
    return [_record(row) for row in session.scalars(query)]


def _deactivate(session: Session, encoder_id: int, method: str, modality: str) -> None:
    session.execute(
        update(TransformRow).filter_by(encoder_id=encoder_id, method=method, modality=modality).values(active=False)
    )


def _row(session: Session, name: str) -> TransformRow:
    named = select(TransformRow).where(TransformRow.name == name)
    row = session.scalar(named) if isinstance(name, str) and is_storable(name) else None
    if row is None:
        names = session.scalars(select(TransformRow.name).order_by(ByBytes(TransformRow.name))).all()
        raise TransformNotFound(
            f"there is no transform named {name!r}",
            hint=f"there are {', '.join(names)}" if names else "engine learn makes one",
        )
    return row


def _record(row: TransformRow) -> Transform:
    return Transform(
        id=row.id,
        name=row.name,
        encoder_id=row.encoder_id,
        method=row.method,
        modality=row.modality,
        parameterisation=row.parameterisation,
        version=row.version,
        checksum=row.checksum,
        report=dict(row.report) if isinstance(row.report, dict) else {},
        active=row.active,
        created_at=aware(row.created_at),
    )
