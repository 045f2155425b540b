"""Writing snapshots: row by row under an id that nobody looks at, and then in one step the server's current one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa

from cloudmesh_actors.pbs import packs, tables
from cloudmesh_actors.pbs.listing import Listing
from cloudmesh_actors.pbs.model import BatchJob, BatchNode, BatchQueue
from cloudmesh_actors.pbs.packs import as_json, plain
from cloudmesh_actors.store import Store

T = TypeVar("T")

#: Rows that are written or deleted in one transaction, so that other writers are not kept waiting for long.
ROWS_AT_ONCE = 4096

#: The history has one entry per so many seconds: the last counts within them.
COUNTS_EVERY_S = 300

#: The sentences about damaged records that are kept.
DAMAGES_KEPT = 100

_LARGEST = 2**63 - 1

#: The tables whose rows belong to a snapshot, each with the column that counts them.
_PARTS = (
    (tables.jobs, tables.jobs.c.number),
    (tables.job_attributes, tables.job_attributes.c.first),
    (tables.queues, tables.queues.c.number),
    (tables.nodes, tables.nodes.c.number),
)


def add(listing: Listing, to: Store) -> int:
    """Write a snapshot that nobody sees yet; returns its id."""
    with to.write() as connection:
        key = connection.execute(tables.snapshots.insert().values(_head(listing))).inserted_primary_key
    assert key is not None  # noqa: S101 - both databases give it
    snapshot = int(key[0])
    _insert(to, tables.jobs, _numbered(snapshot, map(_job_row, listing.jobs)))
    _insert(to, tables.job_attributes, _packs(snapshot, listing.jobs), ROWS_AT_ONCE // packs.SIZE)
    _insert(to, tables.queues, _numbered(snapshot, map(_queue_row, listing.queues)))
    _insert(to, tables.nodes, _numbered(snapshot, map(_node_row, listing.nodes)))
    return snapshot


def count(connection: sa.Connection, listing: Listing, to: Store) -> None:
    """Write a listing's counts into the history."""
    at = int(listing.taken_at) // COUNTS_EVERY_S * COUNTS_EVERY_S
    row = {"server": listing.server, "at": at, "counts": as_json(listing.counts())}
    insert = to.insert(tables.counts).values(row)
    connection.execute(insert.on_conflict_do_update(index_elements=["server", "at"], set_={"counts": row["counts"]}))


def drop(snapshot: int, of: Store) -> None:
    """Delete a snapshot."""
    with of.write() as connection:
        connection.execute(tables.snapshots.delete().where(tables.snapshots.c.id == snapshot))
    for table, number in _PARTS:
        while _delete_some(table, number, snapshot, of):
            pass


def drop_before(server: str, snapshot: int, of: Store) -> None:
    """Delete a server's snapshots that are older than this one, unfinished ones too."""
    query = sa.select(tables.snapshots.c.id).where(
        tables.snapshots.c.server == server, tables.snapshots.c.id < snapshot
    )
    with of.read() as connection:
        older = connection.scalars(query).all()
    for each in older:
        drop(each, of)


def drop_orphans(of: Store) -> None:
    """Delete rows whose snapshot is gone: those of a writer that was overtaken, and then killed."""
    with of.read() as connection:
        known = sa.select(tables.snapshots.c.id)
        orphans = {
            snapshot
            for table, _ in _PARTS
            for snapshot in connection.scalars(
                sa.select(table.c.snapshot).where(table.c.snapshot.not_in(known)).distinct()
            )
        }
    for each in sorted(orphans):
        drop(each, of)


def _delete_some(table: sa.Table, number: sa.Column[Any], snapshot: int, of: Store) -> bool:
    """Delete some rows of a snapshot, the first first; False when there are none."""
    with of.write() as connection:
        mine = table.c.snapshot == snapshot
        first = connection.scalar(sa.select(sa.func.min(number)).where(mine))
        if first is None:
            return False
        connection.execute(table.delete().where(mine, number < first + ROWS_AT_ONCE))
        return True


def _insert(to: Store, table: sa.Table, rows: Iterable[Mapping[str, Any]], at_once: int = ROWS_AT_ONCE) -> None:
    """Insert rows that need no conversion, by the driver itself: three times as fast as through SQLAlchemy."""
    statement = table.insert().compile(dialect=to.engine.dialect)
    names = statement.positiontup
    for part in _parts(rows, at_once):
        values = [tuple([row[name] for name in names]) for row in part] if names else part
        with to.write() as connection:
            connection.exec_driver_sql(str(statement), values)


def _numbered(snapshot: int, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        row["snapshot"], row["number"] = snapshot, number
        yield row


def _head(listing: Listing) -> dict[str, Any]:
    return {
        "server": listing.server,
        "taken_at": listing.taken_at,
        "dialect": listing.dialect,
        "jobs": len(listing.jobs),
        "queues": len(listing.queues),
        "nodes": len(listing.nodes),
        "damaged": as_json({"count": len(listing.damaged), "first": list(listing.damaged[:DAMAGES_KEPT])}),
    }


def _job_row(job: BatchJob) -> dict[str, Any]:
    return {
        "id": _text(job.id),
        "name": _text(job.name),
        "owner": _text(job.owner),
        "state": job.state.value,
        "queue": _text(job.queue),
        "slots": as_json([[host, slots] for host, slots in job.nodes]),
        "node_count": _number(job.node_count),
        "cpus": _number(job.cpus),
        "memory": _number(job.memory),
        "memory_used": _number(job.memory_used),
        "walltime_requested": _number(job.walltime_requested),
        "walltime_used": _number(job.walltime_used),
        "submitted": _number(job.submitted),
        "started": _number(job.started),
        "ended": _number(job.ended),
        "exit_status": _number(job.exit_status),
    }


def _packs(snapshot: int, jobs: Sequence[BatchJob]) -> Iterator[dict[str, Any]]:
    for number, packed in enumerate(packs.packs(job.attributes for job in jobs)):
        yield {"snapshot": snapshot, "first": number * packs.SIZE, "packed": packed}


def _queue_row(queue: BatchQueue) -> dict[str, Any]:
    return {"body": as_json(_values(queue))}


def _node_row(node: BatchNode) -> dict[str, Any]:
    return {"body": as_json(_values(node) | {"states": sorted(node.states)})}


def _values(record: BatchQueue | BatchNode) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return values | {"attributes": plain(record.attributes)}


def _text(text: str) -> str:
    """What both databases take: neither half of a surrogate pair nor NUL."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _number(value: int | None) -> int | None:
    """A number that fits into eight bytes; what is larger is no measure of anything."""
    return value if value is None or -_LARGEST <= value <= _LARGEST else None


def _parts(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(rows)
    while part := list(islice(rest, size)):
        yield part
