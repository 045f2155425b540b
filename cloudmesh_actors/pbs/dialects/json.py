"""`qstat -f -F json`, `qstat -Q -f -F json` and `pbsnodes -a -F json` of OpenPBS and PBS Pro.

Since 2024 a library prints this JSON; before, it was put together by hand (pbs_json.c), and every value that strtod(3)
takes for a number was printed bare: `007`, `1e5`, `nan`, `.5`, `0x1f`, and an empty value as nothing at all; there was
no rule for backslashes before quotes and commas; and an attribute with several values was a repeated key. So records
are cut out at their headings and given to orjson one by one; a record that is no JSON, repeats a key, or has a number
that a float would not give back as written, goes to the lenient reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from sys import intern
from typing import Any

import orjson

from cloudmesh_actors.pbs.dialects import (
    GROUP_FIELDS,
    TOP_FIELDS,
    Found,
    Kind,
    Report,
    Source,
    complain,
    decoded,
    lenient,
)
from cloudmesh_actors.pbs.model import Attributes

#: The object that holds the records, and the attribute that a record's printer begins with.
CONTAINERS = {Kind.JOBS: (b"Jobs", b"Job_Name"), Kind.QUEUES: (b"Queue", b"queue_type"), Kind.NODES: (b"nodes", b"Mom")}

#: A user's environment, an object here, is written as the text listing has it: `NAME=value,…`, commas escaped.
ENVIRONMENT = "Variable_List"

_CONTAINER = re.compile(rb'"(Jobs|Queue|nodes|Server)"\s*:\s*\{\s*')
_FIRST = re.compile(rb'\s*"(?:[^"\\]|\\.)*("\s*:\s*\{\s*"[^"]*")')
_QUOTED = re.compile(r'"([^"]*)"')
_WORDS = {None: "null", True: "true", False: "false"}
_CLOSED = re.compile(r"\}\s*\}\s*\}\s*\Z")
_HEADER = frozenset({"pbs_server", "pbs_version", "timestamp"})

_TORQUE_FIELDS = frozenset({"start_time", "comp_time", "mtime", "exit_status"})
_JSON_FIELDS = [name for name in TOP_FIELDS if name not in _TORQUE_FIELDS]
_GROUP_FIELDS = [(group, [(name, f"{group}.{name}") for name in names]) for group, names in GROUP_FIELDS.items()]

Raw = Mapping[str, Any]


class _Inexact(ValueError):
    """What orjson read would not be given back as it was written."""


def read(source: Source, kind: Kind, report: Report) -> Iterator[Found]:
    """The records of a JSON listing."""
    container, first = CONTAINERS[kind]
    begin = _begin(source, container)
    if begin is None:
        _check_header(source)
        return
    read_record = _quickly if kind is Kind.JOBS else _exactly
    for start, quote, brace, end in _cuts(source.data, begin, first):
        try:
            found = read_record(source.data, start, quote, brace, end)
        except (_Inexact, orjson.JSONDecodeError):
            yield from _leniently(source, start, end, report)
        else:
            yield found
        begin = end
    yield from _last_records(source, begin, report)


def _begin(source: Source, container: bytes) -> int | None:
    """Where the records begin; None if there is no place for any."""
    match = _CONTAINER.search(source.data, source.begin)
    if match is None:
        return None
    if match[1] != container:
        raise source.error(f"a listing of {decoded(match[1])} was not asked for", match.start())
    return match.end()


def _check_header(source: Source) -> None:
    """A server that has no jobs says who it is, and no more."""
    text = decoded(source.data[source.begin :])
    try:
        found, _ = lenient.whole(text, 1, depth=0)
    except lenient.CutOff:
        raise source.error("the output is cut off before any record", source.begin) from None
    except lenient.Unreadable as error:
        raise source.error(f"the output is no listing: {error}", source.begin) from None
    if not _HEADER & found.keys():
        raise source.error("the output is no listing", source.begin)


def _cuts(data: bytes, begin: int, first: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Of each record but the last: where it begins, where its name ends, its object begins, and the next record begins.

    A printer writes what stands between the names of records and of their first attributes always alike.
    """
    match = re.compile(rb'"\s*:\s*\{\s*"%b"' % first).search(data, begin)
    match, group = (match, 0) if match else (_FIRST.match(data, begin), 1)
    if match is None:
        return
    mark, quote = match[group], match.start(group)
    length, brace = len(mark), mark.index(b"{")
    while (at := data.find(mark, quote + length)) >= 0:
        end = data.rfind(b'"', begin, at)
        yield begin, quote, quote + brace, end
        begin, quote = end, at


def _quickly(data: bytes, start: int, quote: int, brace: int, end: int) -> Found:
    """A batch job, as far as a BatchJob is made of it."""
    name, close = _bounds(data, start, quote, end)
    if data.count(b'"Resource_List"', brace, close) > 1:
        raise _Inexact
    fields = orjson.loads(memoryview(data)[brace:close])
    for group, names in _GROUP_FIELDS:
        items = fields.get(group)
        if type(items) is dict:
            for key, dotted in names:
                if key in items:
                    value = items[key]
                    fields[dotted] = value if type(value) is str else _text(value)
    for key in _JSON_FIELDS:
        if key in fields and type(fields[key]) is not str:
            fields[key] = _text(fields[key])
    return start, name, fields, Attributes(data, brace, close, attributes)


def _exactly(data: bytes, start: int, quote: int, brace: int, end: int) -> Found:
    """A queue or node."""
    name, close = _bounds(data, start, quote, end)
    everything = Attributes.of(_flat(_loaded(data[brace:close])))
    return start, name, everything, everything


def _bounds(data: bytes, start: int, quote: int, end: int) -> tuple[str, int]:
    """The name of a record, and where its object ends, if that is all there is before the next."""
    close = data.rfind(b"}", quote, end) + 1
    name = data[start + 1 : quote]
    if data[close:end].strip(b", \t\r\n") or b'"' in name or b"\\" in name:
        raise _Inexact
    return str(name, "utf-8", "replace"), close


def attributes(text: bytes) -> dict[str, str]:
    """All attributes of a record, from its object."""
    try:
        return _flat(_loaded(text))
    except _Inexact:
        return _flat(lenient.whole(decoded(text), 1, depth=1)[0])


def _loaded(text: bytes) -> Raw:
    """What orjson reads, unless it has lost one of two values of a key."""
    record: Raw = orjson.loads(text)
    keys = len(record) + sum([len(value) for value in record.values() if type(value) is dict])
    if keys != text.count(b'":'):
        raise _Inexact
    return record


def _leniently(source: Source, start: int, end: int, report: Report) -> Iterator[Found]:
    """The records of a piece of the listing, most often one."""
    text = decoded(source.data[start:end])
    at, name = 0, ""
    try:
        for name, record, at in lenient.members(text):  # noqa: B007
            yield from _checked(start, name, record, report)
    except lenient.Unreadable as error:
        report(start, error.member, str(error))
        return
    if at < len(text):
        report(start, name, "more ends after it than began")


def _last_records(source: Source, start: int, report: Report) -> Iterator[Found]:
    """The records of the last piece, after which the listing must come to its end."""
    text = decoded(source.data[start:])
    at, name = 0, ""
    try:
        for name, record, at in lenient.members(text):  # noqa: B007
            yield from _checked(start, name, record, report)
        _, at = lenient.whole(text, at + 1, depth=0)
    except lenient.Unreadable as error:
        if isinstance(error, lenient.CutOff) or not _CLOSED.search(text):
            raise source.error("the output is cut off in this record", start, error.member or name) from None
        report(start, error.member, str(error))
        return
    rest = text[at:].strip().encode(errors="replace")
    behind = source.data.rfind(b"}") + 1
    if rest and not complain(source, behind, rest, report):
        report(behind, "", "something follows the output")


def _checked(start: int, name: str, record: lenient.Value, report: Report) -> Iterator[Found]:
    if isinstance(record, dict):
        everything = Attributes.of(_flat(record))
        yield start, name, everything, everything
    else:
        report(start, name, "it is no object")


def _flat(record: Raw) -> dict[str, str]:
    """The attributes under the names that the text listing gives them: `Resource_List.walltime`."""
    flat: dict[str, str] = {}
    for key, value in record.items():
        if type(value) is not dict:
            flat[intern(key)] = _SPECIAL[key](value) if key in _SPECIAL else _text(value)
        elif key == ENVIRONMENT:
            flat[ENVIRONMENT] = ",".join([f"{name}={_escaped(item)}" for name, item in value.items()])
        else:
            for name, item in value.items():
                flat[intern(f"{key}.{name}")] = _text(item)
    return flat


def _counter(value: Any) -> str:
    """A whole number, which the library may have printed in floating point: nothing is lost by writing it out."""
    return str(int(value)) if type(value) is float and value.is_integer() else _text(value)


def _names(value: Any) -> str:
    """A list of names, as the text listing has it."""
    return ", ".join(value if isinstance(value, list) else _QUOTED.findall(_text(value)))


_SPECIAL = {"queue_rank": _counter, "jobs": _names}


def _escaped(value: Any) -> str:
    text = _text(value)
    return text.replace(",", "\\,") if "," in text else text


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if value is None or type(value) is bool:
        return _WORDS[value]
    raise _Inexact
