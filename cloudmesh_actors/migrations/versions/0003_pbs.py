"""Batch servers: their snapshots, who asks them, and the history of counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "pbs_servers",
        sa.Column("server", sa.String(255), primary_key=True),
        sa.Column("snapshot", sa.BigInteger),
        sa.Column("asked_at", sa.Double),
        sa.Column("error", sa.Text),
        sa.Column("error_kind", sa.String(32)),
        sa.Column("claim", sa.String(64)),
        sa.Column("claimed_until", sa.Double),
    )
    op.create_table(
        "pbs_snapshots",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("server", sa.String(255), nullable=False),
        sa.Column("taken_at", sa.Double, nullable=False),
        sa.Column("dialect", sa.String(32), nullable=False),
        sa.Column("jobs", sa.Integer, nullable=False),
        sa.Column("queues", sa.Integer, nullable=False),
        sa.Column("nodes", sa.Integer, nullable=False),
        sa.Column("damaged", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_pbs_snapshots_server", "pbs_snapshots", ["server"])
    op.create_table(
        "pbs_jobs",
        sa.Column("snapshot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("state", sa.String(1), nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("slots", sa.Text, nullable=False),
        sa.Column("node_count", sa.BigInteger),
        sa.Column("cpus", sa.BigInteger),
        sa.Column("memory", sa.BigInteger),
        sa.Column("memory_used", sa.BigInteger),
        sa.Column("walltime_requested", sa.BigInteger),
        sa.Column("walltime_used", sa.BigInteger),
        sa.Column("submitted", sa.BigInteger),
        sa.Column("started", sa.BigInteger),
        sa.Column("ended", sa.BigInteger),
        sa.Column("exit_status", sa.BigInteger),
    )
    op.create_table(
        "pbs_job_attributes",
        sa.Column("snapshot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("first", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("packed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "pbs_queues",
        sa.Column("snapshot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "pbs_nodes",
        sa.Column("snapshot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "pbs_counts",
        sa.Column("server", sa.String(255), primary_key=True),
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("counts", sa.Text, nullable=False),
    )
    op.create_index("ix_pbs_counts_at", "pbs_counts", ["at"])
