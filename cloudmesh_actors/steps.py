"""The tables of jobs, and every change of a step's state.

A job is what one `send()` asked for; its messages are its steps, and the first step, whose id is the job's, is its
root. A step's state moves ::

    queued → running → done | failed | aborted
       ↑________│                                a retry, or handed back by a worker that stops

Times are seconds since the epoch. A root row also counts the steps below it that have not ended, and those that ended
badly, so that a job's state can be read, and filtered by, from its root row alone (`JOB_STATE`).
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cloudmesh_actors.prepared import Prepared, PreparedBatch
from cloudmesh_actors.store import Store, dialect_insert, metadata


class State(StrEnum):
    """What a step, or a job, is doing."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    ABORTED = "aborted"


#: States that are never left again.
ENDED = frozenset({State.DONE, State.FAILED, State.ABORTED})

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),  # the message id
    sa.Column("root_id", sa.String(64), nullable=False),
    sa.Column("parent_id", sa.String(64)),
    sa.Column("retry_of", sa.String(64)),  # the job that this one repeats
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("queue", sa.String(64), nullable=False),
    sa.Column("arguments", sa.Text, nullable=False),  # JSON: {"args": […], "kwargs": {…}}
    sa.Column("sender", sa.String(128)),  # user@host
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("runs", sa.Integer, nullable=False, default=0),
    sa.Column("worker", sa.String(128)),
    sa.Column("enqueued_at", sa.Double, nullable=False),
    sa.Column("due_at", sa.Double),  # not before
    sa.Column("started_at", sa.Double),  # of the latest run
    sa.Column("ended_at", sa.Double),
    sa.Column("abort_at", sa.Double),  # when an abort was asked
    sa.Column("progress_done", sa.Integer),
    sa.Column("progress_total", sa.Integer),
    sa.Column("progress_note", sa.Text),
    sa.Column("result", sa.Text),  # JSON
    sa.Column("error", sa.Text),  # a sentence
    sa.Column("error_type", sa.String(128)),
    sa.Column("traceback", sa.Text),
    sa.Column("open_steps", sa.Integer, nullable=False, default=0),  # on roots: steps below that have not ended
    sa.Column("failed_steps", sa.Integer, nullable=False, default=0),
    sa.Column("aborted_steps", sa.Integer, nullable=False, default=0),
    sa.Column("job_ended_at", sa.Double),  # on roots: when the last of its steps ended
    sa.Column("options", sa.Text),  # JSON: the message's own options besides its place among steps
    sa.Column("deaths", sa.Integer, nullable=False, default=0, server_default="0"),  # runs that died with their worker
    sa.Column("swept_at", sa.Double),  # when it was last published again because its message was lost
    sa.Index("ix_steps_root", "root_id"),
    sa.Index("ix_steps_state", "state", "enqueued_at"),
    sa.Index("ix_steps_enqueued", "enqueued_at"),
    sa.Index("ix_steps_actor", "actor", "enqueued_at"),
)

node_outcomes = sa.Table(
    "node_outcomes",
    metadata,
    sa.Column("step_id", sa.String(64), sa.ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("node", sa.String(255), primary_key=True),
    sa.Column("ok", sa.Boolean),  # null: not ended
    sa.Column("stage", sa.String(64)),  # the last mark, set before a command is sent
    sa.Column("error", sa.Text),
    sa.Column("error_kind", sa.String(32)),
    sa.Column("data", sa.Text),  # JSON
    sa.Column("at", sa.Double, nullable=False),
)

#: Runs whose worker was killed while they ran.
run_deaths = sa.Table(
    "run_deaths",
    metadata,
    sa.Column("step_id", sa.String(64), primary_key=True),
    sa.Column("worker", sa.String(128), primary_key=True),
    sa.Column("started_at", sa.Double, primary_key=True),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("found_at", sa.Double, nullable=False),
)

#: Steps that are looked at in one query.
LOOK_AHEAD = 32

#: A step whose runs killed their worker this often is not run again.
MOST_DEATHS = 3

#: Before its last try such a step waits until so long after the start of the run before, in seconds. When a machine
#: fails bit by bit, an innocent step would otherwise go from a worker that dies to one that is about to.
SUSPECTED_S = 5.0

#: Since when a step may begin, as an SQL expression.
may_begin_at = sa.func.coalesce(steps.c.due_at, steps.c.enqueued_at)

#: A job's state, as an SQL expression on its root row.
JOB_STATE = sa.case(
    (sa.and_(steps.c.state.in_([*ENDED]), steps.c.open_steps > 0), State.RUNNING.value),
    (sa.and_(steps.c.state == State.DONE, steps.c.failed_steps > 0), State.FAILED.value),
    (sa.and_(steps.c.state == State.DONE, steps.c.aborted_steps > 0), State.ABORTED.value),
    else_=steps.c.state,
).label("job_state")


class Queued(NamedTuple):
    """A step that is about to be published."""

    id: str
    root_id: str
    parent_id: str | None
    retry_of: str | None
    actor: str
    queue: str
    arguments: str
    sender: str
    enqueued_at: float
    due_at: float | None
    options: str | None = None


class Started(NamedTuple):
    """A run that began."""

    step_id: str
    worker: str
    at: float


class Death(NamedTuple):
    """A run that ended with its worker's process."""

    step_id: str
    worker: str
    run: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: a final state, or QUEUED when the step is to run again."""

    step_id: str
    root_id: str
    state: State
    at: float
    result: str | None = None
    error: str | None = None
    error_type: str | None = None
    traceback: str | None = None
    due_at: float | None = None


class Verdict(StrEnum):
    """What a worker may do with a message that it was given."""

    RUN = "run"
    RECORDED = "recorded"  # its outcome is known: acknowledge, do not run
    ABORTED = "aborted"  # somebody asked, before it began
    RUNNING = "running"  # a run of it has begun and nobody has recorded its end
    SUSPECT = "suspect"  # all but one of the runs that it may lose killed their workers, a moment ago: wait
    POISON = "poison"  # its runs killed their workers: set it aside
    UNKNOWN = "unknown"  # it has no row: sent by somebody else's program, or long forgotten


class Claim(NamedTuple):
    """The verdict, how often the step ran before, the job that it belongs to, and who began its latest run, when."""

    verdict: Verdict
    runs: int = 0
    root_id: str = ""
    worker: str | None = None
    started_at: float | None = None


_NONE: Mapping[str, Started] = MappingProxyType({})

#: What a new step has besides what is known of it.
_NEW = {"state": State.QUEUED.value, "runs": 0, "deaths": 0, "open_steps": 0, "failed_steps": 0, "aborted_steps": 0}


def insert_roots(store: Store, queued: Sequence[Queued]) -> None:
    """Record new jobs as queued. Raises StoreUnavailable."""
    store.append(_insertion(store.is_sqlite), [*map(_new_row, queued)])


def insert(connection: Connection, store: Store, queued: Sequence[Queued]) -> None:
    """Record steps as queued, and count them on their jobs' root rows. A step that has a row keeps it."""
    if all(step.root_id == step.id for step in queued):
        _insertion(store.is_sqlite).run_many(connection, map(_new_row, queued))
        return
    roots = {step.root_id for step in queued if step.root_id != step.id}
    lock(connection, roots)
    told = dialect_insert(steps, store.is_sqlite).on_conflict_do_nothing().returning(steps.c.id)
    fresh = set(connection.scalars(told, [*map(_new_row, queued)]))
    distinct = {step.id: step for step in queued if step.id in fresh}.values()
    below = Counter(step.root_id for step in distinct if step.root_id != step.id)
    for root_id, count in sorted(below.items()):
        more = {"open_steps": steps.c.open_steps + count, "job_ended_at": None}
        connection.execute(sa.update(steps).where(steps.c.id == root_id).values(more))
    _abort_as_their_jobs(connection, roots, fresh)


def _new_row(step: Queued) -> dict[str, Any]:
    return {**step._asdict(), **_NEW}


def _abort_as_their_jobs(connection: Connection, roots: Collection[str], fresh: Collection[str]) -> None:
    """A step that is sent by a run whose job was aborted meanwhile never runs."""
    asked = sa.select(steps.c.id, steps.c.abort_at).where(steps.c.id.in_(roots), steps.c.abort_at.is_not(None))
    for root_id, abort_at in connection.execute(asked).all():
        new_below = sa.and_(steps.c.root_id == root_id, steps.c.id.in_(fresh))
        connection.execute(sa.update(steps).where(new_below).values(abort_at=abort_at))


def look_ahead(store: Store, step_ids: Sequence[str]) -> dict[str, Claim]:
    """What may be done now with each of up to `LOOK_AHEAD` steps, without changing anything."""
    wanted = {**_NO_STEPS, **{f"step{number}": step_id for number, step_id in enumerate(step_ids)}}
    if store.is_sqlite:
        rows = orjson.loads(store.peek(_LOOK_AHEAD_AS_JSON, **wanted)[0])
    else:
        rows = store.peek_all(_LOOK_AHEAD, **wanted)
    now = time.time()
    found = {row[0]: _claim_of(row[1:], now) for row in rows}
    return {step_id: found.get(step_id) or Claim(Verdict.UNKNOWN) for step_id in step_ids}


def claim(connection: Connection, started: Started, after_run: int | None = None) -> Claim:
    """Look at a step and, if it may run, record that it does: between the two nobody can abort it or begin it too.

    Args:
        after_run: a run of it that was recorded as running and is known to have died.
    """
    lock(connection, {started.step_id})
    seen = _claim_of(_LOOK.run(connection, step=started.step_id).fetchone(), started.at)
    if seen.verdict is Verdict.RUNNING and seen.runs == after_run:
        seen = seen._replace(verdict=Verdict.RUN)
    if seen.verdict is Verdict.RUN:
        start(connection, [started])
    return seen


def _claim_of(row: tuple[str, int, float | None, str, int, str | None, float | None] | None, now: float) -> Claim:
    if row is None:
        return Claim(Verdict.UNKNOWN)
    state, runs, abort_at, root_id, deaths, worker, started_at = row
    verdict = _verdict(state, deaths, abort_at)
    if verdict is Verdict.RUN and deaths == MOST_DEATHS - 1 and started_at and now < started_at + SUSPECTED_S:
        verdict = Verdict.SUSPECT
    return Claim(verdict, runs, root_id, worker, started_at)


def _verdict(state: str, deaths: int, abort_at: float | None) -> Verdict:
    if state in ENDED:
        return Verdict.RECORDED
    if abort_at:
        return Verdict.ABORTED
    if deaths >= MOST_DEATHS:
        return Verdict.POISON
    return Verdict.RUNNING if state == State.RUNNING else Verdict.RUN


def start(connection: Connection, started: Iterable[Started]) -> None:
    """Record that runs began. A step that has ended stays so; one that was aborted at that very moment tells of it."""
    rows = [{"step": s.step_id, "by": s.worker, "now": s.at} for s in started]
    if rows:
        _START.run_many(connection, rows)


def end(connection: Connection, ended: Sequence[Ended], began: Mapping[str, Started] = _NONE) -> None:
    """Record how runs ended, each step's outcome once, and settle the counts of their jobs.

    Args:
        began: starts that are not recorded yet of runs among these, by step; both are recorded in one go.
    """
    if any(e.step_id != e.root_id or e.state is State.QUEUED for e in ended):
        lock(connection, {name for e in ended for name in (e.step_id, e.root_id)})
        ended = _heeding_aborts(connection, ended)
    below = {e.step_id: e for e in reversed(ended) if e.step_id != e.root_id and e.state in ENDED}
    if below:
        for step_id in _ended_among(connection, list(below)):
            del below[step_id]
    if whole := [e for e in ended if e.step_id in began]:
        _RUNS.run(connection, [_run_values(e, began[e.step_id]) for e in whole])
    if rest := [e for e in ended if e.step_id not in began]:
        _END.run_many(connection, [_end_values(e) for e in rest])
    by_root = defaultdict(list)
    for e in below.values():
        by_root[e.root_id].append(e)
    for root_id, its in sorted(by_root.items()):
        _settle_root(connection, root_id, its)


def lock(connection: Connection, step_ids: Collection[str]) -> None:
    """Lock rows in one order for all writers: two that lock them in different orders would wait for each other.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name != "sqlite" and step_ids:
        query = sa.select(steps.c.id).where(steps.c.id.in_(step_ids)).order_by(steps.c.id)
        connection.execute(query.with_for_update(key_share=True)).all()


def _heeding_aborts(connection: Connection, ended: Sequence[Ended]) -> Sequence[Ended]:
    """A step that was to run again and whose job was aborted at that moment ends instead."""
    again = [e.step_id for e in ended if e.state is State.QUEUED]
    if not again:
        return ended
    asked = set(connection.scalars(sa.select(steps.c.id).where(steps.c.id.in_(again), steps.c.abort_at.is_not(None))))
    return [_aborted_between_runs(e) if e.step_id in asked and e.state is State.QUEUED else e for e in ended]


def _aborted_between_runs(e: Ended) -> Ended:
    error = "It was aborted between two runs." if e.error is None else f"It was aborted before another run. {e.error}"
    return replace(e, state=State.ABORTED, error=error, error_type="JobAborted", due_at=None)


def _ended_among(connection: Connection, ids: list[str]) -> Sequence[str]:
    return connection.scalars(sa.select(steps.c.id).where(steps.c.id.in_(ids), steps.c.state.in_([*ENDED]))).all()


def _end_values(e: Ended) -> dict[str, Any]:
    final = e.state in ENDED
    return {
        "step": e.step_id, "to": e.state.value, "ended": e.at if final else None, "out": e.result, "text": e.error,
        "kind": e.error_type, "trace": e.traceback, "due": e.due_at,
        "job_ended": e.at if final and e.step_id == e.root_id else None,
    }  # fmt: skip


def _run_values(e: Ended, started: Started) -> dict[str, Any]:
    return {**_end_values(e), "by": started.worker, "began": started.at}


def _settle_root(connection: Connection, root_id: str, ended: Sequence[Ended]) -> None:
    last = max(e.at for e in ended)
    later = sa.case((steps.c.job_ended_at > last, steps.c.job_ended_at), else_=last)
    connection.execute(
        sa.update(steps)
        .where(steps.c.id == root_id)
        .values(
            open_steps=steps.c.open_steps - len(ended),
            failed_steps=steps.c.failed_steps + sum(e.state is State.FAILED for e in ended),
            aborted_steps=steps.c.aborted_steps + sum(e.state is State.ABORTED for e in ended),
            job_ended_at=sa.case((steps.c.state.in_([*ENDED]), later), else_=None),
        )
    )


def abort(connection: Connection, root_id: str, now: float) -> int:
    """End the queued steps of a job as aborted and ask its running ones to stop. Returns how many it reached."""
    of_job = steps.c.root_id == root_id
    lock(connection, connection.scalars(sa.select(steps.c.id).where(of_job)).all())
    queued = connection.scalars(sa.select(steps.c.id).where(of_job, steps.c.state == State.QUEUED)).all()
    asked = connection.execute(
        sa.update(steps).where(of_job, steps.c.state.not_in([*ENDED]), steps.c.abort_at.is_(None)).values(abort_at=now)
    )
    if queued:
        end(connection, [never_begun(step_id, root_id, now) for step_id in queued])
    return asked.rowcount


def never_begun(step_id: str, root_id: str, now: float) -> Ended:
    """The outcome of a step that was aborted while it was queued."""
    error = "It was aborted before it began."
    return Ended(step_id, root_id, State.ABORTED, now, error=error, error_type="JobAborted")


def bury(connection: Connection, store: Store, dead: Sequence[Death], now: float, *, blameless: bool) -> None:
    """Record runs that ended with their worker: their steps are queued again, as their messages are with the broker.

    Args:
        blameless: the run cannot have killed its worker, so it is not counted against its step.
    """
    if not dead:
        return
    lock(connection, {death.step_id for death in dead})
    rows = [{**death._asdict(), "found_at": now} for death in dead]
    new = dialect_insert(run_deaths, store.is_sqlite).on_conflict_do_nothing().returning(run_deaths.c.step_id)
    fresh = set(connection.scalars(new, rows))
    for death in dead:
        if death.step_id in fresh:
            connection.execute(_bury(death, not blameless))


def _bury(death: Death, count: bool) -> sa.Update:
    its_latest = sa.and_(steps.c.state == State.RUNNING, steps.c.runs <= death.run)
    return (
        sa.update(steps)
        .where(steps.c.id == death.step_id, _OPEN)
        .values(
            deaths=steps.c.deaths + int(count),
            runs=sa.case((steps.c.runs < death.run, death.run), else_=steps.c.runs),
            worker=sa.case((steps.c.runs < death.run, death.worker), else_=steps.c.worker),
            started_at=sa.case((steps.c.runs < death.run, death.started_at), else_=steps.c.started_at),
            state=sa.case((its_latest, State.QUEUED.value), else_=steps.c.state),
        )
    )


def deaths_of(connection: Connection, step_ids: Collection[str]) -> list[tuple[Death, float]]:
    """The runs of these steps that died with their worker, oldest first, and when that was found."""
    query = sa.select(run_deaths).where(run_deaths.c.step_id.in_(step_ids)).order_by(run_deaths.c.started_at)
    return [(Death(r.step_id, r.worker, r.run, r.started_at), r.found_at) for r in connection.execute(query)]


def storable(text: str) -> str:
    """The text without what a database cannot hold: PostgreSQL takes no NUL, and neither takes half a character."""
    return text.encode(errors="replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


@lru_cache(maxsize=2)
def _insertion(on_sqlite: bool) -> Prepared:
    new = dialect_insert(steps, on_sqlite).on_conflict_do_nothing()
    return Prepared(new, columns=(*Queued._fields, *_NEW))


_LOOKED_AT = (steps.c.state, steps.c.runs, steps.c.abort_at, steps.c.root_id, steps.c.deaths, steps.c.worker,
              steps.c.started_at)  # fmt: skip
_NO_STEPS = {f"step{number}": "" for number in range(LOOK_AHEAD)}
_AHEAD = sa.or_(*(steps.c.id == sa.bindparam(name) for name in _NO_STEPS))
_LOOK_AHEAD = Prepared(sa.select(steps.c.id, *_LOOKED_AT).where(_AHEAD))
# In SQLite as one row: at each row it lets another thread have the interpreter, which takes up to 5 ms to come back.
# Times lose what is less than 10 us in it.
_LOOK_AHEAD_AS_JSON = Prepared(
    sa.select(sa.func.json_group_array(sa.func.json_array(steps.c.id, *_LOOKED_AT))).where(_AHEAD)
)
_LOOK = Prepared(sa.select(*_LOOKED_AT).where(steps.c.id == sa.bindparam("step")))
# spelled out: an IN list cannot go through executemany
_OPEN = sa.or_(steps.c.state == State.QUEUED, steps.c.state == State.RUNNING)
_JUST_ABORTED = sa.and_(steps.c.state == State.ABORTED, steps.c.runs == 0)
_ABORTED_AT_ONCE = "It was aborted just as it began; what it did is not recorded."
_START = Prepared(
    sa.update(steps)
    .where(steps.c.id == sa.bindparam("step"), sa.or_(_OPEN, _JUST_ABORTED))
    .values(
        state=sa.case((_OPEN, State.RUNNING.value), else_=State.ABORTED.value),
        error=sa.case((_OPEN, steps.c.error), else_=_ABORTED_AT_ONCE),
        runs=steps.c.runs + 1,
        worker=sa.bindparam("by"),
        started_at=sa.bindparam("now"),
        due_at=None,
    )
)
_END = Prepared(
    sa.update(steps)
    .where(steps.c.id == sa.bindparam("step"), _OPEN)
    .values(
        state=sa.bindparam("to"),
        ended_at=sa.bindparam("ended"),
        job_ended_at=sa.bindparam("job_ended"),
        result=sa.bindparam("out"),
        error=sa.bindparam("text"),
        error_type=sa.bindparam("kind"),
        traceback=sa.bindparam("trace"),
        due_at=sa.bindparam("due"),
    )
)


def _if_open(value: Any, column: sa.Column[Any]) -> sa.Case[Any]:
    return sa.case((_OPEN, value), else_=column)


def _begin_and_end(given: Any) -> sa.Update:
    """`_START` and `_END` in one."""
    return (
        sa.update(steps)
        .where(steps.c.id == given.c.step, sa.or_(_OPEN, _JUST_ABORTED))
        .values(
            state=_if_open(given.c.to, steps.c.state),
            runs=steps.c.runs + 1,
            worker=given.c.by,
            started_at=given.c.began,
            ended_at=_if_open(given.c.ended, steps.c.ended_at),
            job_ended_at=_if_open(given.c.job_ended, steps.c.job_ended_at),
            result=_if_open(given.c.out, steps.c.result),
            error=sa.case((_OPEN, given.c.text), else_=_ABORTED_AT_ONCE),
            error_type=_if_open(given.c.kind, steps.c.error_type),
            traceback=_if_open(given.c.trace, steps.c.traceback),
            due_at=_if_open(given.c.due, steps.c.due_at),
        )
    )


_RUNS = PreparedBatch(
    {"step": sa.Text(), "to": sa.Text(), "by": sa.Text(), "began": sa.Double(), "ended": sa.Double(),
     "job_ended": sa.Double(), "out": sa.Text(), "text": sa.Text(), "kind": sa.Text(), "trace": sa.Text(),
     "due": sa.Double()},
    _begin_and_end,
)  # fmt: skip
