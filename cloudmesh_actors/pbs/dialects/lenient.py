"""JSON as hand-written printers write it: what they mean, not what the grammar allows.

Scalars and lists are given back as text, as written: `007` and `1e5` are names of jobs. A string ends at the quote
after which the object can go on, an unknown escape loses its backslash, a missing value is empty, a missing comma is
overlooked, and of a repeated key's values objects are joined, and texts as `merged` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from cloudmesh_actors.pbs.dialects import merged

#: A listing holds records (1), and they groups of values (2); what is deeper comes from a user's environment.
MAX_DEPTH = 2

Value: TypeAlias = "str | dict[str, Value]"

_KEY = re.compile(r'\s*"([^"\\]*(?:\\.[^"\\]*)*)"\s*:\s*', re.DOTALL)
_STRING = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(?=\s*(?:[,}\]]|\Z)|[ \t]*\n\s*")', re.DOTALL)
_LOOSE_STRING = re.compile(r'"(.*?)"(?=\s*(?:,\s*"|,?\s*[}\]]|,?\s*\Z)|[ \t]*\n\s*")', re.DOTALL)
_BARE = re.compile(r"[^,}\]\n]*")
_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z)|([\[\]{}])', re.DOTALL)
_NEXT = re.compile(r"\s*,?\s*")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SURROGATE = re.compile("[\ud800-\udfff]")


class Unreadable(ValueError):
    """A text is no object; `member` is the one in which that shows."""

    member = ""


class CutOff(Unreadable):
    """A text ends inside an object."""

    def __init__(self) -> None:
        super().__init__("it has no end")


def members(text: str, at: int = 0, depth: int = 0) -> Iterator[tuple[str, Value, int]]:
    """The members that stand at an offset, after `{`, each with the offset behind it; the last offset is that of `}`.

    Ends also where the text does. Raises Unreadable.
    """
    at = _next(text, at)
    while at < len(text) and text[at] != "}":
        key = _KEY.match(text, at)
        if key is None:
            raise Unreadable(f"{text[at : at + 40]!r} is no member of an object")
        name = _unescaped(key[1])
        try:
            value, at = _value(text, key.end(), depth)
        except Unreadable as error:
            error.member = name
            raise
        at = _next(text, at)
        yield name, value, at


def whole(text: str, at: int, depth: int) -> tuple[dict[str, Value], int]:
    """The object whose members stand at an offset, after `{`, and the offset behind its `}`."""
    found: dict[str, Value] = {}
    for name, value, end in members(text, at, depth):
        _add(found, name, value)
        at = end
    at = _next(text, at)
    if at >= len(text):
        raise CutOff
    return found, at + 1


def _value(text: str, at: int, depth: int) -> tuple[Value, int]:
    opening = text[at : at + 1]
    if opening == '"':
        return _string(text, at)
    if opening == "{" and depth < MAX_DEPTH:
        return whole(text, at + 1, depth + 1)
    if opening in ("{", "["):
        return _as_written(text, at)
    match = _BARE.match(text, at)
    assert match is not None  # noqa: S101 - it matches nothing at all
    return match[0].strip(), match.end()


def _string(text: str, at: int) -> tuple[str, int]:
    match = _STRING.match(text, at) or _LOOSE_STRING.match(text, at)
    if match is None:
        raise CutOff
    return _unescaped(match[1]), match.end()


def _as_written(text: str, at: int) -> tuple[str, int]:
    """An object or list, up to the bracket that closes it."""
    depth = 0
    for match in _BRACKET.finditer(text, at):
        if match[1]:
            depth += 1 if match[1] in "{[" else -1
            if depth == 0:
                return text[at : match.end()], match.end()
    raise CutOff


def _next(text: str, at: int) -> int:
    match = _NEXT.match(text, at)
    return match.end() if match else at


def _add(found: dict[str, Value], key: str, value: Value) -> None:
    known = found.setdefault(key, value)
    if known is value:
        return
    if isinstance(known, dict) and isinstance(value, dict):
        for name, item in value.items():
            _add(known, name, item)
    elif isinstance(known, str) and isinstance(value, str):
        found[key] = merged(known, value)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    text = _ESCAPE.sub(_character, text)
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _character(match: re.Match[str]) -> str:
    code, character = match.groups()
    return chr(int(code, 16)) if code else _CONTROLS.get(character, character)
