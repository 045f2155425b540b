"""What the store keeps of BMCs' readings: each node's latest, and a history that stays small.

Readings are kept as they came for `FULL_DAYS`, about 150 bytes each; then a day of them becomes one row of hourly
means, lows and highs, about 2 kB, which is kept for the setting `sensor_keep_days`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cloudmesh_actors import settings, store
from cloudmesh_actors.rack import history as packing
from cloudmesh_actors.rack.history import DAY_S, Layout
from cloudmesh_actors.rack.model import NodeResult, Point
from cloudmesh_actors.store import Store
from cloudmesh_actors.times import iso

#: Full days for which every reading is kept.
FULL_DAYS = 3

#: Nodes of which a day is packed in one transaction, so that other writers are not kept waiting for long.
NODES_AT_ONCE = 50

#: Nodes that one query names at most: databases limit the number of parameters.
NODES_IN_A_QUERY = 500

latest_readings = sa.Table(
    "rack_latest",
    store.metadata,
    sa.Column("node", sa.String(255), primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("error_kind", sa.String(32)),
    sa.Column("readings", sa.Text, nullable=False),
)

layouts = sa.Table(
    "rack_layouts",
    store.metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("columns", sa.Text, nullable=False),
)

samples = sa.Table(
    "rack_samples",
    store.metadata,
    sa.Column("node", sa.String(255), primary_key=True),
    sa.Column("at", sa.BigInteger, primary_key=True),
    sa.Column("layout", sa.String(32), nullable=False),
    sa.Column("packed", sa.LargeBinary, nullable=False),
    sa.Index("ix_rack_samples_at", "at"),
)

days = sa.Table(
    "rack_days",
    store.metadata,
    sa.Column("node", sa.String(255), primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True),
    sa.Column("layout", sa.String(32), primary_key=True),
    sa.Column("packed", sa.LargeBinary, nullable=False),
    sa.Index("ix_rack_days_start", "start"),
)


def remember(results: Sequence[NodeResult], at: datetime, to: Store | None = None) -> None:
    """Keep what one reading of many BMCs gave: `{node, error, error_kind, readings}` of each.

    A node that could not be read has its error as its latest; its history has a gap there.
    """
    target = to or store.current()
    seconds = at.timestamp()
    read = [(result["node"], result["readings"]) for result in results if not result["error"]]
    kept = {packing.dump_layout(packing.layout_of(readings)) for _, readings in read}
    with target.write() as connection:
        _upsert(connection, target, latest_readings, [_latest_row(result, seconds) for result in results])
        _insert_new(connection, target, layouts, [{"id": key, "columns": text} for key, text in sorted(kept)])
        _upsert(connection, target, samples, [_sample_row(node, readings, seconds) for node, readings in read])


def latest(nodes: Iterable[str] | None = None, of: Store | None = None) -> list[NodeResult]:
    """The latest reading of each node, of all nodes by default: `{node, time, ok, error, error_kind, readings}`.

    In the order of `nodes`, else sorted by name; nodes that were never read are left out. `readings` is empty when
    the last try failed.
    """
    query = sa.select(latest_readings).order_by(latest_readings.c.node)
    with (of or store.current()).read() as connection:
        if nodes is None:
            return [_latest_result(row) for row in connection.execute(query)]
        names = list(nodes)
        parts = (query.where(latest_readings.c.node.in_(part)) for part in _parts(names, NODES_IN_A_QUERY))
        found = {row.node: _latest_result(row) for part in parts for row in connection.execute(part)}
    return [found[node] for node in names if node in found]


def history(node: str, sensor: str, since: datetime, until: datetime, of: Store | None = None) -> list[Point]:
    """One sensor of a node from `since` up to and not including `until`, oldest first."""
    first, end = since.timestamp(), until.timestamp()
    with (of or store.current()).read() as connection:
        points = [*_hours(connection, node, sensor, first, end), *_samples(connection, node, sensor, first, end)]
    points.sort(key=lambda point: point.time)
    return [point for point in points if since <= point.time < until]


def sensors_of(node: str, of: Store | None = None) -> Layout:
    """The sensors that the node's latest stored reading had, in the BMC's order."""
    with (of or store.current()).read() as connection:
        newest = sa.select(samples.c.layout).where(samples.c.node == node).order_by(samples.c.at.desc()).limit(1)
        key = connection.scalar(newest)
        return _layout(connection, key) if key else ()


def prune(now: datetime | None = None, *, keep_days: int | None = None, of: Store | None = None) -> None:
    """Pack the days that are old enough, and forget those that are too old. Any number of processes may do it at once.

    Args:
        keep_days: days that the history is kept; the setting `sensor_keep_days` by default.
    """
    target = of or store.current()
    today = int((now or datetime.now(UTC)).timestamp()) // DAY_S * DAY_S
    keep = settings.current().sensor_keep_days if keep_days is None else keep_days
    while _pack_some(target, today - min(FULL_DAYS, keep) * DAY_S):
        pass
    oldest = today - keep * DAY_S
    with target.write() as connection:
        connection.execute(days.delete().where(days.c.start < oldest))
        connection.execute(latest_readings.delete().where(latest_readings.c.at < oldest))


# -- rows


def _latest_row(result: NodeResult, seconds: float) -> dict[str, Any]:
    return {
        "node": result["node"],
        "at": seconds,
        "error": result["error"],
        "error_kind": result["error_kind"],
        "readings": orjson.dumps(result["readings"]).decode(),
    }


def _latest_result(row: Any) -> NodeResult:
    return {
        "node": row.node,
        "time": iso(datetime.fromtimestamp(row.at, UTC)),
        "ok": row.error is None,
        "error": row.error,
        "error_kind": row.error_kind,
        "readings": orjson.loads(row.readings),
    }


def _sample_row(node: str, readings: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    key, _ = packing.dump_layout(packing.layout_of(readings))
    packed = packing.pack_sample(reading["value"] for reading in readings)
    return {"node": node, "at": int(seconds), "layout": key, "packed": packed}


def _upsert(connection: Connection, target: Store, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, or replace those that are not newer: readings by two workers may arrive out of order."""
    if not rows:
        return
    insert = target.insert(table)
    keys = [column.name for column in table.primary_key]
    changes = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    upsert = insert.on_conflict_do_update(index_elements=keys, set_=changes, where=table.c.at <= insert.excluded.at)
    connection.execute(upsert, _sorted_by_node(rows))


def _sorted_by_node(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in one order for all writers: two that lock them in different orders would wait for each other."""
    return sorted(rows, key=lambda row: str(row["node"]))


def _insert_new(connection: Connection, target: Store, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(target.insert(table).on_conflict_do_nothing(), list(rows))


# -- history


def _hours(connection: Connection, node: str, sensor: str, first: float, end: float) -> Iterator[Point]:
    query = sa.select(days).where(days.c.node == node, days.c.start > first - DAY_S, days.c.start < end)
    for row in connection.execute(query).all():
        column = _place(_layout(connection, row.layout), sensor)
        if column is not None:
            yield from packing.day_points(row.start, row.packed, column)


def _samples(connection: Connection, node: str, sensor: str, first: float, end: float) -> Iterator[Point]:
    query = sa.select(samples).where(samples.c.node == node, samples.c.at >= first, samples.c.at < end)
    for row in connection.execute(query).all():
        column = _place(_layout(connection, row.layout), sensor)
        if column is not None:
            yield packing.sample_point(row.at, row.packed, column)


def _place(layout: Layout, sensor: str) -> int | None:
    return next((place for place, column in enumerate(layout) if column.name == sensor), None)


def _layout(connection: Connection, key: str) -> Layout:
    return _parsed(connection.scalars(sa.select(layouts.c.columns).where(layouts.c.id == key)).one())


@lru_cache(maxsize=256)
def _parsed(text: str) -> Layout:
    return packing.load_layout(text)


# -- packing days


def _pack_some(target: Store, before: int) -> bool:
    """Pack the oldest day of a few nodes; False when there was nothing to pack."""
    with target.write() as connection:
        oldest = connection.scalar(sa.select(sa.func.min(samples.c.at)).where(samples.c.at < before))
        if oldest is None:
            return False
        start = oldest // DAY_S * DAY_S
        in_day = (samples.c.at >= start) & (samples.c.at < start + DAY_S)
        nodes = connection.scalars(sa.select(samples.c.node).where(in_day).distinct().limit(NODES_AT_ONCE)).all()
        chosen = in_day & samples.c.node.in_(nodes)
        # locked in one order: of two that pack the same day the second waits, and finds nothing left
        locked = sa.select(samples).where(chosen).order_by(samples.c.node, samples.c.at).with_for_update()
        _insert_new(connection, target, days, _packed_days(start, connection.execute(locked).all()))
        connection.execute(samples.delete().where(chosen))
        return True


def _packed_days(start: int, taken: Iterable[Any]) -> list[dict[str, Any]]:
    groups: defaultdict[tuple[str, str], list[tuple[int, bytes]]] = defaultdict(list)
    for row in taken:
        groups[row.node, row.layout].append((row.at, row.packed))
    return [
        {"node": node, "start": start, "layout": layout, "packed": packing.pack_day(group)}
        for (node, layout), group in sorted(groups.items())
    ]


def _parts(names: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while part := list(islice(rest, size)):
        yield part
