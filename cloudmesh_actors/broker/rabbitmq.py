"""RabbitMQ: publisher confirms, quorum queues by setting, and acknowledgements that go to the right connection."""

from __future__ import annotations

from typing import Any

import pika
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer
from dramatiq.errors import ConnectionClosed

from cloudmesh_actors import logs

#: How long a connection attempt may take, in seconds.
CONNECT_TIMEOUT_S = 5

#: How long a blocked publish (RabbitMQ is short of memory or disk) may wait, in seconds.
BLOCKED_TIMEOUT_S = 30

#: Seconds between heartbeats of a connection.
HEARTBEAT_S = 30

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

    def depth(self, queue: str) -> tuple[int, int, int | None, int]:
        """Messages that are ready, delayed, running (AMQP does not tell) and set aside. Raises ConnectionClosed."""
        try:
            self.declare_queue(queue, ensure=True)
            ready, delayed, aside = self.get_queue_message_counts(queue)
        except (pika.exceptions.AMQPError, OSError) as error:
            del self.connection
            raise ConnectionClosed(error) from None
        return ready, delayed, None, aside

    def ping(self) -> None:
        """Raises ConnectionClosed when RabbitMQ does not answer."""
        try:
            self.connection.process_data_events()
        except (pika.exceptions.AMQPError, OSError) as error:
            del self.connection
            raise ConnectionClosed(error) from None

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
        if self._is_mine(message):
            super().ack(message)

    def nack(self, message: MessageProxy) -> None:
        """Set aside, unless the message came over a connection that is gone (then it comes again)."""
        if self._is_mine(message):
            super().nack(message)

    def _is_mine(self, message: MessageProxy) -> bool:
        mine = message.__dict__.get("cloudmesh_consumer") is self
        if not mine:
            log.info("message.comes_again", message_id=message.message_id, reason="its connection is gone")
        return mine
