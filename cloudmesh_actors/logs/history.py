"""Which lines of which workers, in the order of time: all of them, the last ones, and those to come."""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import chain, islice, takewhile
from operator import attrgetter
from pathlib import Path

from cloudmesh_actors.logs import reader
from cloudmesh_actors.logs.reader import Cursor, Entry
from cloudmesh_actors.logs.render import LEVELS
from cloudmesh_actors.times import iso

#: Seconds between looks for new lines.
FOLLOW_INTERVAL_S = 0.25

_BY_TIME = attrgetter("time")

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_CLOCK = re.compile(r"\d{1,2}:\d\d(?::\d\d)?")


@dataclass(frozen=True)
class Wanted:
    """Which entries are wanted. Raw output has no job, actor or level: it is hidden by the first two only."""

    job: str = ""
    actor: str = ""
    level: str = ""
    since: str = ""

    def line(self, line: bytes) -> bool:
        """Whether the line may be wanted; spares parsing the others."""
        return _holds(line, "job_id", self.job) and _holds(line, "actor", self.actor)

    def entry(self, entry: Entry) -> bool:
        """Whether the entry is wanted: job by the beginning of its id, actor by name or family, level at least."""
        if entry.time < self.since:
            return False
        if entry.event is None:
            return not self.job and not self.actor
        return self._task(entry.event) and self._loud_enough(entry.event)

    def _task(self, event: dict[str, object]) -> bool:
        job, actor = str(event.get("job_id") or ""), str(event.get("actor") or "")
        return job.startswith(self.job) and (
            not self.actor or actor == self.actor or actor.startswith(f"{self.actor}.")
        )

    def _loud_enough(self, event: dict[str, object]) -> bool:
        level = event.get("level")
        return not self.level or level not in LEVELS or LEVELS.index(str(level)) >= LEVELS.index(self.level)


class Logs:
    """The logs of the workers in one directory; `chosen` are names or patterns, none for all."""

    def __init__(
        self, log_dir: Path, chosen: Sequence[str] = (), *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._dir, self._chosen, self._sleep = log_dir, chosen, sleep
        self._cursors: dict[str, Cursor] = {}
        self._times: dict[str, str] = {}

    def workers(self) -> list[str]:
        """The chosen workers that have a log."""
        known = reader.names(self._dir)
        if not self._chosen:
            return known
        found = {name for chosen in self._chosen for name in matching(chosen, known)}
        return sorted(found)

    def all(self, wanted: Wanted, *, torn: bool = True) -> Iterator[Entry]:
        """All wanted entries, merged, in constant memory; `follow` goes on after them.

        `torn`: whether to show a last line whose newline is still to come.
        """
        streams = [self._forwards(name, wanted, torn) for name in self.workers()]
        return filter(wanted.entry, heapq.merge(*streams, key=_BY_TIME))

    def last(self, count: int, wanted: Wanted, *, torn: bool = True) -> list[Entry]:
        """The last `count` wanted entries, read from the ends of the files; `follow` goes on after them."""
        streams = [self._backwards(name, wanted, torn) for name in self.workers()]
        merged = heapq.merge(*streams, key=_BY_TIME, reverse=True)
        return list(islice(filter(wanted.entry, merged), count))[::-1]

    def follow(self, wanted: Wanted) -> Iterator[Entry]:
        """Entries as they are written, for ever; logs of new workers too."""
        while True:
            yield from self.fresh(wanted)
            self._sleep(FOLLOW_INTERVAL_S)

    def fresh(self, wanted: Wanted) -> list[Entry]:
        """Entries that were written since the last call of this or of another method; logs of new workers too."""
        found = [entry for name in self.workers() for entry in self._fresh(name, wanted)]
        return [entry for entry in sorted(found, key=_BY_TIME) if wanted.entry(entry)]

    def _fresh(self, name: str, wanted: Wanted) -> Iterator[Entry]:
        cursor = self._cursors.setdefault(name, Cursor(self._path(name)))
        now = reader.timestamp(time.time())
        for entry in reader.forwards(name, filter(wanted.line, cursor.lines()), self._times.get(name, now)):
            self._times[name] = entry.time
            yield entry

    def _forwards(self, name: str, wanted: Wanted, torn: bool) -> Iterator[Entry]:
        path = self._path(name)
        files = [file for file in reader.rotated(path) if not _is_older(file, wanted.since)]
        start = reader.offset_of(files[0] if files else path, wanted.since)
        cursor = self._cursors[name] = Cursor(path, 0 if files else start)
        lines = chain(reader.rotated_lines(path, files, start), cursor.lines(final=torn))
        return reader.forwards(name, filter(wanted.line, lines), reader.time_of(files[0] if files else path))

    def _backwards(self, name: str, wanted: Wanted, torn: bool) -> Iterator[Entry]:
        path = self._path(name)
        end = reader.end_of_lines(path)
        self._cursors[name] = Cursor(path, end)
        files = [file for file in reversed(reader.rotated(path)) if not _is_older(file, wanted.since)]
        lines = chain(reader.lines_before(path, None if torn else end), *map(reader.lines_before, files))
        found = reader.backwards(name, filter(wanted.line, lines), reader.time_of(files[-1] if files else path))
        return takewhile(lambda entry: entry.time >= wanted.since, found)

    def _path(self, name: str) -> Path:
        return self._dir / f"{name}.log"


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that are this name or match this pattern of a shell."""
    return [name for name in names if fnmatchcase(name, pattern)]


def _holds(line: bytes, key: str, beginning: str) -> bool:
    return not beginning or f'"{key}":"{beginning}'.encode() in line


def since(text: str, now: datetime) -> str:
    """The time that ``10m`` (s, m, h, d, w ago), ``13:30`` (today) or ``2025-03-01T13:30`` (local) means.

    `now` has a time zone. Raises ValueError with a sentence.
    """
    try:
        return _utc(_moment(text.strip(), now))
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; write 10m, 2h, 13:30 or 2025-03-01T13:30") from None


def _moment(text: str, now: datetime) -> datetime:
    ago = _AGO.fullmatch(text)
    if ago:
        return now - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
    moment = datetime.fromisoformat(f"{now.date()}T{text}" if _CLOCK.fullmatch(text) else text)
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)


def _utc(moment: datetime) -> str:
    return iso(moment, "microseconds")


def _is_older(file: Path, since: str) -> bool:
    try:
        return bool(since) and reader.timestamp(file.stat().st_mtime) < since
    except FileNotFoundError:
        return True
