"""Jobs: what was asked for, how far it has come, how it ended.

::

    message = rack.read_sensors.send("i[001-004]")
    job = jobs.wait(message.message_id, timeout=60)
    job.state, job.result, [outcome.node for outcome in jobs.node_outcomes(job.id) if not outcome.ok]
    jobs.abort(job.id)
    again = jobs.retry(job.id)

A job is known by the id of the message that `send()` returned, and by any unambiguous beginning of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa

from cloudmesh_actors import runs, settings, steps, store
from cloudmesh_actors.errors import JobAborted, JobError, JobFailed, JobTimeout, UnknownJob
from cloudmesh_actors.runs import NodeOutcome, Run
from cloudmesh_actors.steps import ENDED, JOB_STATE, Death, State
from cloudmesh_actors.times import waits

__all__ = ["Death", "Job", "NodeOutcome", "Progress", "Run", "State", "abort", "counts", "current", "deaths", "find",
           "get", "latest", "node_counts", "node_outcomes", "prune", "result", "retry", "wait"]  # fmt: skip

#: Waits between two looks at a job, in seconds; the last one repeats.
LOOK_AGAIN_S = (0.005, 0.01, 0.02, 0.05, 0.1)

#: Rows deleted in one transaction, so that others get their turn.
PRUNE_AT_ONCE = 500

#: Ids that one query names at most: databases limit the number of parameters.
IDS_IN_A_QUERY = 500

_t = steps.steps.c

#: Everything of a root row but what may be long.
_BRIEF = (_t.id, _t.retry_of, _t.actor, _t.queue, _t.sender, JOB_STATE, _t.runs, _t.worker, _t.enqueued_at, _t.due_at,
          _t.started_at, _t.job_ended_at, _t.abort_at, _t.open_steps, _t.progress_done, _t.progress_total,
          _t.progress_note, _t.error, _t.error_type)  # fmt: skip
_WHOLE = (*_BRIEF, _t.arguments, _t.result, _t.traceback)
_ONE_BRIEF = sa.select(*_BRIEF).where(_t.id == sa.bindparam("job"))


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total`, and a few words."""

    done: int
    total: int
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stood when it was read. `result`, `traceback`, `args` and `kwargs` are empty in lists."""

    id: str
    actor: str
    queue: str
    state: State
    runs: int
    worker: str | None
    sender: str | None
    enqueued_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    abort_at: datetime | None
    progress: Progress | None
    error: str | None
    error_type: str | None
    retry_of: str | None
    args: list[Any]
    kwargs: dict[str, Any]
    result: Any
    traceback: str | None

    @property
    def ended(self) -> bool:
        """Whether the state will not change any more."""
        return self.state in ENDED


def current() -> Run:
    """The run that the calling actor is in; outside a worker one that records nothing."""
    return runs.current()


def get(job_id: str) -> Job:
    """One job, whole.

    Raises:
        UnknownJob: there is none, or several whose ids begin like this.
    """
    with store.current().read() as connection:
        row = connection.execute(sa.select(*_WHOLE).where(_t.id == _resolve(connection, job_id))).one()
        job = _job(row)
        if job.state is State.FAILED and job.error is None:
            job = replace(job, error=_error_below(connection, job.id))
        if job.state is State.DONE and job.result is None:
            job = replace(job, result=_result_of_nodes(connection, job.id))
    return job


def find(job_id: str) -> str:
    """The whole id of the job whose id begins like this. Raises UnknownJob."""
    with store.current().read() as connection:
        return _resolve(connection, job_id)


def latest(
    limit: int = 50,
    *,
    state: State | None = None,
    actor: str | None = None,
    queue: str | None = None,
    before: str | None = None,
) -> list[Job]:
    """The latest jobs, newest first, without results and tracebacks.

    Args:
        before: the id of a job, the last one of a page: those after it in this order.

    Raises:
        UnknownJob: there is no job `before`.
    """
    query = sa.select(*_BRIEF).where(_t.id == _t.root_id).order_by(_t.enqueued_at.desc(), _t.id).limit(limit)
    if state is not None:
        query = query.where(JOB_STATE.element == state)
    if actor is not None:
        query = query.where(_t.actor == actor)
    if queue is not None:
        query = query.where(_t.queue == queue)
    with store.current().read() as connection:
        if before is not None:
            query = query.where(_after(connection, before))
        return [_job(row) for row in connection.execute(query)]


def counts() -> dict[State, int]:
    """How many jobs are in each state. It looks at every job: not for each request."""
    query = sa.select(JOB_STATE, sa.func.count()).where(_t.id == _t.root_id).group_by(JOB_STATE)
    with store.current().read() as connection:
        return {State(state): count for state, count in connection.execute(query)}


def wait(
    job_id: str,
    timeout: float | None = None,
    *,
    watch: Callable[[Job], None] = lambda job: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Job:
    """Wait until a job has ended, at most `timeout` seconds; `watch` sees it each time that something changed.

    Raises:
        JobTimeout: it has not ended in time; it goes on.
        UnknownJob: there is none, or it was forgotten meanwhile.
    """
    deadline = None if timeout is None else clock() + timeout
    whole = find(job_id)
    seen, pauses = None, waits(LOOK_AGAIN_S)
    while True:
        job = _brief(whole)
        if job.ended:
            return get(whole)
        if job != seen:
            watch(job)
            seen = job
        if deadline is not None and clock() >= deadline:
            raise JobTimeout(f"The job {whole} is still {job.state} after {timeout:g} s; it goes on.")
        sleep(next(pauses))


def result(job_id: str, timeout: float | None = None) -> Any:
    """Wait for a job and give what its actor returned.

    Raises:
        JobFailed, JobAborted: it did not end well; the sentence says why.
        JobTimeout: it has not ended in time.
    """
    job = wait(job_id, timeout)
    if job.state is State.DONE:
        return job.result
    kind = JobAborted if job.state is State.ABORTED else JobFailed
    raise kind(job.error or f"The job {job.id} {job.state}.")


def abort(job_id: str) -> Job:
    """Ask a job to stop: what is queued never runs, what runs stops at its next safe point.

    Raises:
        UnknownJob: there is none.
    """
    whole = find(job_id)
    with store.current().write() as connection:
        steps.abort(connection, whole, time.time())
    return get(whole)


def retry(job_id: str) -> str:
    """Send an ended job's message again, as a new job with its own id, which is returned.

    Raises:
        JobError: it has not ended.
        ArgumentError: its arguments do not fit (any more): nodes may have left the site.
    """
    from cloudmesh_actors import actor

    job = get(job_id)
    if not job.ended:
        raise JobError(f"The job {job.id} is {job.state}: it can be retried when it has ended.")
    message = actor.find(job.actor).send_with_options(args=tuple(job.args), kwargs=job.kwargs, retry_of=job.id)
    return str(message.message_id)


def node_outcomes(job_id: str) -> list[NodeOutcome]:
    """How each node of a job ended, all its steps together, by step and node."""
    table = steps.node_outcomes
    query = (
        sa.select(table)
        .join(steps.steps, _t.id == table.c.step_id)
        .where(_t.root_id == find(job_id))
        .order_by(_t.enqueued_at, table.c.node)
    )
    with store.current().read() as connection:
        return [runs.node_outcome(row) for row in connection.execute(query)]


def deaths(job_id: str) -> list[Death]:
    """The runs of a job, all its steps together, that ended with the death of their worker; oldest first."""
    with store.current().read() as connection:
        of_job = connection.scalars(sa.select(_t.id).where(_t.root_id == _resolve(connection, job_id))).all()
        return [death for death, _ in steps.deaths_of(connection, of_job)]


def node_counts(job_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """How many nodes of each of these jobs ended well, and how many badly; jobs without nodes are left out."""
    table = steps.node_outcomes
    query = (
        sa.select(
            _t.root_id, sa.func.sum(sa.case((table.c.ok, 1), else_=0)).label("good"), sa.func.count().label("all")
        )
        .join(table, _t.id == table.c.step_id)
        .where(table.c.ok.is_not(None))
        .group_by(_t.root_id)
    )
    counts: dict[str, tuple[int, int]] = {}
    with store.current().read() as connection:
        for first in range(0, len(job_ids), IDS_IN_A_QUERY):
            part = job_ids[first : first + IDS_IN_A_QUERY]
            for row in connection.execute(query.where(_t.root_id.in_(part))):
                counts[row.root_id] = row.good, row.all - row.good
    return counts


def prune(now: float | None = None) -> int:
    """Forget ended jobs that are older or more than the settings allow. Returns how many."""
    config = settings.current()
    now = time.time() if now is None else now
    forgotten = 0
    while chosen := _expired(now - config.job_keep_days * 86_400, config.job_keep_count):
        with store.current().write() as connection:
            of_jobs = _t.root_id.in_(chosen)
            for table in (steps.node_outcomes, steps.run_deaths):
                connection.execute(sa.delete(table).where(table.c.step_id.in_(sa.select(_t.id).where(of_jobs))))
            connection.execute(sa.delete(steps.steps).where(of_jobs))
        forgotten += len(chosen)
    return forgotten


def _expired(before: float, keep: int) -> Sequence[str]:
    ended_roots = sa.and_(_t.id == _t.root_id, _t.job_ended_at.is_not(None), _t.open_steps == 0)
    newest = sa.select(_t.enqueued_at).where(ended_roots).order_by(_t.enqueued_at.desc()).offset(keep).limit(1)
    with store.current().read() as connection:
        surplus = connection.scalar(newest)
        too_old = sa.or_(_t.job_ended_at < before, _t.enqueued_at <= (-1.0 if surplus is None else surplus))
        return connection.scalars(sa.select(_t.id).where(ended_roots, too_old).limit(PRUNE_AT_ONCE)).all()


def _resolve(connection: sa.Connection, job_id: str) -> str:
    exact = connection.scalar(sa.select(_t.root_id).where(_t.id == job_id))
    if exact is not None:
        return str(exact)
    begins = sa.select(_t.id).where(_t.id == _t.root_id, _t.id.startswith(job_id, autoescape=True)).limit(2)
    found = connection.scalars(begins).all() if job_id else []
    if len(found) == 1:
        return str(found[0])
    raise UnknownJob(f"Several jobs' ids begin with {job_id!r}." if found else f"There is no job {job_id!r}.")


def _after(connection: sa.Connection, job_id: str) -> sa.ColumnElement[bool]:
    """What comes after a job in the order of `latest`."""
    sent = connection.scalar(sa.select(_t.enqueued_at).where(_t.id == job_id))
    if sent is None:
        raise UnknownJob(f"There is no job {job_id!r}.")
    return sa.and_(_t.enqueued_at <= sent, sa.or_(_t.enqueued_at < sent, _t.id > job_id))


def _brief(job_id: str) -> Job:
    with store.current().read() as connection:
        row = connection.execute(_ONE_BRIEF, {"job": job_id}).one_or_none()
    if row is None:
        raise UnknownJob(f"There is no job {job_id!r}.")
    return _job(row)


def _error_below(connection: sa.Connection, job_id: str) -> str | None:
    """Why a job failed whose first step went well: the error of the first step below it that failed."""
    query = sa.select(_t.error).where(_t.root_id == job_id, _t.state == State.FAILED).order_by(_t.ended_at).limit(1)
    error: str | None = connection.scalar(query)
    return error


def _result_of_nodes(connection: sa.Connection, job_id: str) -> list[dict[str, Any]] | None:
    """The result of a job whose steps follow one another: what they recorded of its nodes, an entry per node."""
    table = steps.node_outcomes
    rows = connection.execute(sa.select(table).where(table.c.step_id == job_id).order_by(table.c.node))
    return [_entry(runs.node_outcome(row)) for row in rows] or None


def _entry(outcome: NodeOutcome) -> dict[str, Any]:
    told = outcome.data if isinstance(outcome.data, dict) else {}
    why = {"error": outcome.error, "error_kind": outcome.error_kind}
    return {"node": outcome.node, "ok": bool(outcome.ok), **why, **told}


def _job(row: Any) -> Job:
    whole = "arguments" in row._fields
    arguments = orjson.loads(row.arguments) if whole else {"args": [], "kwargs": {}}
    progress = Progress(row.progress_done, row.progress_total, row.progress_note) if row.progress_total else None
    return Job(
        id=row.id, actor=row.actor, queue=row.queue, state=State(row.job_state), runs=row.runs, worker=row.worker,
        sender=row.sender, enqueued_at=_time(row.enqueued_at), due_at=_maybe(row.due_at),
        started_at=_maybe(row.started_at), ended_at=None if row.open_steps else _maybe(row.job_ended_at),
        abort_at=_maybe(row.abort_at), progress=progress, error=row.error, error_type=row.error_type,
        retry_of=row.retry_of, args=arguments["args"], kwargs=arguments["kwargs"],
        result=orjson.loads(row.result) if whole and row.result is not None else None,
        traceback=row.traceback if whole else None,
    )  # fmt: skip


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)
