"""The broker in memory, for tests and for programs that want no server."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from queue import Empty, Queue
from typing import Any

from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.stub import StubBroker, _StubConsumer, _StubMessageProxy
from dramatiq.common import dq_name
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from cloudmesh_actors.broker import encoder
from cloudmesh_actors.broker.aside import Fate, Judge, Stored, tell_unreadable


class PatientStubBroker(StubBroker):
    """Dramatiq's StubBroker, with what workers and status tables ask of a broker."""

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 100) -> Consumer:
        """A consumer of one queue that sets aside what cannot be read."""
        return PatientStubConsumer(self, queue_name, prefetch, timeout)

    def enqueue_many(self, messages: Sequence[Message[Any]]) -> None:
        """Put messages into their queues."""
        for message in messages:
            super().enqueue(message)

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

    def sift_aside(self, queue: str, judge: Judge) -> int:
        """Have each message that was set aside judged; how many were dropped or requeued."""
        kept: list[MessageProxy] = []
        letters = self.dead_letters_by_queue[queue]
        waiting, letters[:] = [*letters], []
        for letter in waiting:
            fate = judge(_stored(queue, letter))
            if fate is Fate.KEPT:
                kept.append(letter)
            elif isinstance(fate, Message):
                self.queues[queue].put(fate.encode())
        letters[:0] = kept
        return len(waiting) - len(kept)


class PatientStubConsumer(_StubConsumer):
    """Dramatiq's, for many messages at once, and for such as cannot be read."""

    def __init__(self, broker: StubBroker, name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker.queues[name], broker.dead_letters_by_queue[name], prefetch, timeout)
        self._name = name
        self._back: Queue[MessageProxy] = Queue()

    def __next__(self) -> MessageProxy | None:
        self._give_back()
        if not self.prefetch_semaphore.acquire(timeout=self.timeout / 1000):
            return None
        try:
            body = self.queue.get(timeout=self.timeout / 1000)
        except Empty:
            self.prefetch_semaphore.release()
            return None
        try:
            return _StubMessageProxy(encoder.read(body, self._name))
        except DecodeError as error:
            tell_unreadable(self._name, error)
            self.nack(_unreadable(error))
            return None

    def nack(self, message: MessageProxy) -> None:
        """Set a message aside."""
        message.__dict__["cloudmesh_aside_at"] = time.time()
        super().nack(message)

    def ack_all(self, messages: list[MessageProxy]) -> None:
        """Forget messages for good."""
        for message in messages:
            self.ack(message)

    def nack_all(self, messages: list[MessageProxy]) -> None:
        """Set messages aside."""
        for message in messages:
            self.nack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Hand back messages that were fetched and not begun."""
        for message in messages:
            self._back.put(message)
        self._give_back()

    def close(self) -> None:
        """Hand back what was not begun."""
        self._give_back()

    def put_back(self, message: MessageProxy) -> None:
        """Hand back a message that was not begun, soon."""
        self._back.put(message)

    def rest(self) -> None:
        """Hand back what was not begun, and wait. For a paused queue."""
        time.sleep(self.timeout / 1000)
        self._give_back()

    def _give_back(self) -> None:
        for _ in range(self._back.qsize()):
            message = self._back.get()
            self.queue.put(message._message.encode())
            self.ack(message)


def _unreadable(error: DecodeError) -> Any:
    message = _StubMessageProxy(Message(queue_name="", actor_name="", args=(error.data,), kwargs={}, options={}))
    message.stuff_exception(error)
    return message


def _stored(queue: str, letter: MessageProxy) -> Stored:
    body = letter._message.encode() if letter.queue_name else letter.args[0]
    return Stored(queue, "", body, len(body), letter.__dict__.get("cloudmesh_aside_at"), {})
