"""The tables: the truth of the schema. Migrations follow it, and a test compares the two.

Blobs are little-endian: means ``(d,)`` float32, covariances packed lower triangles float32 without ε, sample
features ``(n, d)`` float16; a transform's arrays are one safetensors file. Each blob's SHA-256 stands beside it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
Json = dict[str, Any]
LONG = BigInteger().with_variant(Integer, "sqlite")
"""Ids of models and change numbers, which are never used again: eight bytes, as SQLite's integers have anyhow."""


class Base(DeclarativeBase):
    """Declarative base with a naming convention, so that constraints can be altered on every database."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, datetime: DateTime(timezone=True)}  # noqa: RUF012


def row_to_table(row: type[Base]) -> Table:
    """A class's table, for work on rows rather than objects: nothing of them is to be tracked."""
    table = row.__table__
    assert isinstance(table, Table)
    return table


class CollectionRow(Base):
    """Facts of the collection itself: its id and default encoder."""

    __tablename__ = "collection"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class EncoderRow(Base):
    """An encoder that made statistics here."""

    __tablename__ = "encoders"
    __table_args__ = (UniqueConstraint("name", "fingerprint"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(512))
    fingerprint: Mapped[str] = mapped_column(String(64))
    dimension: Mapped[int]
    logit_scale: Mapped[float] = mapped_column(Float)
    modalities: Mapped[list[Any]]
    created_at: Mapped[datetime]


class TagRow(Base):
    """A tag."""

    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)


class ModelTagRow(Base):
    """Which model has which tag."""

    __tablename__ = "model_tags"
    model_id: Mapped[int] = mapped_column(LONG, ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey("tags.id"), primary_key=True, index=True)


class ModelRow(Base):
    """One generative model. Ids are never used again."""

    __tablename__ = "models"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012
    id: Mapped[int] = mapped_column(LONG, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    kind: Mapped[str] = mapped_column(String(64), index=True)
    description: Mapped[str | None] = mapped_column(Text)
    author: Mapped[str | None] = mapped_column(String(255), index=True)
    license: Mapped[str | None] = mapped_column(String(255), index=True)
    base_model: Mapped[str | None] = mapped_column(String(255), index=True)
    links: Mapped[dict[str, Any]]
    resolution: Mapped[int | None]
    extra: Mapped[dict[str, Any]] = mapped_column("metadata", JSON)
    source: Mapped[dict[str, Any]]
    generator: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    tags: Mapped[list[TagRow]] = relationship(secondary="model_tags", order_by=TagRow.name, passive_deletes=True)


class StatisticsRow(Base):
    """A model's moments under one encoder. ``change`` is the change that wrote them.

    ``neighbours_change`` equals ``change`` once the model's lists of similar models are those of these moments.
    """

    __tablename__ = "statistics"
    __table_args__ = (Index(None, "encoder_id", "change"),)
    model_id: Mapped[int] = mapped_column(LONG, ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"), primary_key=True)
    samples: Mapped[int]
    epsilon: Mapped[float] = mapped_column(Float)
    mean: Mapped[bytes] = mapped_column(LargeBinary)
    covariance: Mapped[bytes | None] = mapped_column(LargeBinary)
    mean_checksum: Mapped[str] = mapped_column(String(64))
    checksum: Mapped[str] = mapped_column(String(64))
    source_digest: Mapped[str] = mapped_column(String(64))
    quarantined: Mapped[int]
    quarantine: Mapped[list[Any]]
    change: Mapped[int] = mapped_column(LONG)
    neighbours_change: Mapped[int | None] = mapped_column(LONG)
    updated_at: Mapped[datetime]


class SampleFeaturesRow(Base):
    """A capped number of sample features, for Monte-Carlo and best-k."""

    __tablename__ = "sample_features"
    model_id: Mapped[int] = mapped_column(LONG, ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"), primary_key=True)
    count: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary)
    checksum: Mapped[str] = mapped_column(String(64))


class ThumbnailRow(Base):
    """A preview picture."""

    __tablename__ = "thumbnails"
    model_id: Mapped[int] = mapped_column(LONG, ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    media_type: Mapped[str] = mapped_column(String(64))
    data: Mapped[bytes] = mapped_column(LargeBinary)


class NeighbourRow(Base):
    """A similar model, by one distance. ``value`` is the distance (lower is nearer)."""

    __tablename__ = "neighbours"
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"), primary_key=True)
    distance: Mapped[str] = mapped_column(String(16), primary_key=True)
    model_id: Mapped[int] = mapped_column(LONG, ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    neighbour_id: Mapped[int] = mapped_column(
        LONG, ForeignKey("models.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    value: Mapped[float] = mapped_column(Float)


class TransformRow(Base):
    """A linear map in which search can score. At most one of an encoder, method and modality is active."""

    __tablename__ = "transforms"
    __table_args__ = (
        Index(
            "uq_transforms_active", "encoder_id", "method", "modality", unique=True,
            sqlite_where=text("active"), postgresql_where=text("active"),
        ),
    )  # fmt: skip
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"))
    method: Mapped[str] = mapped_column(String(64))
    modality: Mapped[str] = mapped_column(String(16))
    parameterisation: Mapped[str] = mapped_column(String(16))
    version: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    checksum: Mapped[str] = mapped_column(String(64))
    report: Mapped[dict[str, Any]]
    active: Mapped[bool]
    created_at: Mapped[datetime]


class ChangeRow(Base):
    """The change sequence: what an index needs to replay. ``op`` is ``put`` or ``remove``."""

    __tablename__ = "changes"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012
    seq: Mapped[int] = mapped_column(LONG, primary_key=True, autoincrement=True)
    model_id: Mapped[int] = mapped_column(LONG)
    encoder_id: Mapped[int | None]
    op: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime]


class CheckpointRow(Base):
    """Where a running ingest stands: enough to go on after a kill. Gone once the model is committed."""

    __tablename__ = "checkpoints"
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"), primary_key=True)
    source_digest: Mapped[str] = mapped_column(String(64))
    position: Mapped[int]
    state: Mapped[bytes] = mapped_column(LargeBinary)
    updated_at: Mapped[datetime]
