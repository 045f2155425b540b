"""The broker in memory, for tests and for programs that want no server."""

from __future__ import annotations

from typing import Any

from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.stub import StubBroker, _StubConsumer, _StubMessageProxy
from dramatiq.common import dq_name
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from cloudmesh_actors import logs

log = logs.get_logger()


class PatientStubBroker(StubBroker):
    """Dramatiq's StubBroker, with what workers and status tables ask of a broker."""

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 100) -> Consumer:
        """A consumer of one queue that sets aside what cannot be read."""
        return PatientStubConsumer(self.queues[queue_name], self.dead_letters_by_queue[queue_name], prefetch, timeout)

    def ping(self) -> None:
        """It is always there."""

    def depth(self, queue: str) -> tuple[int, int, int | None, int]:
        """Messages that are ready, delayed, running (unknown here) and set aside."""
        self.declare_queue(queue)
        return (
            self.queues[queue].qsize(),
            self.queues[dq_name(queue)].qsize(),
            None,
            len(self.dead_letters_by_queue[queue]),
        )


class PatientStubConsumer(_StubConsumer):
    """Dramatiq's, for many messages at once, and for such as cannot be read."""

    def __next__(self) -> MessageProxy | None:
        try:
            message: MessageProxy | None = super().__next__()
        except DecodeError as error:
            log.error("message.set_aside", reason="it cannot be read", cause=str(error.error))  # noqa: TRY400
            self.nack(_unreadable(error))
            return None
        return message

    def ack_all(self, messages: list[MessageProxy]) -> None:
        """Forget messages for good."""
        for message in messages:
            self.ack(message)

    def nack_all(self, messages: list[MessageProxy]) -> None:
        """Set messages aside."""
        for message in messages:
            self.nack(message)


def _unreadable(error: DecodeError) -> Any:
    message = _StubMessageProxy(Message(queue_name="", actor_name="", args=(error.data,), kwargs={}, options={}))
    message.stuff_exception(error)
    return message
