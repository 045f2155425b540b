"""Passwords: hidden wherever they might be shown, and known to the log so that it can strike them out."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote

MASK = "***"

#: Longer than any password; a bigger file is something else.
MAX_SECRET_BYTES = 4096

#: A shorter password would strike out innocent text wherever it occurs.
SHORTEST_REDACTED = 4

_known: set[str] = set()
_generation = 0

_QUERY_SECRET = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key)[^=&]*=)[^&#]*", re.IGNORECASE)


class Secret:
    """A password. Its repr and str are masked; `reveal()` gives the value to the one call that needs it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        remember(value)

    def reveal(self) -> str:
        """The password itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is not pickled: it would travel in clear")


def remember(value: str) -> None:
    """Have the log strike out this value wherever it turns up."""
    global _generation  # noqa: PLW0603 - one registry a process
    if len(value) >= SHORTEST_REDACTED and value not in _known:
        _known.add(value)
        _generation += 1


def known_values() -> frozenset[str]:
    """All secret values this process has met, for the log's redaction."""
    return frozenset(_known)


def generation() -> int:
    """Another number after each change of `known_values`, so that the log compiles them only then."""
    return _generation


def forget() -> None:
    """Forget the known values (tests)."""
    global _generation  # noqa: PLW0603 - one registry a process
    _known.clear()
    _generation += 1


def read_file(path: Path) -> Secret:
    """The password in a file: its only line, without the line's end.

    It must be a regular file of this user or root that neither its group nor others may read. Raises ValueError
    with the reason as half a sentence that begins with the path.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not a regular file")
        if status.st_uid not in (0, os.geteuid()):
            raise ValueError(f"{path} belongs to another user (uid {status.st_uid})")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise ValueError(f"{path} is open to others than its owner (mode {mode:04o}); chmod 0600 mends that")
        return Secret(_one_line(path, file.read(MAX_SECRET_BYTES + 1)))


def _one_line(path: Path, content: bytes) -> str:
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"{path} is longer than {MAX_SECRET_BYTES} bytes, so it is no password file")
    try:
        line = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not line:
        raise ValueError(f"{path} is empty")
    if not line.isprintable():
        raise ValueError(f"{path} holds more than one line or control characters")
    return line


def mask_url(url: str) -> str:
    """The URL with every password in it replaced by ``***``: before the ``@`` and in the query.

    Rather hides too much than too little: whatever stands between the first ``:`` and the last ``@`` goes, so
    that a password with an unescaped ``/`` or ``@`` does not show.
    """
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return url if "@" not in url else MASK
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    shown = f"{user}:{MASK}" if colon else user
    return _QUERY_SECRET.sub(rf"\g<1>{MASK}", f"{scheme}://{shown}{at}{place}")


def remember_url(url: str) -> None:
    """Have the log strike out the password in a URL, as it is written and unescaped."""
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    password = credentials.partition(":")[2] if at else ""
    remember(password)
    remember(unquote(password))
