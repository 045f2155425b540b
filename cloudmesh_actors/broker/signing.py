"""Signed messages: with a key set, a message that was not made by somebody who has the key is never run.

A signed body is a line with the HMAC-SHA256 of everything that follows it, and then the message's JSON::

    cm1:<64 hexadecimal digits>\\n{"queue_name": ...}

The signed bytes are those that were sent, so nobody has to agree on how JSON is spelt. They hold the message's queue,
so a consumer that compares it with the queue it reads notices one that was moved.
"""

from __future__ import annotations

import hmac

from cloudmesh_actors.errors import SettingsError
from cloudmesh_actors.secret import Secret, read_file
from cloudmesh_actors.settings import Settings, variable

#: What a signed body begins with: a name and a version.
MARK = b"cm1:"

#: The length of the line with the signature.
HEAD = len(MARK) + 64 + 1

#: What is signed begins with this, so that a signature by the same key for another purpose is none of a message.
PURPOSE = b"cloudmesh_actors message 1\n"

#: A shorter key could be guessed. In characters.
SHORTEST_KEY = 32


class NotSigned(ValueError):
    """A message without a signature, or whose signature is not of these keys."""


class Keys:
    """The key that signs, and those that are accepted."""

    def __init__(self, current: Secret, old: Secret | None = None) -> None:
        self._keys = [key.reveal().encode() for key in (current, old) if key is not None]

    def sign(self, body: bytes) -> bytes:
        """The body with its signature."""
        return b"%b%b\n%b" % (MARK, _signature(self._keys[0], body), body)

    def opened(self, data: bytes) -> bytes:
        """The body whose signature is right. Raises NotSigned."""
        body = unsigned(data)
        if body is data:
            raise NotSigned("it is not signed")
        given = data[len(MARK) : HEAD - 1]
        if not any(hmac.compare_digest(_signature(key, body), given) for key in self._keys):
            raise NotSigned("its signature is wrong: it was changed, or signed with another key")
        return body


def unsigned(data: bytes) -> bytes:
    """The body without its signature, which is not looked at; `data` itself when it has none."""
    if data.startswith(MARK) and data[HEAD - 1 : HEAD] == b"\n":
        return data[HEAD:]
    return data


def keys(config: Settings) -> Keys | None:
    """The keys that the settings name; None when messages are not signed. Raises SettingsError."""
    current = _read(config, "signing_key_file")
    return None if current is None else Keys(current, _read(config, "signing_old_key_file"))


def _signature(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, PURPOSE + body, "sha256").hex().encode()


def _read(config: Settings, name: str) -> Secret | None:
    path = getattr(config, name)
    if path is None:
        return None
    try:
        key = read_file(path)
    except ValueError as error:
        raise SettingsError(f"{variable(name)}: {error}") from None
    if len(key.reveal()) < SHORTEST_KEY:
        raise SettingsError(f"{variable(name)}: the key in {path} is shorter than {SHORTEST_KEY} characters")
    return key
