"""Runs that died with their worker, and messages that were lost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table and the columns."""
    op.add_column("steps", sa.Column("options", sa.Text))
    op.add_column("steps", sa.Column("deaths", sa.Integer, nullable=False, server_default="0"))
    op.add_column("steps", sa.Column("swept_at", sa.Double))
    op.create_table(
        "run_deaths",
        sa.Column("step_id", sa.String(64), primary_key=True),
        sa.Column("worker", sa.String(128), primary_key=True),
        sa.Column("started_at", sa.Double, primary_key=True),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("found_at", sa.Double, nullable=False),
    )
