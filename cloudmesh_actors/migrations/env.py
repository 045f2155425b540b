"""Alembic's entry point: runs migrations on the engine that `migrations.config()` was given."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context
from sqlalchemy.engine import Engine

#: Any number, the same for all who migrate: two at once would make the same tables.
ADVISORY_LOCK = 20_130_717


def run() -> None:
    """Run the migrations in one transaction, under the write lock of SQLite or an advisory lock of PostgreSQL."""
    engine: Engine = context.config.attributes["engine"]
    with engine.connect().execution_options(cloudmesh_synchronous="FULL") as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        context.configure(connection=connection, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


run()
