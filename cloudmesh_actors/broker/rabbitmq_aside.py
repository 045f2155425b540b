"""The messages beside a RabbitMQ queue (`QUEUE.XQ`), taken without acknowledging and given back in their old places."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dramatiq.common import xq_name
from dramatiq.message import Message
from pika.adapters.blocking_connection import BlockingConnection

from cloudmesh_actors.broker.aside import Fate, Judge, Stored
from cloudmesh_actors.broker.bulk import Letter, publish_all

#: New messages that are confirmed together, before the old ones are acknowledged.
REPLACED_AT_ONCE = 100


def sift(connection: BlockingConnection, queue: str, judge: Judge) -> int:
    """Have each message judged; how many were dropped or replaced. Should it break off, what is left comes back.

    Raises:
        ConnectionClosed, pika.exceptions.AMQPError, OSError: RabbitMQ does not answer.
    """
    channel, dropped, replaced = connection.channel(), 0, 0
    waiting: list[tuple[int, Letter]] = []
    for tag, stored in _taken(channel, queue):
        fate = judge(stored)
        if fate is Fate.DROPPED:
            channel.basic_ack(tag)
            dropped += 1
        elif isinstance(fate, Message):
            waiting.append((tag, Letter(queue, fate.encode(), fate.options.get("broker_priority"))))
            if len(waiting) == REPLACED_AT_ONCE:
                replaced += _replace(connection, channel, waiting)
    replaced += _replace(connection, channel, waiting)
    channel.basic_nack(0, multiple=True, requeue=True)
    return dropped + replaced


def _taken(channel: Any, queue: str) -> Iterator[tuple[int, Stored]]:
    name = xq_name(queue)
    for _ in range(channel.queue_declare(name, passive=True).method.message_count):
        method, properties, body = channel.basic_get(name)
        if method is None:  # they expire, and others may take them
            return
        headers = properties.headers or {}
        yield method.delivery_tag, Stored(queue, "", body, len(body), _since(headers), headers)


def _replace(connection: BlockingConnection, channel: Any, waiting: list[tuple[int, Letter]]) -> int:
    count = len(waiting)
    if count:
        publish_all(connection, [letter for _, letter in waiting])
    for tag, _ in waiting:
        channel.basic_ack(tag)
    waiting.clear()
    return count


def _since(headers: dict[str, Any]) -> float | None:
    """When RabbitMQ moved the message here, in seconds since the epoch."""
    moment: datetime | None = next((death["time"] for death in headers.get("x-death") or [] if "time" in death), None)
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
