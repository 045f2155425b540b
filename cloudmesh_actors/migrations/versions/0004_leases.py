"""Leases: who may change a node."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "leases",
        sa.Column("node", sa.String(255), primary_key=True),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("job_id", sa.String(64)),
        sa.Column("step_id", sa.String(64), nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("ttl", sa.Double, nullable=False),
        sa.Column("taken_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
