"""The tables of the family pbs.

The rows of a snapshot are written under its id, where nobody sees them, until `pbs_servers.snapshot` points there.
"""

from __future__ import annotations

import sqlalchemy as sa

from cloudmesh_actors.store import metadata

_SNAPSHOT_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

#: How each batch server was asked the last time, its snapshot, and who asks it now.
servers = sa.Table(
    "pbs_servers",
    metadata,
    sa.Column("server", sa.String(255), primary_key=True),
    sa.Column("snapshot", sa.BigInteger),
    sa.Column("asked_at", sa.Double),
    sa.Column("error", sa.Text),
    sa.Column("error_kind", sa.String(32)),
    sa.Column("claim", sa.String(64)),
    sa.Column("claimed_until", sa.Double),
)

snapshots = sa.Table(
    "pbs_snapshots",
    metadata,
    sa.Column("id", _SNAPSHOT_ID, primary_key=True),
    sa.Column("server", sa.String(255), nullable=False),
    sa.Column("taken_at", sa.Double, nullable=False),
    sa.Column("dialect", sa.String(32), nullable=False),
    sa.Column("jobs", sa.Integer, nullable=False),
    sa.Column("queues", sa.Integer, nullable=False),
    sa.Column("nodes", sa.Integer, nullable=False),
    sa.Column("damaged", sa.Text, nullable=False),
    sa.Index("ix_pbs_snapshots_server", "server"),
    sqlite_autoincrement=True,  # an id that was used never comes again
)

#: `number` is the place in the server's output; `slots` is JSON, `[[host, slots], …]`.
jobs = sa.Table(
    "pbs_jobs",
    metadata,
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

#: The attributes of some jobs together, beginning with job number `first`: alike as they are, they shrink to a tenth.
job_attributes = sa.Table(
    "pbs_job_attributes",
    metadata,
    sa.Column("snapshot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("first", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("packed", sa.LargeBinary, nullable=False),
)

#: `body` is JSON: all fields of a BatchQueue.
queues = sa.Table(
    "pbs_queues",
    metadata,
    sa.Column("snapshot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.Text, nullable=False),
)

#: `body` is JSON: all fields of a BatchNode.
nodes = sa.Table(
    "pbs_nodes",
    metadata,
    sa.Column("snapshot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.Text, nullable=False),
)

#: Jobs by queue and state, for plots: `counts` is JSON, `{queue: {letter: jobs}}`.
counts = sa.Table(
    "pbs_counts",
    metadata,
    sa.Column("server", sa.String(255), primary_key=True),
    sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("counts", sa.Text, nullable=False),
    sa.Index("ix_pbs_counts_at", "at"),
)
