"""The table of leases, and every change of it: each one transaction, by the store's clock.

A node's row stays when its lease ends, so that its fence never begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cloudmesh_actors.errors import LeaseLost
from cloudmesh_actors.leases.model import Claimant, Lease, Moment, Row, granted, lost
from cloudmesh_actors.steps import ENDED, JOB_STATE, steps
from cloudmesh_actors.store import Store, metadata

#: Nodes that one statement names at most: databases limit the number of parameters.
NODES_AT_ONCE = 500

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("node", sa.String(255), primary_key=True),
    sa.Column("fence", sa.BigInteger, nullable=False),  # only ever grows
    sa.Column("job_id", sa.String(64)),  # null: nobody has it
    sa.Column("step_id", sa.String(64), nullable=False),  # the run that has it: its step, and its number
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),  # the job's
    sa.Column("ttl", sa.Double, nullable=False),
    sa.Column("taken_at", sa.Double, nullable=False),  # by the job
    sa.Column("expires_at", sa.Double, nullable=False),
)

_t = leases.c


def store_time(connection: Connection) -> float:
    """Seconds since the epoch by one clock for all hosts: a database server's; SQLite's users share theirs."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))).scalar_one())


class Leases:
    """The leases of a store.

    Args:
        now: the store's clock.
        clock: this process's, which tells how long an answer of the store took.
    """

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[Connection], float] = store_time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store, self._now, self._clock = store, now, clock

    def take(self, nodes: Iterable[str], who: Claimant, ttl: float, actor: str | None = None) -> dict[str, Lease]:
        """Take the leases of all nodes, or of none. `actor` is the job's; by default as the store knows it.

        Raises:
            LeaseHeld: another job has the first of them that is held.
            LeaseLost: the job has ended, or a later run of the step goes on.
        """
        wanted = list(dict.fromkeys(nodes))
        with self.store.write() as connection:
            self._insert_missing(connection, sorted(wanted))
            rows = {row.node: row for row in _locked(connection, sorted(wanted))}
            at = self._moment(connection, [who.job_id, *_jobs_of(rows.values())])  # to lock them may have taken long
            named = _actor_of(connection, who.job_id) if actor is None else actor
            after = [granted(rows[node], who, named, ttl, at) for node in wanted]
            if after:
                connection.execute(_WRITE, [_all_of(row) for row in after])
        return {row.node: row.lease for row in after}

    def renew(self, nodes: Iterable[str], who: Claimant, ttl: float) -> None:
        """Have leases of the job end `ttl` seconds from now. All of them or none.

        Raises:
            LeaseLost: one has expired, or is another's.
        """
        names = sorted(set(nodes))
        with self.store.write() as connection:
            rows = {row.node: row for row in _locked(connection, names)}
            now = self._now(connection)
            for node in names:
                row = rows.get(node, Row(node))
                if row.job_id != who.job_id or row.expires_at <= now or row.is_older_than(who):
                    raise LeaseLost(f"{node}: its lease is not the job's any more; nothing more is sent.")
            if names:
                connection.execute(_EXTEND, [_extension(node, ttl, now) for node in names])

    def keep(self, held: Iterable[tuple[Lease, float]]) -> list[Lease]:
        """Renew leases, each by its own term in seconds, and give those that are lost."""
        terms = {lease.node: (lease, ttl) for lease, ttl in held}
        with self.store.write() as connection:
            rows = {row.node: row for row in _locked(connection, sorted(terms))}
            now = self._now(connection)
            mine = {node for node, (lease, _) in terms.items() if _is_held(lease, rows.get(node), now)}
            if mine:
                connection.execute(_EXTEND, [_extension(node, terms[node][1], now) for node in mine])
        return [lease for node, (lease, _) in terms.items() if node not in mine]

    def release(self, nodes: Iterable[str], who: Claimant | None) -> list[str]:
        """Give the leases of a job back, or with None those of whoever has them. Returns the nodes that were held."""
        held = _t.job_id.is_not(None)
        mine = held if who is None else sa.and_(_t.job_id == who.job_id, _not_of_a_later_run(who))
        with self.store.write() as connection:
            return [node for node in sorted(set(nodes)) if _free(connection, sa.and_(_t.node == node, mine))]

    def give_back(self, lease: Lease) -> None:
        """Release just this lease, unless it has become another's."""
        with self.store.write() as connection:
            _free(connection, _is(lease))

    def check(self, lease: Lease) -> None:
        """Whether the holder may act now.

        Raises:
            LeaseLost: it may not; the sentence says why.
        """
        asked_at = self._clock()
        with self.store.read() as connection:
            at = self._moment(connection, [lease.job_id])
            row = next(_rows(connection, _t.node == lease.node), Row(lease.node))
        took = self._clock() - asked_at  # a process that was stopped in here has an old answer
        reason = lost(lease, row, Moment(at.now + took, at.ended))
        if reason is not None:
            raise LeaseLost(f"{lease.node}: its lease was lost, {reason}; nothing more was sent.")

    def holders(self, nodes: Iterable[str] | None = None) -> tuple[list[Lease], float]:
        """The leases that somebody has, by node, of all nodes by default; and the store's time."""
        names = None if nodes is None else set(nodes)
        with self.store.read() as connection:
            rows = list(_rows(connection, _t.job_id.is_not(None)))
            at = self._moment(connection, _jobs_of(rows))
        return [row.lease for row in rows if row.is_live(at) and (names is None or row.node in names)], at.now

    def _moment(self, connection: Connection, job_ids: Sequence[str]) -> Moment:
        return Moment(self._now(connection), _ended(connection, job_ids))

    def _insert_missing(self, connection: Connection, nodes: Sequence[str]) -> None:
        if nodes:
            insert = self.store.insert(leases).on_conflict_do_nothing()
            connection.execute(insert, [asdict(Row(node)) for node in nodes])


_WRITE = (
    sa.update(leases)
    .where(_t.node == sa.bindparam("new_node"))
    .values({column: sa.bindparam(f"new_{column.name}") for column in leases.c if column is not _t.node})
)


_EXTEND = (
    sa.update(leases)
    .where(_t.node == sa.bindparam("of_node"))
    .values(ttl=sa.bindparam("new_ttl"), expires_at=sa.bindparam("new_end"))
)


def _all_of(row: Row) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in asdict(row).items()}


def _extension(node: str, ttl: float, now: float) -> dict[str, Any]:
    return {"of_node": node, "new_ttl": ttl, "new_end": now + ttl}


def _is_held(lease: Lease, row: Row | None, now: float) -> bool:
    """Whether it is still this lease. One that has expired stays so: its holder was away, and has to look again."""
    return row is not None and (row.job_id, row.fence) == (lease.job_id, lease.fence) and row.expires_at > now


def _locked(connection: Connection, nodes: Sequence[str]) -> Iterator[Row]:
    """Rows, locked in one order for all writers."""
    order = _t.node if connection.dialect.name == "sqlite" else sa.collate(_t.node, "C")  # as Python sorts
    for part in _parts(nodes):
        query = sa.select(leases).where(_t.node.in_(part)).order_by(order).with_for_update()
        yield from (Row(**row._mapping) for row in connection.execute(query))


def _rows(connection: Connection, condition: sa.ColumnElement[bool]) -> Iterator[Row]:
    query = sa.select(leases).where(condition).order_by(_t.node)
    return (Row(**row._mapping) for row in connection.execute(query))


def _jobs_of(rows: Iterable[Row]) -> list[str]:
    return [row.job_id for row in rows if row.job_id]


def _ended(connection: Connection, job_ids: Sequence[str]) -> set[str]:
    """Those of the jobs that have ended. One that the store does not know has not."""
    known = {state.value for state in ENDED}
    ended: set[str] = set()
    for part in _parts(sorted(set(job_ids))):
        query = sa.select(steps.c.id, JOB_STATE).where(steps.c.id.in_(part))
        ended |= {row.id for row in connection.execute(query) if row.job_state in known}
    return ended


def _actor_of(connection: Connection, job_id: str) -> str:
    return connection.scalar(sa.select(steps.c.actor).where(steps.c.id == job_id)) or ""


def _is(lease: Lease) -> sa.ColumnElement[bool]:
    return sa.and_(_t.node == lease.node, _t.job_id == lease.job_id, _t.fence == lease.fence)


def _not_of_a_later_run(who: Claimant) -> sa.ColumnElement[bool]:
    return sa.or_(_t.step_id != who.step_id, _t.run <= who.run)


def _free(connection: Connection, mine: sa.ColumnElement[bool]) -> bool:
    return bool(connection.execute(sa.update(leases).where(mine).values(job_id=None)).rowcount)


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[first : first + NODES_AT_ONCE] for first in range(0, len(names), NODES_AT_ONCE))
