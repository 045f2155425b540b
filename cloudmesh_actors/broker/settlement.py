"""What is to become of a message whose run has ended, and the consumer that brings it about.

The middleware decides and leaves a `Settlement` with the message; the consumer, which Dramatiq asks to acknowledge,
carries it out:

* an outcome: publish what the message sends while it ends, commit the outcome, acknowledge;
* another run: commit that the step is queued again, publish its next message, acknowledge this one.

An error of the broker on that way is raised to Dramatiq, which tries again until it works, and a crash leaves the
message unacknowledged: so neither a retry nor the next step of a pipeline is ever lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.errors import ActorNotFound, BrokerConnectionError
from dramatiq.message import Message
from dramatiq.middleware import Middleware

from cloudmesh_actors import logs, runs
from cloudmesh_actors.broker.outages import Outage
from cloudmesh_actors.broker.recorder import Entry, Recorder
from cloudmesh_actors.errors import StoreUnavailable
from cloudmesh_actors.steps import Ended, Queued, State

#: How long a consumer that closes waits for outcomes to be recorded, in seconds. What is late comes again, and is then
#: acknowledged without a run.
DRAIN_S = 5.0

log = logs.get_logger()

#: A message that was sent, and its delay in milliseconds.
Sent = tuple[Message[Any], int | None]


@dataclass(slots=True)
class Settlement:
    """What becomes of a message: see the module.

    `ended` is recorded; `sent` is published before; `run_again_in_ms` puts a copy into the queue after; `set_aside`
    keeps the message among those that were set aside.
    """

    ended: Ended | None
    durable: bool = False
    sent: list[Sent] = field(default_factory=list)
    run_again_in_ms: int | None = None
    set_aside: bool = False


def settle_with(message: MessageProxy, settlement: Settlement) -> None:
    """Leave a settlement with a message for its consumer."""
    message.__dict__["cloudmesh_settlement"] = settlement


def settlement_of(message: MessageProxy) -> Settlement | None:
    """The settlement that was left with a message, if any."""
    return message.__dict__.get("cloudmesh_settlement")


_outbox: ContextVar[list[Sent] | None] = ContextVar("cloudmesh_outbox", default=None)


class Outbox(Middleware):
    """Last in the list of middleware: what the others send when a message ends waits for its settlement.

    Dramatiq swallows exceptions there, so with the broker away a pipeline would end without its next step.
    """

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        _outbox.set([])
        for following, delay in runs.current().following if exception is None else ():
            broker.enqueue(following, delay=delay)


def open_outbox() -> list[Sent] | None:
    """Where this thread's messages have to wait; None while they may be published."""
    return _outbox.get()


def empty_outbox() -> list[Sent]:
    """What waits; from now on messages are published again."""
    waiting = _outbox.get()
    _outbox.set(None)
    return waiting or []


class BatchConsumer(Protocol):
    """What brokers' consumers have besides Dramatiq's: many messages at once, from any thread.

    Neither raises for a connection that is gone: the messages then come again.
    """

    def ack_all(self, messages: list[MessageProxy]) -> None:
        """Forget messages for good."""

    def nack_all(self, messages: list[MessageProxy]) -> None:
        """Set messages aside."""


class Expecting(Protocol):
    """Who is told which steps will soon begin."""

    def fetched(self, step_id: str) -> None:
        """A message of this step is about to come."""


class Publisher(Protocol):
    """What the settlement asks of its broker. Both raise BrokerUnavailable."""

    outage: Outage
    tracking: Expecting

    def publish_held(self, message: Message[Any], delay: int | None) -> None:
        """Record a message as queued unless it was, and publish it."""

    def publish_again(self, message: Message[Any], delay: int) -> None:
        """Publish the message of a step's next run."""

    def row_of(self, message: MessageProxy) -> Queued:
        """What is recorded of a message that nobody recorded as queued."""


class NotRecorded(BrokerConnectionError):
    """The store does not answer. Dramatiq tries an acknowledgement again after errors of this kind only."""


class RecordingConsumer(Consumer):
    """Any broker's consumer, made to record outcomes before it acknowledges."""

    def __init__(self, inner: Any, recorder: Recorder, publisher: Publisher) -> None:
        self._inner, self._recorder, self._publisher = inner, recorder, publisher
        self._batches: BatchConsumer = inner

    def __next__(self) -> MessageProxy | None:
        try:
            message: MessageProxy | None = next(self._inner)
        except BrokerConnectionError as error:
            self._publisher.outage.began(error)
            raise
        if message is not None:
            self._publisher.tracking.fetched(message.message_id)
        return message

    def ack(self, message: MessageProxy) -> None:
        """Record the outcome, then acknowledge."""
        settlement = settlement_of(message)
        if settlement is None:  # it was not run: its outcome is known
            self._batches.ack_all([message])
            return
        try:
            self._settle(message, settlement)
        except BrokerConnectionError as error:
            self._publisher.outage.began(error)
            raise
        except StoreUnavailable as error:
            raise NotRecorded(str(error)) from error

    def nack(self, message: MessageProxy) -> None:
        """A failed run is recorded and acknowledged as others are; what cannot be run is recorded and set aside."""
        if settlement_of(message) is not None:
            self.ack(message)
            return
        reason = _reason(message)
        log.error("message.set_aside", message_id=message.message_id, actor=message.actor_name, reason=reason)
        row = self._publisher.row_of(message)
        error = f"It was set aside: {reason}."
        ended = Ended(row.id, row.root_id, State.FAILED, time.time(), error=error, error_type="SetAside")
        self._recorder.submit(Entry(row))
        self._recorder.submit(Entry(ended, False, message, self._batches.nack_all))

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Hand back messages that were fetched and not begun."""
        self._inner.requeue(messages)

    def close(self) -> None:
        """Record what is left, then close."""
        self._recorder.drain(DRAIN_S)
        self._inner.close()

    def _settle(self, message: MessageProxy, settlement: Settlement) -> None:
        if settlement.run_again_in_ms is not None:
            self._run_again(message, settlement, settlement.run_again_in_ms)
            return
        while settlement.sent:  # should one fail, the ones before it are not published twice
            self._publisher.publish_held(*settlement.sent[0])
            del settlement.sent[0]
        done = self._batches.nack_all if settlement.set_aside else self._batches.ack_all
        if settlement.ended is None:
            done([message])
        else:
            self._recorder.submit(Entry(settlement.ended, settlement.durable, message, done))

    def _run_again(self, message: MessageProxy, settlement: Settlement, delay_ms: int) -> None:
        if settlement.ended is not None:
            self._recorder.record(settlement.ended, durable=settlement.durable)
            settlement.ended = None
        self._publisher.publish_again(message._message, delay_ms)
        self._batches.ack_all([message])


def _reason(message: MessageProxy) -> str:
    if isinstance(message._exception, ActorNotFound):
        return f"this worker knows no actor {message.actor_name}"
    return str(message._exception or "it cannot be run")
