"""How each queue is: what the broker holds of it, how long its oldest message has waited, and whether it is paused."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import store
from cloudmesh_actors.broker.pauses import Pause
from cloudmesh_actors.steps import State, may_begin_at, steps


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue. `running` includes what workers have fetched where the broker tells (Redis), else is what the store
    says; `oldest` is for how many seconds the oldest message that is due has waited, None when none does.
    """

    queue: str
    ready: int
    delayed: int
    running: int
    set_aside: int
    oldest: float | None
    pause: Pause | None


def states(now: float | None = None) -> list[QueueState]:
    """Every family's queue.

    Raises:
        BrokerUnavailable, StoreUnavailable: one of them does not answer.
    """
    now = time.time() if now is None else now
    depths, paused = brokers.depths(), brokers.paused()
    since, running = _since(now), _running()
    return [
        QueueState(
            queue,
            depth.ready,
            depth.delayed,
            running.get(queue, 0) if depth.running is None else depth.running,
            depth.set_aside,
            max(0.0, now - since[queue]) if queue in since else None,
            paused.get(queue),
        )
        for queue, depth in depths.items()
    ]


def _since(now: float) -> dict[str, float]:
    """Since when the oldest step of each queue that is due has waited."""
    due = sa.and_(steps.c.state == State.QUEUED, may_begin_at <= now)
    query = sa.select(steps.c.queue, sa.func.min(may_begin_at)).where(due)
    return _by_queue(query)


def _running() -> dict[str, int]:
    return _by_queue(sa.select(steps.c.queue, sa.func.count()).where(steps.c.state == State.RUNNING))


def _by_queue(query: sa.Select[tuple[str, Any]]) -> dict[str, Any]:
    with store.current().read() as connection:
        return {row[0]: row[1] for row in connection.execute(query.group_by(steps.c.queue))}
