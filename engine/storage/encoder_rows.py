"""Encoder rows to identities and back, inside a session."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, select
from sqlalchemy.orm import Session

from engine.errors import EncoderMismatch
from engine.records import EncoderIdentity
from engine.storage.tables import EncoderRow, row_to_table

INGEST_ELSEWHERE = "install the version that made the collection, or ingest into a new one"

# made once, of the table: a search after a change asks for the encoders, and every ingest for its own
_TABLE = row_to_table(EncoderRow)
_ALL = select(_TABLE).order_by(_TABLE.c.id)
_NAMED = select(_TABLE.c.id, _TABLE.c.fingerprint, _TABLE.c.dimension).where(_TABLE.c.name == bindparam("name"))


def read_encoders(session: Session) -> dict[int, EncoderIdentity]:
    """Every encoder, by id."""
    return {row.id: row_to_identity(row) for row in session.execute(_ALL)}


def row_to_identity(row: EncoderRow | Row[Any]) -> EncoderIdentity:
    """Who the encoder is."""
    return EncoderIdentity(
        row.name, row.fingerprint, row.dimension, row.logit_scale, frozenset(map(str, row.modalities))
    )


def find_encoder(session: Session, identity: EncoderIdentity, *, hint: str = INGEST_ELSEWHERE) -> int | None:
    """The id of an encoder, or None if it is not registered.

    Raises:
        EncoderMismatch: that name stands here for other weights or another preprocessing.
    """
    row = session.execute(_NAMED, {"name": identity.name}).first()
    if row is None:
        return None
    if (row.fingerprint, row.dimension) != (identity.fingerprint, identity.dimension):
        raise EncoderMismatch(
            f"the encoder {identity.name!r} here has other weights or preprocessing "
            f"({identity.fingerprint[:12]}) than the one in the collection ({row.fingerprint[:12]})",
            hint=hint,
        )
    return int(row.id)


def put_encoder(session: Session, identity: EncoderIdentity, at: datetime, *, hint: str = INGEST_ELSEWHERE) -> int:
    """The id of an encoder, which is registered as of ``at`` if it is new.

    Raises:
        EncoderMismatch: as ``find_encoder``.
    """
    known = find_encoder(session, identity, hint=hint)
    if known is not None:
        return known
    row = EncoderRow(
        name=identity.name, fingerprint=identity.fingerprint, dimension=identity.dimension,
        logit_scale=identity.logit_scale, modalities=sorted(identity.modalities), created_at=at,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row.id
