"""`qstat -f -F json`, `qstat -Q -f -F json` and `pbsnodes -a -F json` of OpenPBS and PBS Pro.

Since 2024 a library prints this JSON; before, it was put together by hand (pbs_json.c), and every value that strtod(3)
takes for a number was printed bare: `007`, `1e5`, `nan`, `.5`, `0x1f`, and an empty value as nothing at all. Backslashes
before quotes and commas were kept or dropped by no rule, and an attribute with several values is a repeated key to this
day. So records are cut out at their headings and given to orjson one by one; a record that is no JSON, repeats a key,
or has a number that a float would not give back as written, goes to the lenient reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from sys import intern
from typing import Any

import orjson

from cloudmesh_actors.pbs.dialects import Found, Kind, Report, Source, complain, decoded, lenient

#: The object that holds the records, and the attribute that a record's printer begins with.
CONTAINERS = {Kind.JOBS: (b"Jobs", b"Job_Name"), Kind.QUEUES: (b"Queue", b"queue_type"), Kind.NODES: (b"nodes", b"Mom")}

#: Where the library writes a whole number in floating point, and nothing is lost by writing it out.
COUNTERS = frozenset({"queue_rank"})

#: A user's environment, an object here, is written as the text listing has it: `NAME=value,…`, commas escaped.
ENVIRONMENT = "Variable_List"

#: How many of the latest values are remembered: most of a record's are in the records before it.
REMEMBERED = 8192

_CONTAINER = re.compile(rb'"(Jobs|Queue|nodes|Server)"\s*:\s*\{')
_FIRST = re.compile(rb'\s*"(?:[^"\\]|\\.)*("\s*:\s*\{\s*"[^"]*")')
_NAME = re.compile(rb'\s*"([^"]{1,200})"')
_CLOSED = re.compile(rb"\}\s*\}\s*\}\s*\Z")
_HEADER = frozenset({"pbs_server", "pbs_version", "timestamp"})

Raw = Mapping[str, Any]


class _Inexact(ValueError):
    """A number would not be given back as it was written."""


def read(source: Source, kind: Kind, report: Report) -> Iterator[Found]:
    """The records of a JSON listing."""
    container, first = CONTAINERS[kind]
    begin = _begin(source, container)
    if begin is None:
        return
    same: Callable[[str], str] = lru_cache(REMEMBERED)(str)
    start = begin
    for end in _cuts(source.data, begin, first):
        yield from _records(source, start, source.data[start:end], same, report)
        start = end
    yield from _last_records(source, start, same, report)


def _begin(source: Source, container: bytes) -> int | None:
    """Where the records begin; None when the server said who it is and that was all: it has none."""
    match = _CONTAINER.search(source.data, source.begin)
    if match is None:
        return _nothing(source)
    if match[1] != container:
        raise source.error(f"a listing of {decoded(match[1])} was not asked for", match.start())
    return match.end()


def _nothing(source: Source) -> None:
    text = decoded(source.data[source.begin :])
    try:
        found, end = lenient.members(text, 1)
    except lenient.Unreadable as error:
        raise source.error(f"the output is no listing: {error}", source.begin) from None
    if end >= len(text):
        raise source.error("the output is cut off before any record", source.begin)
    if not _HEADER & found.keys():
        raise source.error("the output is no listing", source.begin)


def _cuts(data: bytes, begin: int, first: bytes) -> Iterator[int]:
    """Where the second and every later record begins: its printer writes what follows the name always alike."""
    match = re.compile(rb'"\s*:\s*\{\s*"%b"' % first).search(data, begin)
    match, group = (match, 0) if match else (_FIRST.match(data, begin), 1)
    if match is None:
        return
    mark, at = match[group], match.end()
    while (at := data.find(mark, at)) >= 0:
        yield data.rfind(b'"', begin, at)
        at += len(mark)


def _records(source: Source, start: int, piece: bytes, same: Callable[[str], str], report: Report) -> Iterator[Found]:
    """The records of a piece that is followed by another."""
    try:
        found = _loaded(piece)
        if found is not None:
            for name, raw in [(name, _flat(raw, same)) for name, raw in found.items()]:
                yield start, name, raw
            return
    except _Inexact:
        pass
    yield from _leniently(source, start, piece, same, report)


def _loaded(piece: bytes) -> dict[str, Raw] | None:
    """What orjson reads, unless it is no JSON, has anything but records, or repeats a key."""
    try:
        found = orjson.loads(b"{%b}" % piece.rstrip(b", \t\r\n"))
    except orjson.JSONDecodeError:
        return None
    keys = len(found)
    for record in found.values():
        if type(record) is not dict:
            return None
        keys += len(record)
        for value in record.values():
            if type(value) is dict:
                keys += len(value)
    return found if keys == piece.count(b'":') else None


def _leniently(source: Source, start: int, piece: bytes, same: Callable[[str], str], report: Report) -> Iterator[Found]:
    text = decoded(piece)
    try:
        found, end = lenient.members(text)
    except lenient.Unreadable as error:
        report(start, _name_in(piece), str(error))
        return
    if end < len(text):
        report(start, _name_in(piece), "it has more ends than beginnings")
    yield from _listed(start, found, same, report)


def _last_records(source: Source, start: int, same: Callable[[str], str], report: Report) -> Iterator[Found]:
    """The records of the last piece, after which the listing must come to its end."""
    piece = source.data[start:]
    text = decoded(piece)
    try:
        found, end = lenient.members(text)
        end = lenient.members(text, end + 1)[1] if end < len(text) else end
    except lenient.Unreadable as error:
        if isinstance(error, lenient.CutOff) or not _CLOSED.search(piece):
            raise source.error("the output is cut off in this record", start, _name_in(piece)) from None
        report(start, _name_in(piece), str(error))
        return
    if end >= len(text):
        raise source.error("the output is cut off after this record", start, _name_in(piece))
    yield from _listed(start, found, same, report)
    rest = text[end + 1 :].strip().encode(errors="replace")
    if rest and not complain(source, source.data.rfind(b"}") + 1, rest, report):
        report(source.data.rfind(b"}") + 1, "", "something follows the output")


def _listed(start: int, found: Raw, same: Callable[[str], str], report: Report) -> Iterator[Found]:
    for name, raw in found.items():
        if isinstance(raw, dict):
            yield start, name, _flat(raw, same)
        else:
            report(start, name, "it is no object")


def _name_in(piece: bytes) -> str:
    match = _NAME.match(piece)
    return decoded(match[1]) if match else ""


def _flat(record: Raw, same: Callable[[str], str]) -> dict[str, str]:
    """The attributes under the names that the text listing gives them: `Resource_List.walltime`."""
    flat: dict[str, str] = {}
    for key, value in record.items():
        if type(value) is str:
            flat[intern(key)] = same(value)
        elif type(value) is not dict:
            flat[intern(key)] = _counter(value) if key in COUNTERS else _text(value)
        elif key == ENVIRONMENT:
            flat[ENVIRONMENT] = ",".join([f"{name}={_escaped(item)}" for name, item in value.items()])
        else:
            for name, item in value.items():
                flat[intern(f"{key}.{name}")] = same(item) if type(item) is str else _text(item)
    return flat


def _counter(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) else _text(value)


def _escaped(value: Any) -> str:
    text = value if type(value) is str else _text(value)
    return text.replace(",", "\\,") if "," in text else text


def _text(value: Any) -> str:
    if type(value) is float:
        raise _Inexact
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return orjson.dumps(value).decode()
