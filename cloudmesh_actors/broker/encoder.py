"""Messages as JSON, read strictly: a body that is not exactly a message is refused where it is read.

Dramatiq's own encoder takes any JSON object with the right keys; one whose `options` is a list, say, then breaks the
consumer instead of being set aside.
"""

from __future__ import annotations

from typing import Any

import orjson
from dramatiq.encoder import Encoder, MessageData

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

#: Longest message id that the store takes.
MAX_ID_LENGTH = 64


class StrictEncoder(Encoder):
    """orjson, and a check of the shape."""

    def encode(self, data: MessageData) -> bytes:
        """The message's fields as JSON. Raises TypeError for what JSON does not have."""
        return orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS)

    def decode(self, data: bytes) -> MessageData:
        """The message's fields. Raises for anything else; Dramatiq makes a DecodeError of it."""
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
    if not 0 < len(fields["message_id"]) <= MAX_ID_LENGTH:
        raise ValueError(f"message_id is empty or longer than {MAX_ID_LENGTH}")
    for name in NUMERIC_OPTIONS:
        value = fields["options"].get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"options.{name} is not a number")
