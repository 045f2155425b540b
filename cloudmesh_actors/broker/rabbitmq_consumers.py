"""RabbitMQ's consumers: acknowledgements that go to the right connection, delays of any length, rest while paused."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from dramatiq.broker import MessageProxy
from dramatiq.brokers.rabbitmq import _RabbitmqConsumer, _RabbitmqMessage
from dramatiq.common import current_millis, q_name
from dramatiq.errors import ConnectionClosed, DecodeError
from pika.exceptions import AMQPError

from cloudmesh_actors import logs, runs
from cloudmesh_actors.broker import encoder
from cloudmesh_actors.broker.aside import tell_unreadable

#: A delayed message is held for so many seconds at most. RabbitMQ closes the channel of a consumer that holds one for
#: half an hour (its `consumer_timeout`).
HELD_AT_MOST_S = 600.0

#: Messages that are published anew between two looks at the queue.
RENEWED_AT_ONCE = 100

#: AMQP's reply when a queue is not there.
NOT_FOUND = 404

#: What pika raises when RabbitMQ does not answer, or not as it should.
ERRORS = (AMQPError, OSError)

log = logs.get_logger()


class TaggedConsumer(_RabbitmqConsumer):
    """Knows its own messages.

    Delivery tags are numbers that begin at 1 on each connection, and Dramatiq acknowledges on whichever connection is
    open now: after a reconnect a late acknowledgement could take a stranger's tag and lose that message.
    """

    def __init__(self, broker: Any, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)
        self._timeout_s = timeout / 1000
        self._consuming: float | None = None  # how long it waits for a message, in seconds
        self._back: deque[MessageProxy] = deque()
        self._open: dict[int, None] = {}  # tags that are not answered, in their order; only the consumer's thread does

    def __next__(self) -> MessageProxy | None:
        with self._gone():
            self._give_back()
            if self._consuming != (patience := self._patience()):
                self.iterator = self.channel.consume(self.queue_name, inactivity_timeout=patience)
                self._consuming = patience
            method, _, body = next(self.iterator)
        return None if method is None else self._received(method, body)

    def rest(self) -> None:
        """Take no more, hand back what came and was not begun, keep the connection alive, wait. For a paused queue."""
        with self._gone():
            if self._consuming is not None:
                self.channel.cancel()
                self._consuming = None
            self.connection.process_data_events(time_limit=self._patience())
            self._give_back()

    def put_back(self, message: MessageProxy) -> None:
        """Hand back a message that was not begun, soon: at once it would come back at once."""
        self._back.append(message)

    def ack(self, message: MessageProxy) -> None:
        """Acknowledge, unless the message came over a connection that is gone (then it comes again)."""
        self.ack_all([message])

    def nack(self, message: MessageProxy) -> None:
        """Set aside, unless the message came over a connection that is gone (then it comes again)."""
        self.nack_all([message])

    def ack_all(self, messages: list[MessageProxy]) -> None:
        """Acknowledge all that came over this connection. Any thread may call it; the consumer's carries it out."""
        self._answer(messages, self._acknowledge)

    def nack_all(self, messages: list[MessageProxy]) -> None:
        """Set aside all that came over this connection. Any thread may call it; the consumer's carries it out."""
        self._answer(messages, partial(self._refuse, requeue=False))

    def close(self) -> None:
        """End the connection, also where Dramatiq leaves it open: when RabbitMQ has closed the channel, and no more."""
        try:
            super().close()
        finally:
            if self.connection.is_open:
                with contextlib.suppress(*ERRORS):
                    self.connection.close()

    def _patience(self) -> float:
        return runs.stop_signal.patience(self._timeout_s)

    def _answer(self, messages: list[MessageProxy], answer: Callable[[list[int]], None]) -> None:
        tags = [message._tag for message in messages if message.__dict__.get("cloudmesh_consumer") is self]
        try:
            if tags:
                self.connection.add_callback_threadsafe(lambda: answer(tags))
        except AMQPError:
            tags = []
        if len(tags) < len(messages):
            log.info("messages.come_again", count=len(messages) - len(tags), reason="their connection is gone")

    def _acknowledge(self, tags: list[int]) -> None:
        """Acknowledge in one go what is done from the oldest on, and one by one what is done beyond a gap.

        pika waits for each acknowledgement until it is on its way, which costs as much as a task.
        """
        done, oldest_done = set(tags), 0
        for tag in self._open:
            if tag not in done:
                break
            oldest_done = tag
        for tag in tags:
            del self._open[tag]
        if oldest_done:
            self.channel.basic_ack(oldest_done, multiple=True)
        for tag in tags:
            if tag > oldest_done:
                self.channel.basic_ack(tag)

    def _refuse(self, tags: list[int], *, requeue: bool) -> None:
        for tag in tags:
            del self._open[tag]
            self.channel.basic_nack(tag, requeue=requeue)

    def _received(self, method: Any, body: bytes) -> MessageProxy | None:
        try:
            message = encoder.read(body, self.queue_name)
        except DecodeError as error:
            tell_unreadable(self.queue_name, error)
            self.channel.basic_nack(method.delivery_tag, requeue=False)
            return None
        proxy: MessageProxy = _RabbitmqMessage(method.redelivered, method.delivery_tag, message)
        proxy.__dict__["cloudmesh_consumer"] = self
        self._open[method.delivery_tag] = None
        return proxy

    def _give_back(self) -> None:
        if self._back:
            back = [self._back.popleft() for _ in range(len(self._back))]
            self._answer(back, partial(self._refuse, requeue=True))

    @contextlib.contextmanager
    def _gone(self) -> Iterator[None]:
        try:
            yield
        except (StopIteration, AssertionError, *ERRORS) as error:
            if isinstance(error, StopIteration) or getattr(error, "reply_code", None) == NOT_FOUND:  # it was deleted
                self.broker.queues_pending.add(q_name(self.queue_name))
            raise ConnectionClosed(error) from None


class DelayedConsumer(TaggedConsumer):
    """Keeps delayed messages until they are due, and hands on only those that are.

    One that is not due for long is published anew, which RabbitMQ confirms, and then acknowledged: it comes back at
    once and may be held again. A crash in between makes a copy of a step's message, of which one runs.
    """

    def __init__(
        self, broker: Any, queue_name: str, prefetch: int, timeout: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)
        self._clock = clock
        self._held: dict[int, MessageProxy] = {}  # by their tags
        self._by_due: list[tuple[float, int]] = []
        self._by_age: deque[tuple[float, int]] = deque()

    def __next__(self) -> MessageProxy | None:
        self._renew()
        if (due := self._due()) is not None:
            return due
        message = super().__next__()
        if message is None or (message.options.get("eta") or 0) <= current_millis():
            return message
        self._hold(message)
        return None

    def _hold(self, message: Any) -> None:
        self._held[message._tag] = message
        self._by_age.append((self._clock(), message._tag))
        heapq.heappush(self._by_due, (message.options["eta"], message._tag))

    def _due(self) -> MessageProxy | None:
        while self._by_due and self._by_due[0][0] <= current_millis():
            _, tag = heapq.heappop(self._by_due)
            if tag in self._held:
                return self._held.pop(tag)
        return None

    def _renew(self) -> None:
        for _ in range(RENEWED_AT_ONCE):
            if not self._by_age or self._clock() - self._by_age[0][0] < HELD_AT_MOST_S:
                return
            _, tag = self._by_age.popleft()
            if (message := self._held.pop(tag, None)) is not None:
                self.broker._deliver(self.queue_name, message._message.encode(), message.options.get("broker_priority"))
                self.ack(message)
