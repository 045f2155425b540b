"""Finds steps that are recorded as queued and whose message nobody has.

A sender that dies between the row and the publish leaves such a row, and so does a broker that lost its memory. The
store cannot see into a broker, so a message counts as lost when its step is overdue and either its queue is empty and
nothing of it runs, or a step that was queued a minute after it has begun. What is published once too often does no
harm: it is a copy of the same step, and a step whose outcome is recorded never runs again.

What changes hardware is not sent a minute late by surprise: its job ends as failed, and nothing was done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import sqlalchemy as sa

from cloudmesh_actors import logs, roster
from cloudmesh_actors.broker.claims import ALIVE_S, bury_the_dead
from cloudmesh_actors.steps import Ended, State, end, may_begin_at, steps
from cloudmesh_actors.store import Store

#: A step is looked at when it should have begun so many seconds ago.
OVERDUE_S = 60.0

#: A message is published again at most this often, in seconds.
AGAIN_S = 3600.0

#: A run whose worker has not told of itself for so many seconds is over, and so is one whose worker left the roster.
GONE_S = 10 * ALIVE_S

#: Steps that one sweep deals with in a queue.
AT_ONCE = 500

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class LostStep:
    """A step whose message is lost; `options` are the message's own."""

    id: str
    root_id: str
    parent_id: str | None
    actor: str
    queue: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    enqueued_at: float


class Republisher(Protocol):
    """What the sweeper asks of a broker. Both raise BrokerUnavailable."""

    def depth(self, queue: str) -> tuple[int, int, int | None, int]:
        """Messages that are ready, delayed, running and set aside."""

    def publish_lost(self, step: LostStep) -> None:
        """Publish a message again."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did: steps whose runs are over, published again, and ended as never sent."""

    over: int = 0
    published: int = 0
    failed: int = 0


def sweep(
    store: Store,
    broker: Republisher,
    queues: Sequence[str],
    changes_hardware: Callable[[str], bool],
    clock: Callable[[], float] = time.time,
) -> Swept:
    """Deal with what was lost on these queues.

    Args:
        changes_hardware: whether the actor of this name does.

    Raises:
        BrokerUnavailable, StoreUnavailable: what is left is found the next time.
    """
    bury_the_dead(store, broker=broker)
    now = clock()
    over = _end_runs_of_the_gone(store, now)
    published = failed = 0
    for queue in queues:
        for step in _lost(store, broker, queue, now):
            if changes_hardware(step.actor) and step.id == step.root_id:
                failed += _never_sent(store, step, now)
            else:
                published += _publish(store, broker, step, now)
    return Swept(over, published, failed)


def _end_runs_of_the_gone(store: Store, now: float) -> int:
    """Steps that run according to the store, on workers that nobody has heard of for long, are queued again."""
    alive = {row.name: row.started_at for row in roster.rows() if now - row.seen_at < GONE_S}
    query = sa.select(steps.c.id, steps.c.worker, steps.c.runs, steps.c.started_at).where(
        steps.c.state == State.RUNNING, steps.c.started_at < now - GONE_S
    )
    with store.read() as connection:
        running = connection.execute(query).all()
    gone = [row for row in running if row.worker not in alive or alive[row.worker] > row.started_at]
    for row in gone:
        same_run = sa.and_(steps.c.id == row.id, steps.c.state == State.RUNNING, steps.c.runs == row.runs)
        with store.write() as connection:
            connection.execute(sa.update(steps).where(same_run).values(state=State.QUEUED, due_at=now))
        log.warning("run.over", step_id=row.id, run=row.runs, reason=f"its worker {row.worker} is gone")
    return len(gone)


def _lost(store: Store, broker: Republisher, queue: str, now: float) -> list[LostStep]:
    not_lately = sa.or_(steps.c.swept_at.is_(None), steps.c.swept_at < now - AGAIN_S)
    overdue = sa.and_(steps.c.state == State.QUEUED, steps.c.queue == queue, may_begin_at < now - OVERDUE_S)
    query = (
        sa.select(steps, may_begin_at.label("since")).where(overdue, not_lately).order_by(may_begin_at).limit(AT_ONCE)
    )
    with store.read() as connection:
        rows = connection.execute(query).all()
        if not rows:
            return []
        begun, runs = _progress_of(connection, queue)
    ready = broker.depth(queue)[0]
    return [_step(row) for row in rows if (ready == 0 and not runs) or row.since < begun - OVERDUE_S]


def _progress_of(connection: sa.Connection, queue: str) -> tuple[float, bool]:
    """When the youngest step of the queue that has begun was queued, and whether one runs now."""
    has_begun = sa.and_(steps.c.queue == queue, steps.c.runs > 0)
    youngest = sa.select(steps.c.enqueued_at).where(has_begun).order_by(steps.c.enqueued_at.desc()).limit(1)
    running = sa.select(steps.c.id).where(steps.c.queue == queue, steps.c.state == State.RUNNING).limit(1)
    return connection.scalar(youngest) or 0.0, connection.scalar(running) is not None


def _step(row: Any) -> LostStep:
    arguments = orjson.loads(row.arguments)
    options = orjson.loads(row.options) if row.options else {}
    return LostStep(
        row.id, row.root_id, row.parent_id, row.actor, row.queue, arguments["args"], arguments["kwargs"], options,
        row.enqueued_at,
    )  # fmt: skip


def _publish(store: Store, broker: Republisher, step: LostStep, now: float) -> int:
    broker.publish_lost(step)
    with store.write() as connection:
        connection.execute(sa.update(steps).where(steps.c.id == step.id).values(swept_at=now))
    log.warning("message.published_again", step_id=step.id, actor=step.actor, reason="its message was lost")
    return 1


def _never_sent(store: Store, step: LostStep, now: float) -> int:
    error = "Its message never reached a worker, or was lost on its way; nothing was done. Send it again."
    with store.write(durable=True) as connection:
        end(connection, [Ended(step.id, step.root_id, State.FAILED, now, error=error, error_type="NeverSent")])
    log.error("job.never_sent", job_id=step.id, actor=step.actor)
    return 1
