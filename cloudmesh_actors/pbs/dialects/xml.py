"""`qstat -x` and `pbsnodes -x` of Torque.

What Torque prints is XML only while no user does anything unusual: its printer (u_MXML.c) writes most values as they
are, so that one `&`, Latin-1 byte or escape character in an environment makes the whole ill-formed, and `<` as the
control character 14. So each record is taken apart by the rules that its printer keeps, `<name>value</name>` and one
level of groups with nothing between them, which is several times faster than expat and indifferent to what the values
hold. A record that breaks these rules is mended and given to expat, which reads what other tools have reformatted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from sys import intern
from xml.parsers import expat

from cloudmesh_actors.pbs.dialects import (
    GROUP_FIELDS,
    TOP_FIELDS,
    Found,
    Kind,
    Report,
    Source,
    complain,
    decoded,
    merged,
)
from cloudmesh_actors.pbs.model import Attributes


class _Element:
    """The element of a record, and the elements inside it that may name it."""

    def __init__(self, tag: str, *names: str) -> None:
        self.opening, self.closing, self.names = f"<{tag}>".encode(), f"</{tag}>".encode(), names
        self.name = re.compile(rf"\s*<{names[0]}>([^<]{{1,200}})")


ELEMENTS = {
    Kind.JOBS: _Element("Job", "Job_Id"),
    Kind.QUEUES: _Element("Queue", "name", "Queue_Id"),
    Kind.NODES: _Element("Node", "name"),
}

#: What Torque writes for `<`.
LESS_THAN = "\x0e"

_DATA = re.compile(rb"<Data(?:\s[^<>/]*)?(/?)>")
_NO_DATA = re.compile(rb"<Data\s*/>\s*")
_GAP = re.compile(rb"\s*(?:</Data>\s*(?:<\?xml[^>]*>\s*)?<Data>\s*)*")
_TAIL = re.compile(rb"\s*</Data>\s*(?:(?:<\?xml[^>]*>\s*)?<Data(?:>\s*</Data|\s*/)>\s*)*")
_ELEMENT = re.compile(rb"<(Job|Queue|Node)>")
_ENTITY = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,7})|#x([0-9a-fA-F]{1,6}));")
_BARE_AMPERSAND = re.compile(rf"&(?!{_ENTITY.pattern[1:]})")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}

#: A record as Torque prints it: elements that hold text, or one level of such elements.
_RECORD = re.compile(r"(?:<([^<>/]+)>(?:[^<]*</\1>|(?:<([^<>/]+)>[^<]*</\2>)+</\1>))*")
_FIELD = re.compile(
    rf"<(?:(Job_Id|{'|'.join(TOP_FIELDS)})|({'|'.join(GROUP_FIELDS)})"
    rf"|({'|'.join(sorted({name for names in GROUP_FIELDS.values() for name in names}))}))>([^<]*)"
)


def read(source: Source, kind: Kind, report: Report) -> Iterator[Found]:
    """The records of an XML listing."""
    element = ELEMENTS[kind]
    for begin, end in _contents(source, element, report):
        fields = _quick_fields(decoded(source.data[begin:end])) if kind is Kind.JOBS else None
        if fields is not None and fields.get("Job_Id"):
            yield begin, fields["Job_Id"], fields, Attributes(source.data, begin, end, attributes)
        else:
            yield from _wholly(source, element, _last_beginning(source, element, begin, end, report), end, report)


def _contents(source: Source, element: _Element, report: Report) -> Iterator[tuple[int, int]]:
    """Where the content of each element begins and ends."""
    data, at = source.data, _start(source)
    while (begin := data.find(element.opening, at)) >= 0:
        if begin > at and not _GAP.fullmatch(data, at, begin):
            report(at, "", "something stands between the records")
        begin += len(element.opening)
        end = data.find(element.closing, begin)
        if end < 0:
            begin = _last_beginning(source, element, begin, len(data), report)
            raise source.error("the output is cut off in this record", begin, _name_at(source, element, begin))
        at = end + len(element.closing)
        yield begin, end
    _finish(source, at, report)


def _last_beginning(source: Source, element: _Element, begin: int, end: int, report: Report) -> int:
    """Where the content begins of the last of the elements that open there; those before it have lost their end."""
    last = source.data.rfind(element.opening, begin, end)
    if last < 0:
        return begin
    report(begin, _name_at(source, element, begin), "it has no end: the next record begins inside it")
    return last + len(element.opening)


def _wholly(source: Source, element: _Element, begin: int, end: int, report: Report) -> Iterator[Found]:
    """A record of which all attributes are read."""
    try:
        known = _attributes(decoded(source.data[begin:end]))
    except expat.ExpatError as error:
        report(begin, _name_at(source, element, begin), f"it is no XML: {error}")
        return
    name = next((known.pop(name) for name in element.names if name in known), "")
    if name:
        everything = Attributes.of(known)
        yield begin, name, everything, everything
    else:
        report(begin, "", f"it has no {element.names[0]}")


def _start(source: Source) -> int:
    match = _DATA.search(source.data, source.begin)
    if match is None:
        raise source.error("the output is cut off before any record", source.begin)
    return match.start() if match[1] else match.end()


def _finish(source: Source, at: int, report: Report) -> None:
    data = source.data
    tail = _TAIL.match(data, at) or _NO_DATA.match(data, at)
    if tail is None:
        other = _ELEMENT.search(data, at)
        if other is not None:
            raise source.error(f"a listing of {decoded(other[1]).lower()}s was not asked for", other.start())
        raise source.error("the output is cut off: </Data> is missing", at)
    rest = data[tail.end() :]
    if rest and not complain(source, tail.end(), rest, report):
        report(tail.end(), "", "something follows the output")


def _name_at(source: Source, element: _Element, begin: int) -> str:
    """The name of the record whose content begins somewhere, if it is what comes first."""
    match = element.name.match(decoded(source.data[begin : begin + 300]))
    return match[1] if match else ""


def _quick_fields(text: str) -> dict[str, str] | None:
    """What a BatchJob is made of, if the record is as Torque prints it."""
    if not _RECORD.fullmatch(text):
        return None
    fields: dict[str, str] = {}
    group = ""
    for name, begins, item, value in _FIELD.findall(text):
        if begins:
            group = begins
        else:
            fields.setdefault(name or f"{group}.{item}", value)
    if "&" in text or LESS_THAN in text:
        fields = {name: _plain(value) for name, value in fields.items()}
    return fields


def attributes(content: bytes) -> dict[str, str]:
    """All attributes of a batch job as Torque prints it, from what stands between its tags."""
    found = _leaves(decoded(content))
    found.pop("Job_Id", None)
    return found


def _attributes(text: str) -> dict[str, str]:
    return _leaves(text) if _RECORD.fullmatch(text) else _mended(text)


def _leaves(text: str) -> dict[str, str]:
    """The elements of a `_RECORD`; between one closing tag and the next there is one of them at most."""
    found: dict[str, str] = {}
    group = ""
    for piece in f">{text}".split("</"):
        opened = piece[piece.index(">") + 2 :]
        if not opened:
            group = ""
            continue
        name, _, value = opened.partition(">")
        if value[:1] == "<":
            group = f"{name}."
            name, _, value = value[1:].partition(">")
        found.setdefault(intern(group + name), value)
    if "&" in text or LESS_THAN in text:
        return {name: _plain(value) for name, value in found.items()}
    return found


def _plain(value: str) -> str:
    if "&" in value:
        value = _ENTITY.sub(_character, value)
    return value.replace(LESS_THAN, "<")


def _character(match: re.Match[str]) -> str:
    named, decimal, hexadecimal = match.groups()
    if named:
        return _NAMED[named]
    code = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"


def _mended(text: str) -> dict[str, str]:
    """The attributes of a record by expat, after what no XML may hold has been replaced."""
    text = text.replace(LESS_THAN, "&lt;")
    text = _FORBIDDEN.sub("\ufffd", _BARE_AMPERSAND.sub("&amp;", text))
    reader = _Reader()
    reader.parse(f"<record>{text}</record>")
    return reader.attributes


class _Reader:
    """Collects the elements that hold text alone, each under the dotted path to it."""

    def __init__(self) -> None:
        self.attributes: dict[str, str] = {}
        self._path: list[str] = []
        self._text = ""
        self._is_leaf = False

    def parse(self, text: str) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.Parse(text, True)

    def _start(self, name: str, _: dict[str, str]) -> None:
        self._path.append(name)
        self._text, self._is_leaf = "", True

    def _data(self, text: str) -> None:
        self._text += text

    def _end(self, _: str) -> None:
        if self._is_leaf and len(self._path) > 1:
            name = intern(".".join(self._path[1:]))
            known = self.attributes.get(name)
            self.attributes[name] = self._text if known is None else merged(known, self._text)
        self._path.pop()
        self._is_leaf = False
