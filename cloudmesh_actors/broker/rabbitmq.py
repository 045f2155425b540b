"""RabbitMQ: publisher confirms, quorum queues by setting, and acknowledgements that go to the right connection."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pika
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer
from dramatiq.common import current_millis, dq_name, q_name
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message
from pika.exceptions import AMQPError, UnroutableError

from cloudmesh_actors import logs

#: How long a connection attempt may take, in seconds.
CONNECT_TIMEOUT_S = 5

#: How long a blocked publish (RabbitMQ is short of memory or disk) may wait, in seconds.
BLOCKED_TIMEOUT_S = 15

#: Seconds between heartbeats of a connection.
HEARTBEAT_S = 30

#: Tries to publish a message: the connection may have been closed while it was idle, and then the queue be gone.
PUBLISH_TRIES = 3

#: What pika raises when RabbitMQ does not answer, or not as it should.
ERRORS = (AMQPError, OSError)

log = logs.get_logger()


class ConfirmingRabbitmqBroker(RabbitmqBroker):
    """Dramatiq's RabbitMQ broker with safe defaults."""

    def __init__(self, url: str, *, quorum: bool = False, middleware: list[Any] | None = None) -> None:
        super().__init__(url=url, confirm_delivery=True, middleware=middleware or [])
        self.quorum = quorum
        for parameters in self.parameters if isinstance(self.parameters, list) else [self.parameters]:
            parameters.heartbeat = HEARTBEAT_S
            parameters.blocked_connection_timeout = BLOCKED_TIMEOUT_S
            parameters.socket_timeout = parameters.stack_timeout = CONNECT_TIMEOUT_S

    @property
    def consumer_class(self) -> type[Consumer]:
        """Our consumer."""
        return TaggedConsumer

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

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A consumer of one queue. Raises ConnectionClosed."""
        with self._connection_errors():
            return super().consume(queue_name, prefetch, timeout)

    def depth(self, queue: str) -> tuple[int, int, int | None, int]:
        """Messages that are ready, delayed, running (AMQP does not tell) and set aside. Raises ConnectionClosed."""
        with self._connection_errors():
            self.declare_queue(queue, ensure=True)
            ready, delayed, aside = self.get_queue_message_counts(queue)
        return ready, delayed, None, aside

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
        try:
            yield
        except ERRORS as error:
            del self.connection
            raise ConnectionClosed(_reason(error)) from None

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        arguments: dict[str, Any] = super()._build_queue_arguments(queue_name)
        if self.quorum:
            arguments["x-queue-type"] = "quorum"
        return arguments


class TaggedConsumer(_RabbitmqConsumer):
    """Knows its own messages.

    Delivery tags are numbers that begin at 1 on each connection, and Dramatiq acknowledges on whichever connection is
    open now: after a reconnect a late acknowledgement could take a stranger's tag and lose that message.
    """

    def __next__(self) -> MessageProxy | None:
        message: MessageProxy | None = super().__next__()
        if message is not None:
            message.cloudmesh_consumer = self  # type: ignore[attr-defined]
        return message

    def ack(self, message: MessageProxy) -> None:
        """Acknowledge, unless the message came over a connection that is gone (then it comes again)."""
        self.ack_all([message])

    def nack(self, message: MessageProxy) -> None:
        """Set aside, unless the message came over a connection that is gone (then it comes again)."""
        self.nack_all([message])

    def ack_all(self, messages: list[MessageProxy]) -> None:
        """Acknowledge all that came over this connection. Any thread may call it; the consumer's carries it out."""
        self._answer(messages, self.channel.basic_ack)

    def nack_all(self, messages: list[MessageProxy]) -> None:
        """Set aside all that came over this connection. Any thread may call it; the consumer's carries it out."""
        self._answer(messages, partial(self.channel.basic_nack, requeue=False))

    def _answer(self, messages: list[MessageProxy], answer: Callable[[int], Any]) -> None:
        tags = [message._tag for message in messages if message.__dict__.get("cloudmesh_consumer") is self]
        try:
            if tags:
                self.connection.add_callback_threadsafe(lambda: [answer(tag) for tag in tags])
        except AMQPError:
            tags = []
        if len(tags) < len(messages):
            log.info("messages.come_again", count=len(messages) - len(tags), reason="their connection is gone")

    def _nack(self, tag: int) -> None:
        """Dramatiq's consumer does this with what it cannot read."""
        log.error("message.set_aside", queue=self.queue_name, reason="it cannot be read")
        self.channel.basic_nack(tag, requeue=False)


def _reason(error: Exception) -> Exception | str:
    if "PRECONDITION_FAILED" in str(error):
        return f"{error}; the queue was made with other properties: delete it, or set CLOUDMESH_QUORUM_QUEUES as it was"
    return error
