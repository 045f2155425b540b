"""What is to become of a message whose run has ended, and the consumer that brings it about.

The middleware decides and leaves a `Settlement` with the message; the consumer, which Dramatiq asks to acknowledge,
carries it out: publish the retry, commit the outcome, and then acknowledge. An error of the broker on that way is
raised to Dramatiq, which tries again until it works, so a retry is never lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dramatiq.broker import Consumer, MessageProxy
from dramatiq.message import Message

from cloudmesh_actors import logs
from cloudmesh_actors.broker.recorder import Entry, Recorder
from cloudmesh_actors.steps import Ended

log = logs.get_logger()


@dataclass(slots=True)
class Settlement:
    """`ended` is recorded, then the message acknowledged; `run_again_in_ms` first puts a copy into the queue."""

    ended: Ended | None
    durable: bool = False
    run_again_in_ms: int | None = None


def settle_with(message: MessageProxy, settlement: Settlement) -> None:
    """Leave a settlement with a message for its consumer."""
    message.cloudmesh_settlement = settlement  # type: ignore[attr-defined]


def settlement_of(message: MessageProxy) -> Settlement | None:
    """The settlement that was left with a message, if any."""
    return message.__dict__.get("cloudmesh_settlement")


class RecordingConsumer(Consumer):
    """Any broker's consumer, made to record outcomes before it acknowledges."""

    def __init__(self, inner: Consumer, recorder: Recorder, publish: Callable[[Message[Any], int], None]) -> None:
        self._inner, self._recorder, self._publish = inner, recorder, publish

    def __next__(self) -> MessageProxy | None:
        return next(self._inner)

    def ack(self, message: MessageProxy) -> None:
        """Record the outcome, then acknowledge."""
        self._settle(message, lambda: self._inner.ack(message))

    def nack(self, message: MessageProxy) -> None:
        """A failed run is recorded and acknowledged as others are; what could not be run is set aside."""
        if settlement_of(message) is not None:
            self.ack(message)
            return
        log.error("message.set_aside", message_id=message.message_id, actor=message.actor_name, reason="cannot be run")
        self._inner.nack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Hand back messages that were fetched and not begun."""
        self._inner.requeue(messages)

    def close(self) -> None:
        """Record what is left, then close."""
        self._recorder.drain()
        self._inner.close()

    def _settle(self, message: MessageProxy, acknowledge: Callable[[], None]) -> None:
        settlement = settlement_of(message)
        if settlement is None:  # it was not run: its outcome is known, or it was aborted while queued
            acknowledge()
            return
        if settlement.run_again_in_ms is not None:
            self._publish(message._message, settlement.run_again_in_ms)
            settlement.run_again_in_ms = None  # should what follows fail, it is not published twice
        if settlement.ended is None:
            acknowledge()
        else:
            self._recorder.submit(Entry(settlement.ended, acknowledge, settlement.durable))
