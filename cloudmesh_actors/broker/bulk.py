"""Many messages to RabbitMQ, all published before the first confirmation is waited for.

pika's blocking channel waits for each confirmation before it takes the next message, which is one flush of RabbitMQ's
disk for each. The channel below it has no such limit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import pika
from dramatiq.errors import ConnectionClosed
from pika import spec
from pika.adapters.blocking_connection import BlockingConnection

#: How long RabbitMQ may take to confirm all of a batch, in seconds.
CONFIRM_TIMEOUT_S = 30.0


class Letter(NamedTuple):
    """A body, the queue it goes to, and its priority."""

    queue: str
    body: bytes
    priority: int | None


def publish_all(connection: BlockingConnection, letters: Sequence[Letter]) -> None:
    """Publish all, and return when RabbitMQ has confirmed all.

    Raises:
        ConnectionClosed: some were not confirmed in time, or not taken.
        pika.exceptions.AMQPError, OSError: the connection broke.
    """
    channel = connection.channel()
    try:
        told = _Confirmations()
        channel.add_on_return_callback(told.came_back)
        impl = channel._impl
        impl.confirm_delivery(ack_nack_callback=told.confirmed, callback=told.may_begin)
        _await(connection, lambda: told.begun)
        for letter in letters:
            properties = pika.BasicProperties(delivery_mode=2, priority=letter.priority)
            impl.basic_publish("", letter.queue, letter.body, properties, mandatory=True)
        _await(connection, lambda: told.count >= len(letters))
    finally:
        if channel.is_open:
            channel.close()
    if told.refused:
        raise ConnectionClosed(f"RabbitMQ did not take {told.refused} of {len(letters)} messages")


class _Confirmations:
    """Counts confirmations: each names a delivery tag, alone or with all before it."""

    def __init__(self) -> None:
        self.begun, self.count, self.refused = False, 0, 0
        self._last = 0
        self._alone: set[int] = set()

    def may_begin(self, _frame: Any) -> None:
        self.begun = True

    def came_back(self, *_: Any) -> None:
        self.refused += 1

    def confirmed(self, frame: Any) -> None:
        tag, many = frame.method.delivery_tag, frame.method.multiple
        before = self.count
        if many:
            self._alone = {other for other in self._alone if other > tag}
            self._last = max(self._last, tag)
        else:
            self._alone.add(tag)
        self.count = self._last + len(self._alone)
        if isinstance(frame.method, spec.Basic.Nack):
            self.refused += self.count - before


def _await(connection: BlockingConnection, done: Any) -> None:
    ends_at = time.monotonic() + CONFIRM_TIMEOUT_S
    while not done():
        if time.monotonic() > ends_at:
            raise ConnectionClosed(f"RabbitMQ did not confirm within {CONFIRM_TIMEOUT_S:g} s")
        connection.process_data_events(time_limit=0.1)
