"""Provisioner: how far each node has come, and how it came so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "provisionings",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("node", sa.String(255), primary_key=True),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("driver", sa.String(16), nullable=False),
        sa.Column("requested_at", sa.Double, nullable=False),
        sa.Column("wait_lease", sa.Double, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("state_at", sa.Double, nullable=False),
        sa.Column("task", sa.String(16)),
        sa.Column("task_at", sa.Double, nullable=False),
        sa.Column("looks", sa.Integer, nullable=False),
        sa.Column("sent_at", sa.Double),
        sa.Column("sent_times", sa.Integer, nullable=False),
        sa.Column("reference", sa.Text),
        sa.Column("armed", sa.Boolean, nullable=False),
        sa.Column("turn_at", sa.Double),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("trouble", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("error_kind", sa.String(32)),
        sa.Column("failed_in", sa.String(16)),
        sa.Column("abort_at", sa.Double),
    )
    op.create_index("ix_provisionings_state", "provisionings", ["state"])
    op.create_index("ix_provisionings_node", "provisionings", ["node", "requested_at"])
    op.create_index("ix_provisionings_turn", "provisionings", ["turn_at"])
    op.create_table(
        "provisioning_transitions",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("node", sa.String(255), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("event", sa.String(16)),
        sa.Column("before", sa.String(16)),
        sa.Column("after", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
    )
    op.create_index("ix_provisioning_transitions_node", "provisioning_transitions", ["node", "at"])
