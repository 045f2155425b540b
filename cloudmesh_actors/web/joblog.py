"""The log lines of one job, out of the logs of this host's workers: those of its time, and those to come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from operator import attrgetter
from pathlib import Path

from cloudmesh_actors.logs import reader
from cloudmesh_actors.logs.history import Logs, Wanted
from cloudmesh_actors.logs.reader import Entry
from cloudmesh_actors.times import iso

#: Lines that are shown of a job: its last ones.
SHOWN = 300

#: Lines of one log that are looked through at most; a job that took days may have logged before that.
LOOKED_THROUGH = 200_000

#: A job may log a little before it is recorded as started, and after it is recorded as ended.
MARGIN = timedelta(seconds=5)

_START = b'{"timestamp":"'
_BY_TIME = attrgetter("time")


def of(log_dir: Path, job_id: str, began: datetime, ended: datetime | None) -> list[Entry]:
    """The last `SHOWN` lines of a job that ran in this time; of one that has not ended, up to now."""
    since = iso(began - MARGIN, "microseconds")
    until = iso(ended + MARGIN, "microseconds") if ended else ""
    logs = (_lines(log_dir / f"{name}.log", name, Wanted(job=job_id), since, until) for name in reader.names(log_dir))
    return list(deque(merge(*logs, key=_BY_TIME), maxlen=SHOWN))


def _lines(path: Path, worker: str, wanted: Wanted, since: str, until: str) -> Iterator[Entry]:
    lines = _until(_since(path, since), until.encode())
    return filter(wanted.entry, reader.forwards(worker, filter(wanted.line, lines), since))


def _since(path: Path, since: str) -> Iterator[bytes]:
    """The lines of a log, rotated ones included, from about a time on."""
    files = [file for file in reader.rotated(path) if _changed_after(file, since)]
    yield from reader.rotated_lines(path, files, reader.offset_of(files[0], since) if files else 0)
    start = 0 if files else reader.offset_of(path, since)
    try:
        with path.open("rb") as file:
            yield from reader.lines_from(file, start)
    except FileNotFoundError:
        return


def _until(lines: Iterable[bytes], until: bytes) -> Iterator[bytes]:
    """The lines up to the first event after a time, told without parsing them."""
    begin, end = len(_START), len(_START) + len(until)
    for line in islice(lines, LOOKED_THROUGH):
        if until and line.startswith(_START) and line[begin:end] > until:
            return
        yield line


def _changed_after(file: Path, since: str) -> bool:
    try:
        return reader.timestamp(file.stat().st_mtime) >= since
    except FileNotFoundError:
        return False


class Follower:
    """The lines of one job as they come."""

    def __init__(self, log_dir: Path, job_id: str, began: datetime, ended: datetime | None) -> None:
        self._wanted = Wanted(job=job_id)
        self._logs = Logs(log_dir)
        for _ in self._logs.last(0, self._wanted, torn=False):  # from here on
            pass
        self._lines: deque[tuple[int, Entry]] = deque(enumerate(of(log_dir, job_id, began, ended)), maxlen=SHOWN)
        self._next = len(self._lines)
        self._known = {(entry.worker, entry.line) for _, entry in self._lines}  # read after the place was taken

    def lines(self) -> list[tuple[int, Entry]]:
        """The last lines, each with its number."""
        for entry in self._logs.fresh(self._wanted):
            if (entry.worker, entry.line) not in self._known:
                self._lines.append((self._next, entry))
                self._next += 1
        self._known.clear()
        return list(self._lines)
