"""numbers of eight bytes

Models' ids and change numbers are never used again, so on Postgres they must not end at two billion. SQLite's integers
have eight bytes anyhow. Postgres writes each of these tables anew; sequences keep where they stand.

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = {
    "models": ("id",),
    "changes": ("seq", "model_id"),
    "statistics": ("model_id", "change", "neighbours_change"),
    "sample_features": ("model_id",),
    "thumbnails": ("model_id",),
    "model_tags": ("model_id",),
    "neighbours": ("model_id", "neighbour_id"),
}
SEQUENCES = ("models_id_seq", "changes_seq_seq")


def upgrade() -> None:
    _set_types(sa.BigInteger())


def downgrade() -> None:
    _set_types(sa.Integer())


def _set_types(wanted: sa.types.TypeEngine[int]) -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    name = wanted.compile(op.get_bind().dialect)
    for table, columns in COLUMNS.items():
        changes = ", ".join(f"ALTER COLUMN {column} TYPE {name}" for column in columns)
        op.execute(f"ALTER TABLE {table} {changes}")
    for sequence in SEQUENCES:
        op.execute(f"ALTER SEQUENCE {sequence} AS {name}")
