"""Messages as JSON, read strictly: a body that is not exactly a message is refused where it is read.

Dramatiq's own encoder takes any JSON object with the right keys; one whose `options` is a list, say, then breaks the
consumer instead of being set aside.
"""

from __future__ import annotations

from typing import Any

import orjson
from dramatiq.encoder import Encoder, MessageData
from dramatiq.errors import DecodeError
from dramatiq.message import Message, get_encoder

from cloudmesh_actors.broker import signing
from cloudmesh_actors.broker.signing import Keys
from cloudmesh_actors.errors import ArgumentError
from cloudmesh_actors.settings import DEFAULT_MESSAGE_BYTES

#: A message's fields and their types, as Dramatiq's `Message` declares them.
FIELDS: dict[str, type | tuple[type, ...]] = {
    "queue_name": str,
    "actor_name": str,
    "args": list,
    "kwargs": dict,
    "options": dict,
    "message_id": str,
    "message_timestamp": int,
}

#: Options that Dramatiq and this library compute with.
NUMERIC_OPTIONS = ("eta", "retries", "max_retries", "min_backoff", "max_backoff", "time_limit")

#: Options and fields that the store keeps, and how long they may be there.
NAMES = {"queue_name": 64, "actor_name": 128, "message_id": 64}
NAME_OPTIONS = {"root": 64, "parent": 64, "retry_of": 64}

#: The longest message unless the settings say otherwise: brokers, logs and memory are not made for more. In bytes.
MAX_BYTES = DEFAULT_MESSAGE_BYTES


class StrictEncoder(Encoder):
    """orjson, a check of the shape and, with keys, a signature.

    Without keys a signature is not looked at, so that senders may begin to sign before workers look.
    """

    def __init__(self, keys: Keys | None = None, max_bytes: int = MAX_BYTES) -> None:
        self._keys, self.max_bytes = keys, int(max_bytes)  # settings have a subclass, which hiredis does not send

    def encode(self, data: MessageData) -> bytes:
        """The message's fields as JSON. Raises ArgumentError for what JSON does not have, and for what is too long."""
        try:
            encoded = orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS)
        except TypeError as error:
            raise ArgumentError(f"{data['actor_name']}: an argument is not JSON: {error}.") from None
        if self._keys is not None:
            encoded = self._keys.sign(encoded)
        if len(encoded) > self.max_bytes:
            raise ArgumentError(
                f"{data['actor_name']}: its arguments take {len(encoded):,} bytes, {self.max_bytes:,} at most."
            )
        return encoded

    def decode(self, data: bytes) -> MessageData:
        """The message's fields. Raises for anything else; Dramatiq makes a DecodeError of it."""
        if len(data) > self.max_bytes:
            raise TooLong(len(data))
        return fields_of(signing.unsigned(data) if self._keys is None else self._keys.opened(data))


def longest() -> int:
    """How long a body may be, in bytes."""
    encoder = get_encoder()
    return encoder.max_bytes if isinstance(encoder, StrictEncoder) else MAX_BYTES


class TooLong(ValueError):
    """A body longer than a message may be."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size:,} bytes are too many")


def fields_of(body: bytes) -> MessageData:
    """The fields of a message from its JSON. Raises ValueError or TypeError."""
    fields: MessageData = orjson.loads(body)
    check_shape(fields)
    return fields


def read(body: bytes, queue: str) -> Message[Any]:
    """The message in a body that was found in `queue` (as the broker names it, so perhaps with `.DQ`).

    Raises:
        DecodeError: it is none that may be run; its `error` says why.
    """
    message: Message[Any] = Message.decode(body)
    if message.queue_name != queue:
        raise DecodeError("moved", body, ValueError(f"it was sent to the queue {message.queue_name!r}"))
    return message


def check_shape(fields: Any) -> None:
    """Raise ValueError or TypeError unless `fields` are those of a message, each of its type."""
    if not isinstance(fields, dict) or fields.keys() != FIELDS.keys():
        raise ValueError("not the fields of a message")
    for name, kind in FIELDS.items():
        if not isinstance(fields[name], kind) or isinstance(fields[name], bool):
            raise TypeError(f"{name} is not a {getattr(kind, '__name__', kind)}")
    for name, longest in NAMES.items():
        _check_name(name, fields[name], longest)
    for name, longest in NAME_OPTIONS.items():
        if fields["options"].get(name) is not None:
            _check_name(f"options.{name}", fields["options"][name], longest)
    for name in NUMERIC_OPTIONS:
        _check_number(f"options.{name}", fields["options"].get(name))


def _check_name(what: str, value: Any, longest: int) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise ValueError(f"{what} is not a name of at most {longest} characters")


def _check_number(what: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"{what} is not a number")
