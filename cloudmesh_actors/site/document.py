"""A YAML file as plain values that know their lines.

Scalars keep the text as it was written, so that a queue named ``on`` stays ``on`` and a port ``0623`` is no octal
number. Anchors, tags and a second document are refused: an inventory needs none of them, and some of them are traps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from cloudmesh_actors.errors import SiteError

#: A site of 100,000 nodes with a line for each is a quarter of this.
MAX_BYTES = 64_000_000

#: The site's own structure is five levels deep.
MAX_DEPTH = 16

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value, as written."""

    line: int
    text: str
    quoted: bool

    @property
    def is_null(self) -> bool:
        """Whether YAML takes it for "no value"."""
        return not self.quoted and self.text in _NULLS


@dataclass(frozen=True, slots=True)
class Listing:
    """A sequence of values."""

    line: int
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping from texts to values; `lines` has each key's own line."""

    line: int
    values: dict[str, Value] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


Value = Scalar | Listing | Table


def parse(
    content: bytes, file: Path, mistakes: list[SiteError], such_as: str = "sections such as 'clusters:'"
) -> Table:
    """The mapping that the file consists of; SiteErrors that reading can go on after are added to `mistakes`.

    Raises SiteError for anything that is no YAML mapping.
    """
    if len(content) > MAX_BYTES:
        raise SiteError(f"is larger than {MAX_BYTES // 1_000_000} MB", file=file)
    text = _decode(content, file)
    try:
        value = _Composer(file, _events(text), mistakes).document()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except yaml.reader.ReaderError as error:
        raise SiteError(f"is no text file: {error.reason}", file=file) from None
    if not isinstance(value, Table):
        raise SiteError(f"has to consist of {such_as}", file=file, line=value.line)
    return value


def _decode(content: bytes, file: Path) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SiteError("is not UTF-8 text", file=file, line=line) from None
    if not text.strip():
        raise SiteError("is empty", file=file)
    return text


def _events(text: str) -> Iterator[Event]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    events: Iterator[Event] = yaml.parse(text, Loader=loader)
    return events


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: Path) -> SiteError:
    mark = error.problem_mark or error.context_mark
    problem = (error.problem or "cannot be read") + (f" ({error.context})" if error.context else "")
    if mark is None:
        return SiteError(f"is not YAML: {problem}", file=file)
    if text[mark.index : mark.index + 1] == "\t":
        problem = "a tab stands where YAML wants blanks"
    return SiteError(f"is not YAML: {problem}", file=file, line=mark.line + 1)


class _Composer:
    def __init__(self, file: Path, events: Iterator[Event], mistakes: list[SiteError]) -> None:
        self._file, self._events, self._mistakes = file, events, mistakes

    def document(self) -> Value:
        """The file's only document."""
        for event in self._events:
            if isinstance(event, NodeEvent):
                value = self._value(event, "", 0)
                self._expect_the_end()
                return value
            if isinstance(event, StreamEndEvent):
                break
        raise SiteError("is empty", file=self._file)

    def _expect_the_end(self) -> None:
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                raise self._error(event, "", "a second document begins ('---'); a site is a single one")

    def _value(self, event: Event, key: str, depth: int) -> Value:
        self._refuse_tricks(event, key, depth)
        if isinstance(event, MappingStartEvent):
            return self._table(event, key, depth)
        if isinstance(event, SequenceStartEvent):
            return self._listing(event, key, depth)
        assert isinstance(event, ScalarEvent)  # noqa: S101 - there is no fourth kind
        return Scalar(_line(event), event.value, quoted=bool(event.style))

    def _refuse_tricks(self, event: Event, key: str, depth: int) -> None:
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            raise self._error(event, key, "anchors and aliases ('&' and '*') are not supported; write the value out")
        if getattr(event, "tag", None):
            raise self._error(event, key, "tags ('!') are not supported")
        if depth > MAX_DEPTH:
            raise self._error(event, key, f"is nested more than {MAX_DEPTH} levels deep")

    def _table(self, start: Event, key: str, depth: int) -> Table:
        table = Table(_line(start))
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            name = self._key(event, key)
            path = f"{key}.{name}" if key else name
            value = self._value(next(self._events), path, depth + 1)
            if name in table.values:
                again = f"is given twice; the first is in line {table.lines[name]}"
                self._mistakes.append(self._error(event, path, again))
                continue
            table.lines[name], table.values[name] = _line(event), value
        return table

    def _key(self, event: Event, parent: str) -> str:
        self._refuse_tricks(event, parent, 0)
        if not isinstance(event, ScalarEvent):
            raise self._error(event, parent, 'a key has to be a text; quote node sets, as in "i[001-064]"')
        if event.value == "<<" and not event.style:
            raise self._error(event, parent, "merge keys ('<<') are not supported; write the values out")
        return str(event.value)

    def _listing(self, start: Event, key: str, depth: int) -> Listing:
        items: list[Value] = []
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self._value(event, f"{key}[{len(items)}]", depth + 1))
        return Listing(_line(start), tuple(items))

    def _error(self, event: Event, key: str, message: str) -> SiteError:
        return SiteError(message, file=self._file, line=_line(event), key=key)


def _line(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
