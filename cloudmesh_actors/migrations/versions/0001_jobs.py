"""Jobs: steps, node outcomes, and the roster of workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "steps",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("root_id", sa.String(64), nullable=False),
        sa.Column("parent_id", sa.String(64)),
        sa.Column("retry_of", sa.String(64)),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("sender", sa.String(128)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("runs", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(128)),
        sa.Column("enqueued_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("abort_at", sa.Double),
        sa.Column("progress_done", sa.Integer),
        sa.Column("progress_total", sa.Integer),
        sa.Column("progress_note", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("error_type", sa.String(128)),
        sa.Column("traceback", sa.Text),
        sa.Column("open_steps", sa.Integer, nullable=False),
        sa.Column("failed_steps", sa.Integer, nullable=False),
        sa.Column("aborted_steps", sa.Integer, nullable=False),
        sa.Column("job_ended_at", sa.Double),
    )
    op.create_index("ix_steps_root", "steps", ["root_id"])
    op.create_index("ix_steps_state", "steps", ["state", "enqueued_at"])
    op.create_index("ix_steps_enqueued", "steps", ["enqueued_at"])
    op.create_index("ix_steps_actor", "steps", ["actor", "enqueued_at"])
    op.create_table(
        "node_outcomes",
        sa.Column("step_id", sa.String(64), sa.ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("node", sa.String(255), primary_key=True),
        sa.Column("ok", sa.Boolean),
        sa.Column("stage", sa.String(64)),
        sa.Column("error", sa.Text),
        sa.Column("error_kind", sa.String(32)),
        sa.Column("data", sa.Text),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("fleet", sa.String(64), primary_key=True),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ready_at", sa.Double),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("last_job", sa.String(64)),
    )
