"""The messages beside a RabbitMQ queue (`QUEUE.XQ`), taken without acknowledging and given back in their old places."""

from __future__ import annotations

import time
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

#: How long RabbitMQ may take to put messages back, in seconds.
RETURN_S = 10.0


def sift(connection: BlockingConnection, queue: str, judge: Judge) -> int:
    """Have each message judged; how many were dropped or replaced. Should it break off, what is left comes back.

    Raises:
        ConnectionClosed, pika.exceptions.AMQPError, OSError: RabbitMQ does not answer.
    """
    channel, dropped, replaced, kept = connection.channel(), 0, 0, 0
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
        else:
            kept += 1
    replaced += _replace(connection, channel, waiting)
    channel.basic_nack(0, multiple=True, requeue=True)
    _await_return(connection, channel, queue, kept)
    return dropped + replaced


def _taken(channel: Any, queue: str) -> Iterator[tuple[int, Stored]]:
    for _ in range(_count(channel, queue)):
        method, properties, body = channel.basic_get(xq_name(queue))
        if method is None:  # they expire, and others may take them
            return
        headers = properties.headers or {}
        yield method.delivery_tag, Stored(queue, "", body, len(body), _since(headers), headers)


def _count(channel: Any, queue: str) -> int:
    return int(channel.queue_declare(xq_name(queue), passive=True).method.message_count)


def _await_return(connection: BlockingConnection, channel: Any, queue: str, kept: int) -> None:
    """RabbitMQ puts them back when it has time, and the next look is to miss none."""
    ends_at = time.monotonic() + RETURN_S
    while _count(channel, queue) < kept and time.monotonic() < ends_at:  # some may expire at this very moment
        connection.sleep(0.02)


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
