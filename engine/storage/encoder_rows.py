"""Encoder rows to identities and back, inside a session."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from engine.errors import EncoderMismatch
from engine.records import EncoderIdentity
from engine.storage.tables import EncoderRow

INGEST_ELSEWHERE = "install the version that made the collection, or ingest into a new one"


def row_to_identity(row: EncoderRow) -> EncoderIdentity:
    """Who the encoder is."""
    return EncoderIdentity(
        row.name, row.fingerprint, row.dimension, row.logit_scale, frozenset(map(str, row.modalities))
    )


def find_encoder(session: Session, identity: EncoderIdentity, *, hint: str = INGEST_ELSEWHERE) -> EncoderRow | None:
    """The row of an encoder, or None if it is not registered.

    Raises:
        EncoderMismatch: that name stands here for other weights or another preprocessing.
    """
    row = session.scalar(select(EncoderRow).where(EncoderRow.name == identity.name))
    if row is not None and (row.fingerprint, row.dimension) != (identity.fingerprint, identity.dimension):
        raise EncoderMismatch(
            f"the encoder {identity.name!r} here has other weights or preprocessing "
            f"({identity.fingerprint[:12]}) than the one in the collection ({row.fingerprint[:12]})",
            hint=hint,
        )
    return row


def encoder_row(
    session: Session, identity: EncoderIdentity, at: datetime, *, hint: str = INGEST_ELSEWHERE
) -> EncoderRow:  # fmt: skip
    """The row of an encoder, which is registered as of ``at`` if it is new.

    Raises:
        EncoderMismatch: as ``find_encoder``.
    """
    row = find_encoder(session, identity, hint=hint)
    if row is None:
        row = EncoderRow(
            name=identity.name, fingerprint=identity.fingerprint, dimension=identity.dimension,
            logit_scale=identity.logit_scale, modalities=sorted(identity.modalities), created_at=at,
        )  # fmt: skip
        session.add(row)
        session.flush()
    return row
