"""Who works: one row per worker, renewed by its heartbeat.

A worker that ended in order has left the roster; one whose `seen_at` grows old died or lost its host.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from cloudmesh_actors import store as stores
from cloudmesh_actors.store import Store, metadata

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("host", sa.String(255), primary_key=True),
    sa.Column("fleet", sa.String(64), primary_key=True),  # fleets with other log directories may share a store
    sa.Column("queue", sa.String(64), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("ready_at", sa.Double),
    sa.Column("seen_at", sa.Double, nullable=False),
    sa.Column("done", sa.Integer, nullable=False, default=0),  # since it started
    sa.Column("failed", sa.Integer, nullable=False, default=0),
    sa.Column("last_job", sa.String(64)),
)


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker as it last told of itself; times are seconds since the epoch."""

    name: str
    host: str
    fleet: str
    queue: str
    pid: int
    started_at: float
    ready_at: float | None
    seen_at: float
    done: int
    failed: int
    last_job: str | None


class Entry:
    """This process's row."""

    def __init__(self, store: Store, name: str, queue: str, fleet: str, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._key = {"name": name, "host": socket.gethostname(), "fleet": fleet}
        now = clock()
        fresh = {"queue": queue, "pid": os.getpid(), "started_at": now, "seen_at": now, "ready_at": None,
                 "done": 0, "failed": 0, "last_job": None}  # fmt: skip
        with store.write() as connection:
            insert = store.insert(workers).values(**self._key, **fresh)
            connection.execute(insert.on_conflict_do_update(index_elements=[*self._key], set_=fresh))

    def ready(self) -> None:
        """Say that the worker takes messages from now on."""
        now = self._clock()
        self._update(ready_at=now, seen_at=now)

    def beat(self, *, done: int, failed: int, last_job: str | None) -> None:
        """Say that the worker lives, and what it has done since it started."""
        self._update(seen_at=self._clock(), done=done, failed=failed, last_job=last_job)

    def leave(self) -> None:
        """Take the row away: the worker ends in order."""
        with self._store.write() as connection:
            connection.execute(sa.delete(workers).where(*self._mine()))

    def _update(self, **values: object) -> None:
        with self._store.write() as connection:
            connection.execute(sa.update(workers).where(*self._mine()).values(**values))

    def _mine(self) -> list[sa.ColumnElement[bool]]:
        same_key = [workers.c[name] == value for name, value in self._key.items()]
        return [*same_key, workers.c.pid == os.getpid()]


def register(name: str, queue: str, fleet: str = "") -> Entry:
    """Enter this process into the roster of the current store; `fleet` tells apart fleets that share a store."""
    return Entry(stores.current(), name, queue, fleet)


def rows(fleet: str | None = None) -> list[WorkerRow]:
    """All workers, or one fleet's, by name and host."""
    query = sa.select(workers).order_by(workers.c.name, workers.c.host)
    if fleet is not None:
        query = query.where(workers.c.fleet == fleet)
    with stores.current().read() as connection:
        return [WorkerRow(**row._mapping) for row in connection.execute(query)]
