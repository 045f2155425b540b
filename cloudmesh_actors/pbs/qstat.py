"""What qstat and pbsnodes print, in any dialect: bytes or text to batch jobs, batch queues and batch nodes.

The dialect is found from the output: Torque's text (`-f`, `-f1`) and XML (`-x`), the text and JSON (`-F json`) of
OpenPBS and PBS Pro, and the text of Slurm's wrapper. Lines before the output, such as a host's greeting, are skipped.
A damaged record costs that record and is listed in `Records.damaged`; an output that is cut off, that is an error's
text, of no dialect or of another kind raises QstatError, as does one of which no record can be read. The brief tables
without `-f` are of no dialect: they cut names and have no nodes.
"""

from __future__ import annotations

import gc
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, tzinfo
from enum import StrEnum
from typing import NamedTuple, TypeVar

from cloudmesh_actors.pbs.build import Builder
from cloudmesh_actors.pbs.dialects import Found, Kind, QstatError, Report, Source, complain, decoded, json, text, xml
from cloudmesh_actors.pbs.model import Attributes, BatchJob, BatchNode, BatchQueue

__all__ = ["Damaged", "Dialect", "QstatError", "Records", "parse_jobs", "parse_nodes", "parse_queues"]

Record = TypeVar("Record")


class Dialect(StrEnum):
    """How an output is written."""

    TEXT = "text"  # Torque, OpenPBS, PBS Pro
    SLURM = "slurm"  # the text of Slurm's wrapper
    XML = "xml"  # Torque
    JSON = "json"  # OpenPBS, PBS Pro


class Damaged(NamedTuple):
    """A record that could not be read."""

    line: int  # of the output, from 1
    record: str  # its name, if that could be read
    reason: str


class Records(list[Record]):
    """The records of an output, in its order; those that could not be read; and its dialect, None if it was empty."""

    def __init__(self, dialect: Dialect | None = None) -> None:
        super().__init__()
        self.dialect = dialect
        self.damaged: tuple[Damaged, ...] = ()


def parse_jobs(data: bytes | str, *, zone: tzinfo = UTC, empty_ok: bool = False) -> Records[BatchJob]:
    """The batch jobs of `qstat -f`, `-f1`, `-x` or `-f -F json`, whole arrays and history included.

    `zone` is the server's, whose text gives times without one. Slurm's wrapper, and Torque in text, print nothing when
    there are no jobs; so do servers that fail. Whoever knows that it was not a failure says `empty_ok`.
    """
    return _parse(data, Kind.JOBS, lambda slurm: Builder(zone, slurm).job, empty_ok)


def parse_queues(data: bytes | str, *, empty_ok: bool = False) -> Records[BatchQueue]:
    """The batch queues of `qstat -Q -f` or `qstat -Q -f -F json`."""
    return _parse(data, Kind.QUEUES, lambda slurm: Builder(UTC, slurm).queue, empty_ok)


def parse_nodes(data: bytes | str, *, empty_ok: bool = False) -> Records[BatchNode]:
    """The batch nodes of `pbsnodes -a`, `-x`, `-av` or `-av -F json`."""
    return _parse(data, Kind.NODES, lambda slurm: Builder(UTC, slurm).node, empty_ok)


_Build = Callable[[str, Mapping[str, str], Attributes], Record]
_Read = Callable[[Source, Kind, Report], Iterator[Found]]

_READERS: Mapping[Dialect, _Read] = {
    Dialect.TEXT: text.read,
    Dialect.SLURM: text.read,
    Dialect.XML: xml.read,
    Dialect.JSON: json.read,
}

#: Slurm's wrapper puts a tab after a heading where the others put a space, and indents nodes by four, not five.
_SLURM = re.compile(rb"(?:Job Id|Queue):\t|[^\s=]+\n {4}\S")

_BEGINNING = re.compile(
    rb"""(?P<xml><\?xml\b|<Data\b)
    | ^(?:
        (?P<json>\{\s*"(?:timestamp|pbs_version|pbs_server|Jobs|Queue|nodes)"\s*:)
      | (?P<jobs>Job\ Id:)
      | (?P<queues>Queue:)
      | (?P<server>Server:[ ])
      | (?P<nodes>[^\s=<>{}"]+[ ]*\n[ \t]+\S+\ =)
      | (?P<table>Job\ [iI][dD]\s+\S|Queue\s+Max\s|Queue\s+Memory\s)
      | (?P<complaint>(?:qstat|pbsnodes):\ )
    )""",
    re.MULTILINE | re.VERBOSE,
)


def _parse(data: bytes | str, kind: Kind, builder: Callable[[bool], _Build[Record]], empty_ok: bool) -> Records[Record]:
    raw = _bytes(data)
    if not raw.strip():
        if empty_ok:
            return Records()
        raise QstatError("nothing was printed: neither jobs, queues or nodes, nor that there are none")
    source, dialect = _recognised(raw, kind)
    return _collected(source, kind, dialect, builder(dialect is Dialect.SLURM))


def _bytes(data: bytes | str) -> bytes:
    raw = (data if isinstance(data, bytes) else _encoded(data)).removeprefix(BOM_UTF8)
    return raw.replace(b"\r\n", b"\n") if b"\r\n" in raw else raw


def _encoded(data: str) -> bytes:
    try:
        return data.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return data.encode(errors="replace")


def _recognised(raw: bytes, kind: Kind) -> tuple[Source, Dialect]:
    """Where the output begins, and in which dialect."""
    for match in _BEGINNING.finditer(raw):
        source, found = Source(raw, match.start()), match.lastgroup
        if found in ("xml", "json"):
            return source, Dialect(found)
        if found == kind:
            return source, Dialect.SLURM if _SLURM.match(raw, match.start()) else Dialect.TEXT
        if found == "complaint" and complain(source, match.start(), raw[match.start() :], _ignore):
            continue
        if found == "table":
            raise source.error("this is a brief table; ask with -f", match.start())
        raise source.error(f"a listing of the {found} was not asked for", match.start())
    raise QstatError(f"this is no listing: {_excerpt(raw)}", line=1)


def _ignore(_offset: int, _name: str, _reason: str) -> None:
    """What is said of jobs that were gone before the listing began."""


def _collected(source: Source, kind: Kind, dialect: Dialect, build: _Build[Record]) -> Records[Record]:
    records: Records[Record] = Records(dialect)
    damaged: list[tuple[int, str, str]] = []

    def report(offset: int, name: str, reason: str) -> None:
        damaged.append((offset, name, reason))

    with _garbage_collector_paused():
        for offset, name, fields, attributes in _READERS[dialect](source, kind, report):
            try:
                records.append(build(name, fields, attributes))
            except ValueError as error:
                report(offset, name, str(error))
    records.damaged = tuple(Damaged(source.line(offset), name, reason) for offset, name, reason in sorted(damaged))
    if damaged and not records:
        first = records.damaged[0]
        raise QstatError(f"no record can be read; the first: {first.reason}", line=first.line, record=first.record)
    return records


@contextmanager
def _garbage_collector_paused() -> Iterator[None]:
    """No record is garbage while the list grows, and looking whether one is takes a fifth of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _excerpt(raw: bytes) -> str:
    lines = [line.strip() for line in decoded(raw[:2000]).splitlines()]
    return " / ".join(line for line in lines[:4] if line)[:300]
