"""RabbitMQ: publisher confirms, quorum queues by setting, and what was set aside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pika
from dramatiq.broker import Consumer
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.common import current_millis, dq_name, q_name
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message
from pika.exceptions import UnroutableError

from cloudmesh_actors.broker.aside import Judge
from cloudmesh_actors.broker.bulk import Letter, publish_all
from cloudmesh_actors.broker.rabbitmq_aside import sift
from cloudmesh_actors.broker.rabbitmq_consumers import ERRORS, DelayedConsumer, TaggedConsumer

#: How long a connection attempt may take, in seconds.
CONNECT_TIMEOUT_S = 5

#: How long a blocked publish (RabbitMQ is short of memory or disk) may wait, in seconds.
BLOCKED_TIMEOUT_S = 15

#: Seconds between heartbeats of a connection.
HEARTBEAT_S = 30

#: Tries to publish a message: the connection may have been closed while it was idle, and then the queue be gone.
PUBLISH_TRIES = 3


class ConfirmingRabbitmqBroker(RabbitmqBroker):
    """Dramatiq's RabbitMQ broker with safe defaults."""

    def __init__(self, url: str, *, quorum: bool = False, middleware: list[Any] | None = None) -> None:
        super().__init__(url=url, confirm_delivery=True, middleware=middleware or [])
        self.quorum = quorum
        for parameters in self.parameters if isinstance(self.parameters, list) else [self.parameters]:
            parameters.heartbeat = HEARTBEAT_S
            parameters.blocked_connection_timeout = BLOCKED_TIMEOUT_S
            parameters.socket_timeout = parameters.stack_timeout = CONNECT_TIMEOUT_S

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Put a message into its queue, `delay` milliseconds from now at the earliest; RabbitMQ has confirmed it.

        Raises:
            ConnectionClosed: RabbitMQ does not answer, or does not take it.
        """
        if delay is not None:
            options = {"eta": current_millis() + delay}
            message = message.copy(queue_name=dq_name(message.queue_name), options=options)
        self.declare_queue(q_name(message.queue_name))
        self.emit_before("enqueue", message, delay)
        self._deliver(message.queue_name, message.encode(), message.options.get("broker_priority"))
        self.emit_after("enqueue", message, delay)
        return message

    def enqueue_many(self, messages: Sequence[Message[Any]]) -> None:
        """Put messages into their queues; RabbitMQ has confirmed them all.

        Raises:
            ConnectionClosed: RabbitMQ does not answer, or does not take them; some may be there all the same.
        """
        for message in messages:
            self.declare_queue(q_name(message.queue_name))
            self.emit_before("enqueue", message, None)
        letters = [Letter(m.queue_name, m.encode(), m.options.get("broker_priority")) for m in messages]
        with self._connection_errors():
            for queue in {q_name(message.queue_name) for message in messages}:
                self.declare_queue(queue, ensure=True)
            publish_all(self.connection, letters)
        for message in messages:
            self.emit_after("enqueue", message, None)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A consumer of one queue. Raises ConnectionClosed."""
        kind = TaggedConsumer if queue_name == q_name(queue_name) else DelayedConsumer
        with self._connection_errors():
            self.declare_queue(queue_name, ensure=True)
            return kind(self, queue_name, prefetch, timeout)

    def depth(self, queue: str) -> tuple[int, int, int | None, int]:
        """Messages that are ready, delayed, running (AMQP does not tell) and set aside. Raises ConnectionClosed."""
        with self._connection_errors():
            self.declare_queue(queue, ensure=True)
            ready, delayed, aside = self.get_queue_message_counts(queue)
        return ready, delayed, None, aside

    def sift_aside(self, queue: str, judge: Judge) -> int:
        """Have each message that was set aside judged; how many were dropped or requeued. Raises ConnectionClosed.

        It takes them without acknowledging, on a connection of its own, and gives back what is kept, in its old place.
        New messages are confirmed before the old ones are acknowledged.
        """
        with self._connection_errors():
            self.declare_queue(queue, ensure=True)
            with contextlib.closing(pika.BlockingConnection(parameters=self.parameters)) as connection:
                return sift(connection, queue, judge)

    def ping(self) -> None:
        """Raises ConnectionClosed when RabbitMQ does not answer."""
        with self._connection_errors():
            self.connection.process_data_events()

    def _deliver(self, queue: str, body: bytes, priority: int | None) -> None:
        properties = pika.BasicProperties(delivery_mode=2, priority=priority)
        for tries_left in reversed(range(PUBLISH_TRIES)):
            was_open = getattr(self.state, "connection", None) is not None
            try:
                self._ensure_queue(q_name(queue))
                self.channel.basic_publish("", queue, body, properties, mandatory=True)
            except UnroutableError as error:
                self.queues_pending.add(q_name(queue))
                self._give_up_unless(tries_left > 0, error)
            except ERRORS as error:
                del self.connection
                self._give_up_unless(was_open and tries_left > 0, error)
            else:
                return

    def _give_up_unless(self, another_try: bool, error: Exception) -> None:
        if not another_try:
            raise ConnectionClosed(_reason(error)) from None

    def _ensure_queue(self, canonical_queue_name: str) -> None:
        if canonical_queue_name in self.queues_pending:
            self._declare_queue(canonical_queue_name)
            self._declare_dq_queue(canonical_queue_name)
            self._declare_xq_queue(canonical_queue_name)
            self.queues_pending.discard(canonical_queue_name)

    @contextlib.contextmanager
    def _connection_errors(self) -> Iterator[None]:
        self._notice_end()
        try:
            yield
        except ERRORS as error:
            del self.connection
            raise ConnectionClosed(_reason(error)) from None

    def _notice_end(self) -> None:
        """Give up a connection that was closed while it was idle: the next one is made when it is needed."""
        if getattr(self.state, "connection", None) is not None:
            try:
                self.connection.process_data_events()
            except ERRORS:
                del self.connection

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        arguments: dict[str, Any] = super()._build_queue_arguments(queue_name)
        if self.quorum:
            arguments["x-queue-type"] = "quorum"
        return arguments


def _reason(error: Exception) -> Exception | str:
    if "PRECONDITION_FAILED" in str(error):
        return f"{error}; the queue was made with other properties: delete it, or set CLOUDMESH_QUORUM_QUEUES as it was"
    return error
