"""Alembic's entry point: runs migrations on the engine that `migrations.config()` was given."""

from __future__ import annotations

from alembic import context
from sqlalchemy.engine import Engine


def run() -> None:
    """Run the migrations in one transaction, under the store's write lock on SQLite."""
    engine: Engine = context.config.attributes["engine"]
    with engine.connect().execution_options(cloudmesh_write=True) as connection:
        context.configure(connection=connection, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


run()
