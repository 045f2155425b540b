"""What the store keeps of provisionings: how far each node has come, what was sent to it, and how it came so."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cloudmesh_actors import steps, store
from cloudmesh_actors.provisioner.model import Provisioning, Transition
from cloudmesh_actors.provisioner.states import ENDED, Event, State, after
from cloudmesh_actors.provisioner.tasks import Task, first_of
from cloudmesh_actors.stagger import Groups
from cloudmesh_actors.steps import JOB_STATE, storable
from cloudmesh_actors.store import Store

provisionings = sa.Table(
    "provisionings",
    store.metadata,
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
    sa.Index("ix_provisionings_state", "state"),
    sa.Index("ix_provisionings_node", "node", "requested_at"),
    sa.Index("ix_provisionings_turn", "turn_at"),
)

transitions = sa.Table(
    "provisioning_transitions",
    store.metadata,
    sa.Column("job_id", sa.String(64), sa.ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("node", sa.String(255), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("event", sa.String(16)),
    sa.Column("before", sa.String(16)),
    sa.Column("after", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Index("ix_provisioning_transitions_node", "node", "at"),
)

_t = provisionings.c
_OPEN = _t.state.not_in([state.value for state in ENDED])

#: What somebody else writes while a provisioning goes on.
_OTHERS = ("abort_at",)

#: Nodes that one query names at most: databases limit the number of parameters.
NODES_AT_ONCE = 500

#: Who gives turns has this advisory lock of PostgreSQL; on SQLite there is one writer anyway.
_TURNS_LOCK = 0x636D_7475


class Overtaken(Exception):
    """Another run has gone on with the provisioning: this one has nothing to change any more."""


def begin(requested: Iterable[Provisioning], to: Store | None = None) -> None:
    """Keep provisionings that were asked for; those that are there already stay as they are."""
    target = to or store.current()
    with target.write(durable=True) as connection:
        fresh = target.insert(provisionings).on_conflict_do_nothing()
        told = target.insert(steps.node_outcomes).on_conflict_do_nothing()
        for each in requested:
            if connection.execute(fresh, _row(each)).rowcount:
                connection.execute(told, _outcome(each))
                _note(connection, each, None, None, None)
                _tell_progress(connection, each)


def get(job_id: str, node: str, of: Store | None = None) -> Provisioning | None:
    """The provisioning of a node by a job; None when the job has none of it."""
    return next(iter(_select(sa.and_(_t.job_id == job_id, _t.node == node), of)), None)


def change(it: Provisioning, **changes: Any) -> Provisioning:
    """Commit changes within a state; returns the provisioning as it is then.

    Raises:
        Overtaken: it was changed since it was read.
    """
    target, changed = store.current(), replace(it, version=it.version + 1, **changes)
    with target.write(durable=True) as connection:
        _replace(connection, it, changed)
        if changed.trouble != it.trouble or changed.task is not it.task:
            _tell(connection, target, changed)
    return changed


def enter(it: Provisioning, event: Event, now: float, reason: str | None = None, **changes: Any) -> Provisioning:
    """Commit that an event has come, and the state that it leads to; returns the provisioning as it is then.

    Raises:
        Overtaken: it was changed since it was read.
    """
    target, state = store.current(), after(it.state, event)
    fresh = {"state": state, "state_at": now, "task": first_of(state), "task_at": now, "trouble": None}
    no_command = {"looks": 0, "sent_at": None, "sent_times": 0, "reference": None}
    changed = replace(it, version=it.version + 1, **{**fresh, **no_command, **changes})
    with target.write(durable=True) as connection:
        _replace(connection, it, changed)
        _note(connection, changed, event, it.state, reason)
        _tell(connection, target, changed)
    return changed


def take_turn(it: Provisioning, groups: Groups, now: float) -> Provisioning:
    """Commit when the node may be powered on: no more than a group of nodes within any interval, all workers together.

    Raises:
        Overtaken: it was changed since it was read.
    """
    target = store.current()
    with target.write(durable=True) as connection:
        if not target.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_TURNS_LOCK)))
        latest = sa.select(_t.turn_at).where(_t.turn_at.is_not(None)).order_by(_t.turn_at.desc()).limit(groups.size)
        given = connection.scalars(latest).all() if groups.size else []
        is_full = groups.size and len(given) == groups.size
        turn_at = max(now, given[-1] + groups.seconds) if is_full else now
        changed = replace(it, version=it.version + 1, turn_at=turn_at)
        _replace(connection, it, changed)
    return changed


def ask_to_abort(nodes: Sequence[str], now: float, to: Store | None = None) -> list[Provisioning]:
    """Ask open provisionings of nodes to stop; gives all of these, also those that were asked before."""
    target = to or store.current()
    asked = sa.update(provisionings).where(_OPEN, _t.node.in_(nodes), _t.abort_at.is_(None)).values(abort_at=now)
    with target.write(durable=True) as connection:
        connection.execute(asked)
    return _select(sa.and_(_OPEN, _t.node.in_(nodes)), target)


def was_asked_to_abort(it: Provisioning, of: Store | None = None) -> bool:
    """Whether somebody asked a provisioning to stop."""
    query = sa.select(_t.abort_at).where(_t.job_id == it.job_id, _t.node == it.node)
    with (of or store.current()).read() as connection:
        return connection.scalar(query) is not None


def of_job(job_id: str, of: Store | None = None) -> list[Provisioning]:
    """The provisionings of a job, by node."""
    return _select(_t.job_id == job_id, of)


def latest(nodes: Sequence[str], of: Store | None = None) -> dict[str, Provisioning]:
    """The latest provisioning of each of these nodes that has one."""
    newest = sa.func.row_number().over(partition_by=_t.node, order_by=(_t.requested_at.desc(), _t.job_id))
    found: dict[str, Provisioning] = {}
    for first in range(0, len(nodes), NODES_AT_ONCE):
        part = nodes[first : first + NODES_AT_ONCE]
        ranked = sa.select(provisionings, newest.label("place")).where(_t.node.in_(part)).subquery()
        with (of or store.current()).read() as connection:
            rows = connection.execute(sa.select(ranked).where(ranked.c.place == 1))
            found |= {row.node: _provisioning(row._mapping) for row in rows}
    return found


def history(node: str, limit: int = 200, of: Store | None = None) -> list[Transition]:
    """The latest changes of state of a node, oldest first."""
    query = sa.select(transitions).where(transitions.c.node == node)
    newest = query.order_by(transitions.c.at.desc(), transitions.c.version.desc()).limit(limit)
    with (of or store.current()).read() as connection:
        return [_transition(row) for row in connection.execute(newest)][::-1]


def left_behind(of: Store | None = None) -> list[Provisioning]:
    """Provisionings that nobody goes on with: their jobs have ended, as by an abort, and they have not."""
    query = sa.select(provisionings, JOB_STATE).join(steps.steps, steps.steps.c.id == _t.job_id).where(_OPEN)
    with (of or store.current()).read() as connection:
        rows = connection.execute(query).all()
    return [_provisioning(row._mapping) for row in rows if row.job_state in set(steps.ENDED)]


def _select(condition: sa.ColumnElement[bool], of: Store | None) -> list[Provisioning]:
    with (of or store.current()).read() as connection:
        rows = connection.execute(sa.select(provisionings).where(condition).order_by(_t.node))
        return [_provisioning(row._mapping) for row in rows]


def _replace(connection: Connection, it: Provisioning, changed: Provisioning) -> None:
    kept = {name: value for name, value in _row(changed).items() if name not in ("job_id", "node", *_OTHERS)}
    same = sa.and_(_t.job_id == it.job_id, _t.node == it.node, _t.version == it.version)
    if not connection.execute(sa.update(provisionings).where(same).values(kept)).rowcount:
        raise Overtaken(f"{it.node} {it.state} {it.task}")


def _note(
    connection: Connection, it: Provisioning, event: Event | None, before: State | None, reason: str | None
) -> None:
    row = {"job_id": it.job_id, "node": it.node, "version": it.version, "at": it.state_at, "event": event,
           "before": before, "after": it.state, "reason": None if reason is None else storable(reason)}  # fmt: skip
    connection.execute(sa.insert(transitions).values({name: _plain(value) for name, value in row.items()}))


# -- what a job tells of its nodes


def _tell(connection: Connection, target: Store, it: Provisioning) -> None:
    outcome = _outcome(it)
    insert = target.insert(steps.node_outcomes).values(outcome)
    connection.execute(insert.on_conflict_do_update(index_elements=["step_id", "node"], set_=outcome))
    _tell_progress(connection, it)


def _tell_progress(connection: Connection, it: Provisioning) -> None:
    counted = sa.select(sa.func.count(), sa.func.count(sa.case((_OPEN, 1)))).where(_t.job_id == it.job_id)
    total, still_open = connection.execute(counted).one()
    told = {"progress_done": total - still_open, "progress_total": total, "progress_note": f"{it.node} {it.state}"}
    connection.execute(sa.update(steps.steps).where(steps.steps.c.id == it.job_id).values(told))


def _outcome(it: Provisioning) -> dict[str, Any]:
    """The row of the node among the outcomes of its job's first step."""
    ok = it.state is State.SUCCESS if it.ended else None
    data = {"state": it.state.value, "image": it.image, "driver": it.driver}
    error = it.error if it.ended else it.error or it.trouble
    return {
        "step_id": it.job_id, "node": it.node, "ok": ok, "stage": it.state.value,
        "error": None if error is None else storable(error), "error_kind": it.error_kind if it.ended else None,
        "data": orjson.dumps(data).decode(), "at": time.time(),
    }  # fmt: skip


# -- rows


def _row(it: Provisioning) -> dict[str, Any]:
    row = {name: _plain(value) for name, value in asdict(it).items()}
    texts = {name: None if row[name] is None else storable(row[name]) for name in ("trouble", "error", "image")}
    return {**row, **texts, "before": orjson.dumps(it.before).decode()}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, State | Task | Event) else value


def _provisioning(row: Any) -> Provisioning:
    values = {field.name: row[field.name] for field in fields(Provisioning)}
    values |= {"state": State(values["state"]), "before": orjson.loads(values["before"])}
    values |= {
        "task": values["task"] and Task(values["task"]),
        "failed_in": values["failed_in"] and State(values["failed_in"]),
    }
    return Provisioning(**values)


def _transition(row: Any) -> Transition:
    return Transition(
        row.job_id, row.node, row.at, row.event and Event(row.event), row.before and State(row.before),
        State(row.after), row.reason,
    )  # fmt: skip
