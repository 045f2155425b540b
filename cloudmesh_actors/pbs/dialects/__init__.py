"""How the printers of PBS, its descendants and imitators write records: a module each, one shape.

Each has a `read(source, kind, report)` that yields `(offset, name, attributes)` of every record it can read, hands each
it cannot to `report(offset, name, reason)`, and raises QstatError when the output as a whole is cut off.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum

from cloudmesh_actors.errors import CloudmeshError

#: Receives a record that cannot be read: its offset in the output, its name if known, and why.
Report = Callable[[int, str, str], None]

#: A record that was read: its offset in the output, its name, and its attributes as printed.
Found = tuple[int, str, dict[str, str]]

_COMPLAINT = re.compile(rb"(?:qstat|pbsnodes): (.*)")
_STRAY = re.compile("[\udc80-\udcff]")


class Kind(StrEnum):
    """What is listed."""

    JOBS = "jobs"
    QUEUES = "queues"
    NODES = "nodes"


class QstatError(CloudmeshError):
    """The output of qstat or pbsnodes cannot be trusted; `line` counts from 1, `record` is the one at fault."""

    def __init__(self, message: str, *, line: int | None = None, record: str = "") -> None:
        self.line, self.record, self.reason = line, record, message
        place = ", ".join(part for part in (f"line {line}" if line else "", f"record {record}" if record else "") if part)
        super().__init__(f"{place}: {message}" if place else message)


class Source:
    """The bytes that a command printed, and where in them its output begins, after the banners."""

    def __init__(self, data: bytes, begin: int = 0) -> None:
        self.data, self.begin = data, begin
        self._offset, self._line = 0, 1

    def line(self, offset: int) -> int:
        """The line of an offset; cheap when asked in ascending order."""
        if offset < self._offset:
            self._offset, self._line = 0, 1
        self._line += self.data.count(b"\n", self._offset, offset)
        self._offset = offset
        return self._line

    def error(self, message: str, offset: int, record: str = "") -> QstatError:
        """A QstatError that points at an offset."""
        return QstatError(message, line=self.line(offset), record=record)


def decoded(data: bytes) -> str:
    """UTF-8, with each byte that is not taken for Latin-1: users' environments and names have both."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        text = data.decode(errors="surrogateescape")
        return _STRAY.sub(lambda match: chr(ord(match[0]) - 0xDC00), text)


def merged(first: str, second: str) -> str:
    """One value for an attribute printed twice: the first, as what users can forge comes later; limits are a list.

    OpenPBS prints a queue's limits as one attribute each: ``max_queued = [o:PBS_ALL=10]``, ``max_queued = [u:tom=15]``.
    """
    is_limit = first.startswith("[") and second.startswith("[") and "=" in second and second not in first.split(",[")
    return f"{first},{second}" if is_limit else first


def complain(source: Source, offset: int, text: bytes, report: Report) -> bool:
    """Whether a text is a complaint of the tools: reported when a job has just gone, raised otherwise."""
    match = _COMPLAINT.match(text)
    if match is None:
        return False
    sentence = decoded(match[1]).strip()
    if "Unknown Job" not in sentence:
        raise source.error(sentence, offset)
    report(offset, sentence.rpartition(" ")[2], sentence)
    return True
