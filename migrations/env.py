"""Alembic's environment. It runs only through ``engine.storage.migrate``, which hands it an open connection."""

from alembic import context

from engine.storage.tables import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
