"""transforms

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "transforms",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("encoder_id", sa.Integer(), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("parameterisation", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoders.id"], name=op.f("fk_transforms_encoder_id_encoders")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transforms")),
        sa.UniqueConstraint("name", name=op.f("uq_transforms_name")),
    )
    with op.batch_alter_table("transforms", schema=None) as batch_op:
        batch_op.create_index(
            "uq_transforms_active",
            ["encoder_id", "method", "modality"],
            unique=True,
            sqlite_where=sa.text("active"),
            postgresql_where=sa.text("active"),
        )
    if op.get_bind().dialect.name == "postgresql":  # float bytes do not compress: do not let Postgres try
        op.execute("ALTER TABLE transforms ALTER COLUMN data SET STORAGE EXTERNAL")


def downgrade() -> None:
    with op.batch_alter_table("transforms", schema=None) as batch_op:
        batch_op.drop_index("uq_transforms_active")

    op.drop_table("transforms")
