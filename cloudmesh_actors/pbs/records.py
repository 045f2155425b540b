"""What the store has of batch servers: jobs, queues, nodes and users of their current snapshots, and a history.

Nobody is asked here. To see several of these at one moment, read them in one `reading()`::

    with records.reading("india") as seen:
        seen.servers, seen.jobs(state="R"), seen.queues()
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cloudmesh_actors import settings, site, store
from cloudmesh_actors.errors import UnknownJob
from cloudmesh_actors.pbs import packs, snapshots, tables
from cloudmesh_actors.pbs.clusters import Clusters, find_cluster, find_state, servers_of
from cloudmesh_actors.pbs.model import BatchJob, BatchNode, BatchQueue, JobState, Slots
from cloudmesh_actors.store import Store

DAY_S = 86_400

#: States in which a batch job holds its nodes.
HOLDING = frozenset({JobState.RUNNING, JobState.EXITING, JobState.SUSPENDED, JobState.INTERRUPTED, JobState.BEGUN})


@dataclass(frozen=True, slots=True)
class ServerState:
    """What is known of a batch server. `snapshot` is None while there is none; `error` is that of the last asking."""

    server: str
    snapshot: int | None
    dialect: str | None
    age: float | None  # of the snapshot, in seconds
    error: str | None
    error_kind: str | None
    jobs: int
    queues: int
    nodes: int
    damaged: int  # records of the snapshot that could not be read
    damages: tuple[str, ...]  # a sentence for each, of the first hundred

    @property
    def ok(self) -> bool:
        """Whether there is a snapshot, and the last asking was no failure."""
        return self.snapshot is not None and self.error is None


@dataclass(frozen=True, slots=True)
class ClusterJob(BatchJob):
    """A batch job, its server, and the cluster of its queue. `attributes` is empty unless it was asked for."""

    server: str
    cluster: str | None


@dataclass(frozen=True, slots=True)
class ClusterQueue(BatchQueue):
    """A batch queue, its server, its cluster, and its batch jobs by state's letter, as counted from the jobs."""

    server: str
    cluster: str | None
    jobs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ClusterNode(BatchNode):
    """A batch node, its server, and the cluster that the site has it in."""

    server: str
    cluster: str | None


@dataclass(frozen=True, slots=True)
class Usage:
    """A user's batch jobs, and what those of them that run hold: `nodes` counts each node once."""

    user: str
    jobs: int
    running: int
    queued: int
    cpus: int
    nodes: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many batch jobs a queue had in each state (by letter) at a time."""

    time: datetime
    server: str
    queue: str
    cluster: str | None
    states: Mapping[str, int]


class Reading:
    """The current snapshots of the batch servers of a cluster, or of all, as of one moment."""

    def __init__(self, connection: Connection, cluster: str | None, now: Callable[[], float] = time.time) -> None:
        self._connection, self._now = connection, now
        self._cluster = find_cluster(cluster) if cluster is not None else None
        self._names = [server.name for server in servers_of(cluster)]
        self._clusters = Clusters(site.current())

    @cached_property
    def servers(self) -> list[ServerState]:
        """What is known of each server, in the site's order."""
        query = (
            sa.select(tables.servers, tables.snapshots)
            .join(tables.snapshots, tables.snapshots.c.id == tables.servers.c.snapshot, isouter=True)
            .where(tables.servers.c.server.in_(self._names))
        )
        now = self._now()
        found = {row.server: _server_state(row, now) for row in self._connection.execute(query)}
        return [found.get(name) or _never_asked(name) for name in self._names]

    def jobs(
        self,
        user: str | None = None,
        state: str | None = None,
        queue: str | None = None,
        *,
        attributes: bool = False,
    ) -> list[ClusterJob]:
        """The batch jobs, in the servers' order. Raises ArgumentError for a state that there is not."""
        conditions = self._conditions(user, state, queue)
        packs = _Packs(self._connection) if attributes else None
        query = sa.select(tables.jobs).order_by(tables.jobs.c.number)
        return [
            self._job(row, server, packs)
            for server, snapshot in self._current()
            for row in self._connection.execute(query.where(tables.jobs.c.snapshot == snapshot, *conditions))
        ]

    def count_jobs(self, user: str | None = None) -> dict[str, int]:
        """How many batch jobs each server has."""
        conditions = self._conditions(user)
        query = sa.select(sa.func.count()).select_from(tables.jobs)
        return {
            server: self._connection.scalar(query.where(tables.jobs.c.snapshot == snapshot, *conditions)) or 0
            for server, snapshot in self._current()
        }

    def queues(self) -> list[ClusterQueue]:
        """The batch queues, in the servers' order."""
        found = (
            self._queue(orjson.loads(body), server, counts.get)
            for server, snapshot in self._current()
            for counts in [self._counts(snapshot)]
            for body in self._bodies(tables.queues, snapshot)
        )
        return [queue for queue in found if self._is_mine(queue.name)]

    def nodes(self) -> list[ClusterNode]:
        """The batch nodes, in the servers' order."""
        found = (
            self._node(orjson.loads(body), server)
            for server, snapshot in self._current()
            for body in self._bodies(tables.nodes, snapshot)
        )
        return [node for node in found if self._cluster is None or node.cluster == self._cluster.name]

    def users(self) -> list[Usage]:
        """The users who have batch jobs, those with most processors first."""
        jobs, tallies = tables.jobs.c, defaultdict[str, _Tally](_Tally)
        query = sa.select(jobs.owner, jobs.state, jobs.cpus, jobs.slots)
        for _, snapshot in self._current():
            mine = query.where(jobs.snapshot == snapshot, *self._conditions())
            for owner, state, cpus, slots in self._connection.execute(mine):
                tallies[owner].add(state, cpus or 0, slots)
        usages = (tally.usage(user) for user, tally in tallies.items())
        return sorted(usages, key=lambda usage: (-usage.cpus, -usage.jobs, usage.user))

    def attributes(self, job_id: str) -> dict[str, str]:
        """All attributes of one batch job, as its server printed them. Raises UnknownJob."""
        query = sa.select(tables.jobs.c.number).where(tables.jobs.c.id == job_id)
        for _, snapshot in self._current():
            number = self._connection.scalar(query.where(tables.jobs.c.snapshot == snapshot))
            if number is not None:
                return _Packs(self._connection).of(snapshot, number)
        raise UnknownJob(f"No batch server's snapshot has a job {job_id}.")

    def _current(self) -> list[tuple[str, int]]:
        return [(state.server, state.snapshot) for state in self.servers if state.snapshot is not None]

    def _conditions(
        self, user: str | None = None, state: str | None = None, queue: str | None = None
    ) -> list[sa.ColumnElement[bool]]:
        jobs = tables.jobs.c
        wanted = {
            jobs.owner: user or None,
            jobs.state: find_state(state).value if state else None,
            jobs.queue: queue or None,
        }
        conditions = [column == value for column, value in wanted.items() if value is not None]
        return [*conditions, jobs.queue.in_(self._cluster.queues)] if self._cluster else conditions

    def _is_mine(self, queue: str) -> bool:
        return self._cluster is None or queue in self._cluster.queues

    def _bodies(self, table: sa.Table, snapshot: int) -> Sequence[str]:
        query = sa.select(table.c.body).where(table.c.snapshot == snapshot).order_by(table.c.number)
        return self._connection.scalars(query).all()

    def _counts(self, snapshot: int) -> dict[str, dict[str, int]]:
        jobs = tables.jobs.c
        query = sa.select(jobs.queue, jobs.state, sa.func.count()).where(jobs.snapshot == snapshot)
        found: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for queue, state, count in self._connection.execute(query.group_by(jobs.queue, jobs.state)):
            found[queue][state] = count
        return found

    def _job(self, row: Any, server: str, packs: _Packs | None) -> ClusterJob:
        snapshot, number, job_id, name, owner, state, queue, slots, *numbers = row
        cluster = self._cluster.name if self._cluster else self._clusters.of_queue(server, queue)
        attributes = packs.of(snapshot, number) if packs else {}
        held = _slots(slots)
        values = (job_id, name, owner, JobState(state), queue, held, *numbers, attributes, server, cluster)
        return ClusterJob(*values)

    def _queue(self, body: dict[str, Any], server: str, counts: Callable[[str], dict[str, int] | None]) -> ClusterQueue:
        cluster = self._clusters.of_queue(server, body["name"])
        return ClusterQueue(**body, server=server, cluster=cluster, jobs=counts(body["name"]) or {})

    def _node(self, body: dict[str, Any], server: str) -> ClusterNode:
        body["states"] = frozenset(body["states"])
        return ClusterNode(**body, server=server, cluster=self._clusters.of_node(body["name"]))


@contextmanager
def reading(cluster: str | None = None, of: Store | None = None) -> Iterator[Reading]:
    """The current snapshots of a cluster's batch server, or of all, as of one moment.

    Raises UnknownNode for a cluster that the site has not, ArgumentError for one without batch queues.
    """
    with (of or store.current()).read() as connection:
        yield Reading(connection, cluster)


def jobs(
    cluster: str | None = None,
    user: str | None = None,
    state: str | None = None,
    queue: str | None = None,
    *,
    attributes: bool = False,
    of: Store | None = None,
) -> list[ClusterJob]:
    """The batch jobs of a cluster, or of all batch servers; `state` is a letter or a name (`R`, `running`)."""
    with reading(cluster, of) as seen:
        return seen.jobs(user, state, queue, attributes=attributes)


def queues(cluster: str | None = None, of: Store | None = None) -> list[ClusterQueue]:
    """The batch queues of a cluster, or all; `cluster` of one is None when the site gives it to none."""
    with reading(cluster, of) as seen:
        return seen.queues()


def nodes(cluster: str | None = None, of: Store | None = None) -> list[ClusterNode]:
    """The batch nodes of a cluster, or all; `cluster` of one is None when the site has it in none."""
    with reading(cluster, of) as seen:
        return seen.nodes()


def users(cluster: str | None = None, of: Store | None = None) -> list[Usage]:
    """The users who have batch jobs, those with most processors first."""
    with reading(cluster, of) as seen:
        return seen.users()


def servers(cluster: str | None = None, of: Store | None = None) -> list[ServerState]:
    """What is known of the batch server of a cluster, or of all."""
    with reading(cluster, of) as seen:
        return seen.servers


def attributes(job_id: str, cluster: str | None = None, of: Store | None = None) -> dict[str, str]:
    """All attributes of one batch job, as its server printed them. Raises UnknownJob."""
    with reading(cluster, of) as seen:
        return seen.attributes(job_id)


def history(since: datetime, until: datetime, cluster: str | None = None, of: Store | None = None) -> list[Counts]:
    """Batch jobs by queue and state from `since` up to and not including `until`, oldest first, one in five minutes."""
    names = [server.name for server in servers_of(cluster)]
    counts, clusters = tables.counts, Clusters(site.current())
    query = sa.select(counts).where(
        counts.c.server.in_(names), counts.c.at >= since.timestamp(), counts.c.at < until.timestamp()
    )
    with (of or store.current()).read() as connection:
        rows = connection.execute(query.order_by(counts.c.at, counts.c.server)).all()
    found = (
        Counts(datetime.fromtimestamp(row.at, UTC), row.server, queue, clusters.of_queue(row.server, queue), states)
        for row in rows
        for queue, states in orjson.loads(row.counts).items()
    )
    return [entry for entry in found if cluster is None or entry.cluster == cluster]


def prune(now: datetime | None = None, *, keep_days: int | None = None, of: Store | None = None) -> None:
    """Forget what is too old: counts, and batch servers that the site no longer has; and rows that nobody points to.

    Args:
        keep_days: days that these are kept; the setting `batch_keep_days` by default.
    """
    target = of or store.current()
    keep = settings.current().batch_keep_days if keep_days is None else keep_days
    oldest = (now or datetime.now(UTC)).timestamp() - keep * DAY_S
    known = list(site.current().batch_servers)
    strangers = tables.servers.c.server.not_in(known) & (tables.servers.c.asked_at < oldest)
    with target.write() as connection:
        connection.execute(tables.counts.delete().where(tables.counts.c.at < oldest))
        gone = connection.scalars(sa.select(tables.servers.c.server).where(strangers)).all()
        connection.execute(tables.servers.delete().where(strangers))
        connection.execute(tables.snapshots.delete().where(tables.snapshots.c.server.in_(gone)))
    snapshots.drop_orphans(target)


class _Packs:
    """Attributes of jobs, from the packs in which they are stored; the last one used is kept."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._place: tuple[int, int] | None = None
        self._pack: list[Mapping[str, str]] = []

    def of(self, snapshot: int, number: int) -> dict[str, str]:
        first = number // packs.SIZE * packs.SIZE
        if self._place != (snapshot, first):
            columns = tables.job_attributes.c
            query = sa.select(columns.packed).where(columns.snapshot == snapshot, columns.first == first)
            self._pack = packs.unpack(self._connection.execute(query).scalar_one())
            self._place = snapshot, first
        return packs.readable(self._pack[number - first])


def _server_state(row: Any, now: float) -> ServerState:
    damaged: dict[str, Any] = orjson.loads(row.damaged) if row.damaged else {"count": 0, "first": []}
    return ServerState(
        server=row.server,
        snapshot=row.snapshot,
        dialect=row.dialect,
        age=None if row.taken_at is None else max(0.0, round(now - row.taken_at, 1)),
        error=row.error,
        error_kind=row.error_kind,
        jobs=row.jobs or 0,
        queues=row.queues or 0,
        nodes=row.nodes or 0,
        damaged=damaged["count"],
        damages=tuple(damaged["first"]),
    )


def _never_asked(server: str) -> ServerState:
    return ServerState(server, None, None, None, None, None, 0, 0, 0, 0, ())


def _slots(text: str) -> list[Slots]:
    return [Slots(host, slots) for host, slots in orjson.loads(text)] if text != "[]" else []


class _Tally:
    """Counts one user's batch jobs."""

    def __init__(self) -> None:
        self._states: Counter[str] = Counter()
        self._cpus = 0
        self._hosts: set[str] = set()

    def add(self, state: str, cpus: int, slots: str) -> None:
        self._states[state] += 1
        if state in HOLDING and slots != "[]":
            self._cpus += cpus
            self._hosts.update(host for host, _ in orjson.loads(slots))

    def usage(self, user: str) -> Usage:
        running, queued = self._states[JobState.RUNNING], self._states[JobState.QUEUED]
        return Usage(user, self._states.total(), running, queued, self._cpus, len(self._hosts))
