"""JSON as hand-written printers write it: what they mean, not what the grammar allows.

Scalars are given back as text, as written: `007` and `1e5` are names of jobs. A string ends at the quote after which
the object can go on, an unknown escape loses its backslash, a missing value is empty, a missing comma is overlooked,
and of a repeated key's values objects are joined, and texts as `merged` says.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from cloudmesh_actors.pbs.dialects import merged

#: Records hold groups of values; what is deeper than this is somebody's environment, and given back as it is written.
MAX_DEPTH = 3

Value: TypeAlias = "str | list[Value] | dict[str, Value]"

_KEY = re.compile(r'\s*"((?:[^"\\]++|\\.)*+)"\s*:\s*', re.DOTALL)
_STRING = re.compile(r'"((?:[^"\\]++|\\.)*+)"(?=\s*(?:[,}\]]|\Z))', re.DOTALL)
_LOOSE_STRING = re.compile(r'"(.*?)"(?=\s*(?:,\s*"|,?\s*[}\]]|,?\s*\Z))', re.DOTALL)
_BARE = re.compile(r"[^,}\]\n]*")
_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"|([\[\]{}])', re.DOTALL)
_NEXT = re.compile(r"\s*,?\s*")
_SPACE = re.compile(r"\s*")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SURROGATE = re.compile("[\ud800-\udfff]")


class Unreadable(ValueError):
    """The text at `at` is nothing that could stand there."""

    def __init__(self, message: str, at: int) -> None:
        self.at = at
        super().__init__(message)


class CutOff(Unreadable):
    """The text ends inside an object."""

    def __init__(self, at: int) -> None:
        super().__init__("it has no end", at)


def members(text: str, at: int = 0, depth: int = 0) -> tuple[dict[str, Value], int]:
    """The members that stand at an offset, after `{`, and the offset of the `}` behind them or of the text's end."""
    found: dict[str, Value] = {}
    at = _after(_NEXT, text, at)
    while at < len(text) and text[at] != "}":
        key = _KEY.match(text, at)
        if key is None:
            raise Unreadable(f"{text[at : at + 40]!r} is no member of an object", at)
        value, at = _value(text, key.end(), depth)
        _add(found, _unescaped(key[1]), value)
        at = _after(_NEXT, text, at)
    return found, at


def _value(text: str, at: int, depth: int) -> tuple[Value, int]:
    opening = text[at : at + 1]
    if opening == '"':
        return _string(text, at)
    if opening in ("{", "["):
        if depth >= MAX_DEPTH:
            return _as_written(text, at)
        return _object(text, at + 1, depth + 1) if opening == "{" else _array(text, at + 1, depth + 1)
    match = _BARE.match(text, at)
    assert match is not None  # noqa: S101 - it matches nothing at all
    return match[0].strip(), match.end()


def _string(text: str, at: int) -> tuple[str, int]:
    match = _STRING.match(text, at) or _LOOSE_STRING.match(text, at)
    if match is None:
        raise CutOff(at)
    return _unescaped(match[1]), match.end()


def _object(text: str, at: int, depth: int) -> tuple[Value, int]:
    found, end = members(text, at, depth)
    if end >= len(text):
        raise CutOff(at)
    return found, end + 1


def _array(text: str, at: int, depth: int) -> tuple[Value, int]:
    items: list[Value] = []
    at = _after(_SPACE, text, at)
    while text[at : at + 1] != "]":
        if at >= len(text):
            raise CutOff(at)
        value, end = _value(text, at, depth)
        items.append(value)
        at = _after(_NEXT, text, end)
        if at == end and text[at : at + 1] != "]":
            raise Unreadable(f"{text[at : at + 40]!r} is no item of a list", at)
    return items, at + 1


def _as_written(text: str, at: int) -> tuple[str, int]:
    """An object or list, up to the bracket that closes it."""
    depth = 0
    for match in _BRACKET.finditer(text, at):
        if match[1]:
            depth += 1 if match[1] in "{[" else -1
            if depth == 0:
                return text[at : match.end()], match.end()
    raise CutOff(at)


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
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
