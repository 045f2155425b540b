"""What the store keeps of launches: one row for each server, with the output of its script."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cloudmesh_actors import settings, steps, store
from cloudmesh_actors.launcher.model import ENDED, Launch, LaunchState, Stat, Value
from cloudmesh_actors.prepared import Prepared
from cloudmesh_actors.steps import State
from cloudmesh_actors.store import Store

#: Rows deleted in one transaction, so that others get their turn.
FORGOTTEN_AT_ONCE = 500

table = sa.Table(
    "launcher_launches",
    store.metadata,
    sa.Column("step_id", sa.String(64), primary_key=True),
    sa.Column("job_id", sa.String(64), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # its place among the job's launches
    sa.Column("recipe", sa.String(64), nullable=False),
    sa.Column("server", sa.String(255), nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),  # JSON
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("error_kind", sa.String(32)),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("ended_at", sa.Double),
    sa.Column("script", sa.String(80)),  # the name under which its script was started, written down before
    sa.Column("place", sa.String(300)),  # where the script runs
    sa.Column("output", sa.Text),
    sa.Index("ix_launcher_launches_created", "created_at", "job_id", "number"),
    sa.Index("ix_launcher_launches_job", "job_id", "number"),
    sa.Index("ix_launcher_launches_state", "state"),
    sa.Index("ix_launcher_launches_server", "server"),
    sa.Index("ix_launcher_launches_stat", "recipe", "server", "state"),
)

_t, _s = table.c, steps.steps.c

# spelled out: an IN list cannot go into a statement that is compiled once
_OPEN = sa.or_(*(_t.state == state.value for state in LaunchState if state not in ENDED))

#: The state, also of a launch whose step ended without its knowing: aborted in the queue, or set aside.
_state = sa.case(
    (sa.and_(_OPEN, _s.state == State.ABORTED), LaunchState.ABORTED.value),
    (sa.and_(_OPEN, _s.state == State.FAILED), LaunchState.ERROR.value),
    else_=_t.state,
)
_ended_at = sa.func.coalesce(_t.ended_at, _s.ended_at)
_COLUMNS = (
    _t.step_id, _t.job_id, _t.recipe, _t.server, _t.parameters, _state.label("state"),
    sa.func.coalesce(_t.error, _s.error).label("error"), _t.created_at, _t.started_at, _ended_at.label("ended_at"),
    _s.worker,
)  # fmt: skip
_JOINED = table.outerjoin(steps.steps, _s.id == _t.step_id)


@dataclass(frozen=True, slots=True)
class Begun:
    """What is known of a launch that a worker takes up: how it ended, or under which name its script was started.

    `script` is None while no script was started; `place` is where it was.
    """

    state: LaunchState
    error: str | None = None
    error_kind: str | None = None
    script: str | None = None
    place: str | None = None


def add(
    job_id: str,
    recipe: str,
    parameters: dict[str, Value],
    servers: Sequence[tuple[str, str]],
    to: Store | None = None,
) -> None:
    """Record the launches of a job as queued; `servers` are pairs of step id and server. One that is there stays."""
    target = to or store.current()
    same = {"job_id": job_id, "recipe": recipe, "parameters": orjson.dumps(parameters).decode(),
            "state": LaunchState.QUEUED.value, "created_at": time.time()}  # fmt: skip
    rows = [
        {**same, "number": number, "step_id": step_id, "server": server}
        for number, (step_id, server) in enumerate(servers)
    ]
    with target.write() as connection:
        connection.execute(target.insert(table).on_conflict_do_nothing(), rows)


def begin(step_id: str, to: Store | None = None) -> Begun | None:
    """Record that a worker has taken up a launch; what is known of it from before. None when there is no such."""
    with (to or store.current()).write() as connection:
        known = _begun(connection, step_id)
        if known is not None and known.state not in ENDED:
            state = LaunchState.DEPLOY if known.script else LaunchState.RUNNING
            _BEGIN.run(connection, step=step_id, to=state.value, now=time.time())
    return known


def begun(step_id: str, of: Store | None = None) -> Begun | None:
    """What is known of a launch that was taken up; None when there is no such."""
    with (of or store.current()).read() as connection:
        return _begun(connection, step_id)


def _begun(connection: Connection, step_id: str) -> Begun | None:
    row = _LOOK.run(connection, step=step_id).fetchone()
    return None if row is None else Begun(LaunchState(row[0]), *row[1:])


def deploying(step_id: str, script: str, place: str, *, durable: bool = True, to: Store | None = None) -> None:
    """Record that a script is about to be started. Call it before; not durably only for what has no effect."""
    with (to or store.current()).write(durable=durable) as connection:
        _DEPLOYING.run(connection, step=step_id, name=script, where=place)


def printed(step_id: str, text: str, to: Store | None = None) -> None:
    """Record the output so far."""
    with (to or store.current()).write() as connection:
        connection.execute(sa.update(table).where(_t.step_id == step_id, _OPEN).values(output=text))


def end(
    step_id: str,
    state: LaunchState,
    *,
    error: str | None = None,
    error_kind: str | None = None,
    output: str | None = None,
    durable: bool = True,
    to: Store | None = None,
) -> None:
    """Record how a launch ended; the first word counts. Without `output`, what was recorded stays."""
    with (to or store.current()).write(durable=durable) as connection:
        _END.run(connection, step=step_id, to=state.value, text=error, kind=error_kind, now=time.time(), out=output)


def launches(
    *,
    job: str | None = None,
    recipe: str | None = None,
    server: str | None = None,
    state: LaunchState | str | None = None,
    before: str | None = None,
    limit: int = 50,
    of: Store | None = None,
) -> list[Launch]:
    """Launches, the latest job first, and each job's in the order of its servers.

    Args:
        job: the whole id of a job.
        before: the step id of the last launch of the page before.
    """
    query = sa.select(*_COLUMNS).select_from(_JOINED)
    for column, value in ((_t.job_id, job), (_t.recipe, recipe), (_t.server, server)):
        query = query if value is None else query.where(column == value)
    if state is not None:
        query = query.where(_is_in(LaunchState(state)))
    query = query.order_by(_t.created_at.desc(), _t.job_id, _t.number).limit(limit)
    with (of or store.current()).read() as connection:
        if before is not None:
            query = query.where(_after(connection, before))
        return [_launch(row) for row in connection.execute(query)]


def get(step_id: str, of: Store | None = None) -> Launch | None:
    """One launch; None when there is no such."""
    query = sa.select(*_COLUMNS).select_from(_JOINED).where(_t.step_id == step_id)
    with (of or store.current()).read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _launch(row)


def output(step_id: str, of: Store | None = None) -> str:
    """What a launch's script printed, without control characters: the beginning and the end if it was long."""
    with (of or store.current()).read() as connection:
        return connection.scalar(sa.select(_t.output).where(_t.step_id == step_id)) or ""


def counts(job: str, of: Store | None = None) -> dict[LaunchState, int]:
    """How many launches of a job are in each state."""
    query = sa.select(_state, sa.func.count()).select_from(_JOINED).where(_t.job_id == job).group_by(_state)
    with (of or store.current()).read() as connection:
        return {LaunchState(state): count for state, count in connection.execute(query)}


def stats(of: Store | None = None) -> list[Stat]:
    """How many launches of each recipe are in which state on each server, and how long they took."""
    every = sa.union_all(_settled(), _unsettled()).subquery().c
    columns = (
        every.recipe, every.server, every.state, sa.func.count().label("launches"),
        sa.func.min(every.took).label("low"), sa.func.avg(every.took).label("mean"),
        sa.func.max(every.took).label("high"), sa.func.max(every.created_at).label("latest"),
    )  # fmt: skip
    query = sa.select(*columns).group_by(every.recipe, every.server, every.state)
    with (of or store.current()).read() as connection:
        rows = connection.execute(query.order_by(every.recipe, every.server, every.state)).all()
    return [_stat(row) for row in rows]


def _settled() -> sa.Select[Any]:
    """Launches that have ended by their own word: nearly all, and no step has to be looked at."""
    took = (_t.ended_at - _t.started_at).label("took")
    return sa.select(_t.recipe, _t.server, _t.state.label("state"), took, _t.created_at).where(sa.not_(_OPEN))


def _unsettled() -> sa.Select[Any]:
    took = (_ended_at - _t.started_at).label("took")
    columns = (_t.recipe, _t.server, _state.label("state"), took, _t.created_at)
    return sa.select(*columns).select_from(_JOINED).where(_OPEN)


def reset(of: Store | None = None) -> int:
    """Forget the launches that have ended. Returns how many."""
    return _forget(of or store.current(), sa.true())


def prune(now: float | None = None, of: Store | None = None) -> int:
    """Forget launches that ended longer ago than jobs are kept. Returns how many."""
    oldest = (time.time() if now is None else now) - settings.current().job_keep_days * 86_400
    return _forget(of or store.current(), _ended_at < oldest)


def left_alone(of: Store | None = None) -> list[str]:
    """Launches whose script may still run although their step has ended: who aborted them could not reach it."""
    gone = sa.and_(_OPEN, _t.script.is_not(None), _s.state.in_([*steps.ENDED]))
    with (of or store.current()).read() as connection:
        return list(connection.scalars(sa.select(_t.step_id).select_from(_JOINED).where(gone).order_by(_t.created_at)))


def _forget(target: Store, which: sa.ColumnElement[bool]) -> int:
    ended = _state.in_([state.value for state in ENDED])
    chosen = sa.select(_t.step_id).select_from(_JOINED).where(ended, which).limit(FORGOTTEN_AT_ONCE)
    forgotten = 0
    while True:
        with target.write() as connection:
            ids = connection.scalars(chosen).all()
            connection.execute(sa.delete(table).where(_t.step_id.in_(ids)))
        forgotten += len(ids)
        if len(ids) < FORGOTTEN_AT_ONCE:
            return forgotten


def _is_in(state: LaunchState) -> sa.ColumnElement[bool]:
    """Whether a launch is in a state; of those that go on, which are few, the index on the column tells."""
    now = sa.literal(state.value) == _state
    return now if state in ENDED else sa.and_(_t.state == state.value, now)


def _after(connection: Connection, step_id: str) -> sa.ColumnElement[bool]:
    """What comes after a launch in the order of `launches`; everything when that launch was forgotten."""
    last = connection.execute(sa.select(_t.created_at, _t.job_id, _t.number).where(_t.step_id == step_id)).one_or_none()
    if last is None:
        return sa.true()
    same_time = _t.created_at == last.created_at
    return sa.or_(
        _t.created_at < last.created_at,
        sa.and_(same_time, _t.job_id > last.job_id),
        sa.and_(same_time, _t.job_id == last.job_id, _t.number > last.number),
    )


def _launch(row: Any) -> Launch:
    return Launch(
        step_id=row.step_id, job_id=row.job_id, recipe=row.recipe, server=row.server,
        parameters=orjson.loads(row.parameters), state=LaunchState(row.state), error=row.error,
        created_at=_time(row.created_at), started_at=_maybe(row.started_at), ended_at=_maybe(row.ended_at),
        worker=row.worker,
    )  # fmt: skip


def _stat(row: Any) -> Stat:
    state, latest = LaunchState(row.state), _time(row.latest)
    return Stat(row.recipe, row.server, state, row.launches, row.low, row.mean, row.high, latest)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)


_STEP = _t.step_id == sa.bindparam("step")
_LOOK = Prepared(sa.select(_t.state, _t.error, _t.error_kind, _t.script, _t.place).where(_STEP))
_BEGIN = Prepared(
    sa.update(table)
    .where(_STEP)
    .values(state=sa.bindparam("to"), started_at=sa.func.coalesce(_t.started_at, sa.bindparam("now")))
)
_DEPLOYING = Prepared(
    sa.update(table)
    .where(_STEP)
    .values(state=LaunchState.DEPLOY.value, script=sa.bindparam("name"), place=sa.bindparam("where"))
)
_END = Prepared(
    sa.update(table)
    .where(_STEP, _OPEN)
    .values(
        state=sa.bindparam("to"),
        error=sa.bindparam("text"),
        error_kind=sa.bindparam("kind"),
        ended_at=sa.bindparam("now"),
        output=sa.func.coalesce(sa.bindparam("out", type_=sa.Text), _t.output),
    )
)
