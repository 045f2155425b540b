"""Messages as JSON, read strictly: a body that is not exactly a message is refused where it is read.

Dramatiq's own encoder takes any JSON object with the right keys; one whose `options` is a list, say, then breaks the
consumer instead of being set aside.
"""

from __future__ import annotations

from typing import Any

import orjson
from dramatiq.encoder import Encoder, MessageData

from cloudmesh_actors.errors import ArgumentError

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

#: The longest message: brokers, logs and memory are not made for more. In bytes.
MAX_BYTES = 1_000_000


class StrictEncoder(Encoder):
    """orjson, and a check of the shape."""

    def encode(self, data: MessageData) -> bytes:
        """The message's fields as JSON. Raises ArgumentError for what JSON does not have, and for what is too long."""
        try:
            encoded = orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS)
        except TypeError as error:
            raise ArgumentError(f"{data['actor_name']}: an argument is not JSON: {error}.") from None
        if len(encoded) > MAX_BYTES:
            raise ArgumentError(
                f"{data['actor_name']}: its arguments take {len(encoded):,} bytes, {MAX_BYTES:,} at most."
            )
        return encoded

    def decode(self, data: bytes) -> MessageData:
        """The message's fields. Raises for anything else; Dramatiq makes a DecodeError of it."""
        if len(data) > MAX_BYTES:
            raise ValueError(f"{len(data):,} bytes are too many")
        fields = orjson.loads(data)
        check_shape(fields)
        return fields  # type: ignore[no-any-return]


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
