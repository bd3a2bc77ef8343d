"""the first schema

Revision: 0001, after None
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BLOB_COLUMNS = (
    ("statistics", "mean"),
    ("statistics", "covariance"),
    ("sample_features", "data"),
    ("thumbnails", "data"),
    ("checkpoints", "state"),
)


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("encoder_id", sa.Integer(), nullable=True),
        sa.Column("op", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_changes")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "collection",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_collection")),
    )
    op.create_table(
        "encoders",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("logit_scale", sa.Float(), nullable=False),
        sa.Column("modalities", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_encoders")),
        sa.UniqueConstraint("name", "fingerprint", name=op.f("uq_encoders_name_fingerprint")),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("author", sa.String(length=255), nullable=True),
        sa.Column("license", sa.String(length=255), nullable=True),
        sa.Column("base_model", sa.String(length=255), nullable=True),
        sa.Column("links", sa.JSON(), nullable=False),
        sa.Column("resolution", sa.Integer(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("generator", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("name", name=op.f("uq_models_name")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_models_author"), ["author"], unique=False)
        batch_op.create_index(batch_op.f("ix_models_base_model"), ["base_model"], unique=False)
        batch_op.create_index(batch_op.f("ix_models_kind"), ["kind"], unique=False)
        batch_op.create_index(batch_op.f("ix_models_license"), ["license"], unique=False)

    op.create_table(
        "tags",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tags")),
        sa.UniqueConstraint("name", name=op.f("uq_tags_name")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("encoder_id", sa.Integer(), nullable=False),
        sa.Column("source_digest", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoders.id"], name=op.f("fk_checkpoints_encoder_id_encoders")),
        sa.PrimaryKeyConstraint("name", "encoder_id", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "model_tags",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("tag_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_tags_model_id_models"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tag_id"], ["tags.id"], name=op.f("fk_model_tags_tag_id_tags")),
        sa.PrimaryKeyConstraint("model_id", "tag_id", name=op.f("pk_model_tags")),
    )
    with op.batch_alter_table("model_tags", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_model_tags_tag_id"), ["tag_id"], unique=False)

    op.create_table(
        "neighbours",
        sa.Column("encoder_id", sa.Integer(), nullable=False),
        sa.Column("distance", sa.String(length=16), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("neighbour_id", sa.Integer(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoders.id"], name=op.f("fk_neighbours_encoder_id_encoders")),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_neighbours_model_id_models"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["neighbour_id"],
            ["models.id"],
            name=op.f("fk_neighbours_neighbour_id_models"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("encoder_id", "distance", "model_id", "neighbour_id", name=op.f("pk_neighbours")),
    )
    with op.batch_alter_table("neighbours", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_neighbours_neighbour_id"), ["neighbour_id"], unique=False)

    op.create_table(
        "sample_features",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("encoder_id", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoders.id"], name=op.f("fk_sample_features_encoder_id_encoders")),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_sample_features_model_id_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "encoder_id", name=op.f("pk_sample_features")),
    )
    op.create_table(
        "statistics",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("encoder_id", sa.Integer(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("epsilon", sa.Float(), nullable=False),
        sa.Column("mean", sa.LargeBinary(), nullable=False),
        sa.Column("covariance", sa.LargeBinary(), nullable=True),
        sa.Column("mean_checksum", sa.String(length=64), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("source_digest", sa.String(length=64), nullable=False),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.Column("quarantine", sa.JSON(), nullable=False),
        sa.Column("change", sa.Integer(), nullable=False),
        sa.Column("neighbours_change", sa.Integer(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoders.id"], name=op.f("fk_statistics_encoder_id_encoders")),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_statistics_model_id_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "encoder_id", name=op.f("pk_statistics")),
    )
    with op.batch_alter_table("statistics", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_statistics_encoder_id_change"), ["encoder_id", "change"], unique=False)

    op.create_table(
        "thumbnails",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.String(length=64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_thumbnails_model_id_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "position", name=op.f("pk_thumbnails")),
    )
    if op.get_bind().dialect.name == "postgresql":  # float bytes do not compress: do not let Postgres try
        for table, column in BLOB_COLUMNS:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("thumbnails")
    with op.batch_alter_table("statistics", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_statistics_encoder_id_change"))

    op.drop_table("statistics")
    op.drop_table("sample_features")
    with op.batch_alter_table("neighbours", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_neighbours_neighbour_id"))

    op.drop_table("neighbours")
    with op.batch_alter_table("model_tags", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_model_tags_tag_id"))

    op.drop_table("model_tags")
    op.drop_table("checkpoints")
    op.drop_table("tags")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_models_license"))
        batch_op.drop_index(batch_op.f("ix_models_kind"))
        batch_op.drop_index(batch_op.f("ix_models_base_model"))
        batch_op.drop_index(batch_op.f("ix_models_author"))

    op.drop_table("models")
    op.drop_table("encoders")
    op.drop_table("collection")
    op.drop_table("changes")
