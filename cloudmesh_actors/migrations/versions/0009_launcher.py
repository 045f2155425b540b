"""Launches: one row for each server, with the output of its script."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "launcher_launches",
        sa.Column("step_id", sa.String(64), primary_key=True),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("recipe", sa.String(64), nullable=False),
        sa.Column("server", sa.String(255), nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("error_kind", sa.String(32)),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("script", sa.String(80)),
        sa.Column("place", sa.String(300)),
        sa.Column("output", sa.Text),
    )
    op.create_index("ix_launcher_launches_created", "launcher_launches", ["created_at", "job_id", "number"])
    op.create_index("ix_launcher_launches_job", "launcher_launches", ["job_id", "number"])
    op.create_index("ix_launcher_launches_state", "launcher_launches", ["state"])
    op.create_index("ix_launcher_launches_server", "launcher_launches", ["server"])
    op.create_index("ix_launcher_launches_stat", "launcher_launches", ["recipe", "server", "state"])
