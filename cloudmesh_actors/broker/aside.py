"""What brokers have to do with messages that were set aside: keep them, show them, give them up.

Each broker of ours has one method for it, `sift_aside`, which shows every such message of a queue to a judge.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from dramatiq.errors import DecodeError
from dramatiq.message import Message

from cloudmesh_actors import logs

log = logs.get_logger()


class Stored(NamedTuple):
    """A message as the broker keeps it.

    `key` is the broker's own id for it, empty where it has none; `at` is when it was set aside, in seconds since the
    epoch; `body` is empty when it is longer than a message may be, `size` never lies.
    """

    queue: str
    key: str
    body: bytes
    size: int
    at: float | None
    headers: dict[str, Any]


class Fate(Enum):
    """What becomes of a message that was set aside, unless a new one goes into the queue for it."""

    KEPT = "kept"
    DROPPED = "dropped"


#: Told of each message in the order in which they were set aside; a `Message` goes into the queue instead of it.
Judge: TypeAlias = Callable[[Stored], "Fate | Message[Any]"]


def tell_unreadable(queue: str, error: DecodeError) -> None:
    """Log that a body was set aside because it is no message, or none that may be run here."""
    log.error("message.set_aside", queue=queue, reason="it cannot be read", cause=str(error.error))
