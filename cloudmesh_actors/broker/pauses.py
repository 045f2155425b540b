"""Paused queues: their workers finish what runs and begin nothing new, until the queue is resumed.

A pause is a row in the store, so it outlives workers, the broker and the machine. Each process looks every second.
What a worker has fetched and not begun goes back to its queue, and nothing more is fetched meanwhile; delayed messages
go on waiting, and join the queue when they are due.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import sqlalchemy as sa
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.common import q_name
from dramatiq.middleware import Middleware, SkipMessage

from cloudmesh_actors import logs
from cloudmesh_actors.errors import StoreError
from cloudmesh_actors.prepared import Prepared
from cloudmesh_actors.store import Store, metadata

#: A process looks so often whether its queue is paused, in seconds.
LOOK_EVERY_S = 1.0

queue_pauses = sa.Table(
    "queue_pauses",
    metadata,
    sa.Column("queue", sa.String(64), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("paused_by", sa.String(128), nullable=False),  # user@host
    sa.Column("paused_at", sa.Double, nullable=False),
)

_LOOK = Prepared(sa.select(queue_pauses.c.paused_at).where(queue_pauses.c.queue == sa.bindparam("name")))

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Pause:
    """A paused queue: why, by whom (user@host), and since when (seconds since the epoch)."""

    queue: str
    reason: str
    by: str
    at: float


def record(store: Store, pause: Pause) -> None:
    """Pause a queue; one that is paused gets the new reason."""
    row = {"queue": pause.queue, "reason": pause.reason, "paused_by": pause.by, "paused_at": pause.at}
    with store.write() as connection:
        insert = store.insert(queue_pauses).values(row)
        connection.execute(insert.on_conflict_do_update(index_elements=["queue"], set_=row))


def forget(store: Store, queue: str) -> bool:
    """Resume a queue; False when it was not paused."""
    with store.write() as connection:
        return connection.execute(sa.delete(queue_pauses).where(queue_pauses.c.queue == queue)).rowcount > 0


def recorded(store: Store) -> dict[str, Pause]:
    """The paused queues by name."""
    with store.read() as connection:
        rows = connection.execute(sa.select(queue_pauses).order_by(queue_pauses.c.queue)).all()
    return {row.queue: Pause(row.queue, row.reason, row.paused_by, row.paused_at) for row in rows}


class Watch:
    """What a process knows of pauses. Any thread may ask; at most one look a second goes to the store."""

    def __init__(self, store: Callable[[], Store], clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._known: dict[str, bool] = {}
        self._look_at: dict[str, float] = {}
        self._looking = Lock()

    def is_paused(self, queue: str) -> bool:
        """Whether nothing of a queue may begin. With the store away the last answer holds; before the first, yes."""
        if self._clock() >= self._look_at.get(queue, 0) and self._looking.acquire(blocking=False):
            try:
                self._look(queue)
            finally:
                self._looking.release()
        return self._known.get(queue, True)

    def _look(self, queue: str) -> None:
        try:
            found = self._store().peek(_LOOK, name=queue) is not None
        except StoreError:  # claims wait for it, and say so
            found = self._known.get(queue, True)
        else:
            self._tell(queue, found)
            self._known[queue] = found
        self._look_at[queue] = self._clock() + LOOK_EVERY_S

    def _tell(self, queue: str, paused: bool) -> None:
        if paused != self._known.get(queue, False):
            log.info("queue.paused" if paused else "queue.resumed", queue=queue)


class RestingConsumer(Protocol):
    """What brokers' consumers can do besides fetching. `put_back` is for any thread, `rest` for the consumer's."""

    def __next__(self) -> MessageProxy | None:
        """The next message, or None after a while."""

    def rest(self) -> None:
        """Instead of fetching: hand back what was fetched, keep the connection alive, and wait a while."""

    def put_back(self, message: MessageProxy) -> None:
        """Hand back a message that was not begun, soon."""

    def ack_all(self, messages: list[MessageProxy]) -> None:
        """Forget messages for good."""

    def nack_all(self, messages: list[MessageProxy]) -> None:
        """Set messages aside."""

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Hand back messages."""

    def close(self) -> None:
        """Close the connection."""


class PausingConsumer(Consumer):
    """Any broker's consumer, which rests while its queue is paused."""

    def __init__(self, inner: RestingConsumer, queue: str, watch: Watch) -> None:
        self._inner, self._queue, self._watch = inner, queue, watch

    def __next__(self) -> MessageProxy | None:
        if self._watch.is_paused(self._queue):
            self._inner.rest()
            return None
        return next(self._inner)

    def ack_all(self, messages: list[MessageProxy]) -> None:
        """Forget messages for good; hand back those that were not begun."""
        for message in messages:
            if _is_held_back(message):
                self._inner.put_back(message)
        if ended := [message for message in messages if not _is_held_back(message)]:
            self._inner.ack_all(ended)

    def nack_all(self, messages: list[MessageProxy]) -> None:
        """Set messages aside."""
        self._inner.nack_all(messages)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Hand back messages."""
        self._inner.requeue(messages)

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()


class HoldingBack(Middleware):
    """First in the list of middleware: messages of a paused queue are not begun."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Let the message go back when its queue is paused."""
        if self._watch.is_paused(q_name(message.queue_name)):
            message.__dict__["cloudmesh_held_back"] = True
            raise SkipMessage("its queue is paused")


def _is_held_back(message: Any) -> bool:
    return bool(message.__dict__.get("cloudmesh_held_back"))
