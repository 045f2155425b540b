"""RabbitMQ: publisher confirms, quorum queues by setting, and acknowledgements that go to the right connection."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pika
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer, _RabbitmqMessage
from dramatiq.common import current_millis, dq_name, q_name, xq_name
from dramatiq.errors import ConnectionClosed, DecodeError
from dramatiq.message import Message
from pika.exceptions import AMQPError, UnroutableError

from cloudmesh_actors import logs
from cloudmesh_actors.broker import encoder
from cloudmesh_actors.broker.aside import Fate, Judge, Stored, tell_unreadable

#: How long a connection attempt may take, in seconds.
CONNECT_TIMEOUT_S = 5

#: How long a blocked publish (RabbitMQ is short of memory or disk) may wait, in seconds.
BLOCKED_TIMEOUT_S = 15

#: Seconds between heartbeats of a connection.
HEARTBEAT_S = 30

#: Tries to publish a message: the connection may have been closed while it was idle, and then the queue be gone.
PUBLISH_TRIES = 3

#: AMQP's reply when a queue is not there.
NOT_FOUND = 404

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

    def sift_aside(self, queue: str, judge: Judge) -> int:
        """Have each message that was set aside judged; how many were dropped or requeued. Raises ConnectionClosed.

        It takes them without acknowledging, on a connection of its own, and gives back what is kept, in its old place.
        A new message is confirmed before the old one is acknowledged.
        """
        with self._connection_errors():
            self.declare_queue(queue, ensure=True)
            connection = pika.BlockingConnection(parameters=self.parameters)
            with contextlib.closing(connection):
                channel = connection.channel()
                channel.confirm_delivery()
                found = _aside(channel, queue)
                return sum(_carry_out(channel, tag, queue, judge(stored)) for tag, stored in found)

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

    def __init__(self, broker: Any, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)
        self._timeout_s = timeout / 1000
        self._resting = False
        self._back: deque[MessageProxy] = deque()

    def __next__(self) -> MessageProxy | None:
        with self._gone():
            self._give_back()
            if self._resting:
                self.iterator = self.channel.consume(self.queue_name, inactivity_timeout=self._timeout_s)
                self._resting = False
            method, _, body = next(self.iterator)
        return None if method is None else self._received(method, body)

    def rest(self) -> None:
        """Take no more, hand back what came and was not begun, keep the connection alive, wait. For a paused queue."""
        with self._gone():
            if not self._resting:
                self.channel.cancel()
                self._resting = True
            self.connection.process_data_events(time_limit=self._timeout_s)
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

    def _received(self, method: Any, body: bytes) -> MessageProxy | None:
        try:
            message = encoder.read(body, self.queue_name)
        except DecodeError as error:
            tell_unreadable(self.queue_name, error)
            self.channel.basic_nack(method.delivery_tag, requeue=False)
            return None
        proxy: MessageProxy = _RabbitmqMessage(method.redelivered, method.delivery_tag, message)
        proxy.cloudmesh_consumer = self  # type: ignore[attr-defined]
        return proxy

    def _give_back(self) -> None:
        if self._back:
            back = [self._back.popleft() for _ in range(len(self._back))]
            self._answer(back, partial(self.channel.basic_nack, requeue=True))

    @contextlib.contextmanager
    def _gone(self) -> Iterator[None]:
        try:
            yield
        except (StopIteration, AssertionError, *ERRORS) as error:
            if getattr(error, "reply_code", None) == NOT_FOUND:  # somebody deleted the queue
                self.broker.queues_pending.add(q_name(self.queue_name))
            raise ConnectionClosed(error) from None


def _aside(channel: Any, queue: str) -> Iterator[tuple[int, Stored]]:
    name = xq_name(queue)
    for _ in range(channel.queue_declare(name, passive=True).method.message_count):
        method, properties, body = channel.basic_get(name)
        if method is None:  # they expire, and others may take them
            break
        headers = properties.headers or {}
        at = next((death["time"] for death in headers.get("x-death") or [] if "time" in death), None)
        yield method.delivery_tag, Stored(queue, "", body, len(body), None if at is None else _seconds(at), headers)
    channel.basic_nack(0, multiple=True, requeue=True)


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _carry_out(channel: Any, tag: int, queue: str, fate: Fate | Message[Any]) -> int:
    if fate is Fate.KEPT:
        return 0
    if isinstance(fate, Message):
        properties = pika.BasicProperties(delivery_mode=2, priority=fate.options.get("broker_priority"))
        channel.basic_publish("", queue, fate.encode(), properties, mandatory=True)
    channel.basic_ack(tag)
    return 1


def _reason(error: Exception) -> Exception | str:
    if "PRECONDITION_FAILED" in str(error):
        return f"{error}; the queue was made with other properties: delete it, or set CLOUDMESH_QUORUM_QUEUES as it was"
    return error
