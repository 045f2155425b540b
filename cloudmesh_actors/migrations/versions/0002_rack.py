"""Rack: the latest readings of each node, and their history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "rack_latest",
        sa.Column("node", sa.String(255), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("error_kind", sa.String(32)),
        sa.Column("readings", sa.Text, nullable=False),
    )
    op.create_table(
        "rack_layouts",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("columns", sa.Text, nullable=False),
    )
    op.create_table(
        "rack_samples",
        sa.Column("node", sa.String(255), primary_key=True),
        sa.Column("at", sa.BigInteger, primary_key=True),
        sa.Column("layout", sa.String(32), nullable=False),
        sa.Column("packed", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_rack_samples_at", "rack_samples", ["at"])
    op.create_table(
        "rack_days",
        sa.Column("node", sa.String(255), primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True),
        sa.Column("layout", sa.String(32), primary_key=True),
        sa.Column("packed", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_rack_days_start", "rack_days", ["start"])
