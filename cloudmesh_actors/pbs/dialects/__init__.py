"""How the printers of PBS, its descendants and imitators write records: a module each, one shape.

Each has a `read(source, kind, report)` that yields every record it can read as `Found`, hands each it cannot to
`report(offset, name, reason)`, and raises QstatError when the output as a whole is cut off.

Of a batch job only the attributes that a BatchJob is made of are read at once, `JOB_FIELDS`; the others are read from
its text when they are asked for. A hundred thousand jobs are read several times faster so, and in less memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum

from cloudmesh_actors.errors import CloudmeshError
from cloudmesh_actors.pbs.model import Attributes

#: Receives a record that cannot be read: its offset in the output, its name if known, and why.
Report = Callable[[int, str, str], None]

#: The attributes that a BatchJob is made of: those of their own, and those in a group.
TOP_FIELDS = (
    "Job_Name",
    "Job_Owner",
    "job_state",
    "queue",
    "exec_host",
    "exec_vnode",
    "ctime",
    "qtime",
    "mtime",
    "start_time",
    "stime",
    "comp_time",
    "obittime",
    "exit_status",
    "Exit_status",
)
GROUP_FIELDS = {
    "Resource_List": ("walltime", "nodect", "mem", "ncpus", "nodes", "procs"),
    "resources_used": ("walltime", "mem"),
}
JOB_FIELDS = (*TOP_FIELDS, *(f"{group}.{name}" for group, names in GROUP_FIELDS.items() for name in names))

_COMPLAINT = re.compile(rb"(?:qstat|pbsnodes): (.*)")
_STRAY = re.compile("[\udc80-\udcff]")


class Kind(StrEnum):
    """What is listed."""

    JOBS = "jobs"
    QUEUES = "queues"
    NODES = "nodes"


#: A record that was read: its offset in the output and its name; those of JOB_FIELDS that a batch job has, or all
#: attributes of a queue or node; and all attributes.
Found = tuple[int, str, Mapping[str, str], Attributes]


class QstatError(CloudmeshError):
    """The output of qstat or pbsnodes cannot be trusted; `line` counts from 1, `record` is the one at fault."""

    def __init__(self, message: str, *, line: int | None = None, record: str = "") -> None:
        self.line, self.record, self.reason = line, record, message
        place = [f"line {line}"] * bool(line) + [f"record {record}"] * bool(record)
        super().__init__(f"{', '.join(place)}: {message}" if place else message)


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
    is_limit = first.startswith("[") and second.startswith("[") and "=" in second
    return f"{first},{second}" if is_limit and second not in first else first


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
