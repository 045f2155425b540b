"""Rain: how far the deploy of each node has come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "rain_deploys",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("node", sa.String(255), primary_key=True),
        sa.Column("profile", sa.Text),
        sa.Column("requested_at", sa.Double, nullable=False),
        sa.Column("wait_lease", sa.Double, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("stage_at", sa.Double, nullable=False),
        sa.Column("looks", sa.Integer, nullable=False),
        sa.Column("sent_at", sa.Double),
        sa.Column("sent_times", sa.Integer, nullable=False),
        sa.Column("event_id", sa.Text),
        sa.Column("before_started", sa.Double),
        sa.Column("before_stopped", sa.Double),
        sa.Column("trouble", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("error_kind", sa.String(32)),
    )
    op.create_index("ix_rain_deploys_stage", "rain_deploys", ["stage"])
    op.create_index("ix_rain_deploys_node", "rain_deploys", ["node", "requested_at"])
