"""Reads logs back: lines forwards and backwards in bounded memory, and a place in a log that survives rotation."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from cloudmesh_actors.logs.writer import numbered
from cloudmesh_actors.times import iso

#: Bytes read at once.
CHUNK = 1 << 18

#: A longer line is shown in pieces.
MAX_LINE = 8 << 20

#: So many raw lines wait, reading backwards, for the event before them, which tells their time.
MAX_RAW_RUN = 10_000

#: So many bytes tell a file from another, and a place in it.
_MARK = 64

_START = b'{"timestamp":"'
_TIMESTAMP = re.compile(rb'^\{"timestamp":"([0-9T:.-]+Z)"', re.MULTILINE)
_LOG_NAME = re.compile(r"(?P<name>.+)\.log(?:\.(?P<number>[1-9]\d*))?")


class Entry(NamedTuple):
    """A line of a log: an event, or raw output with `event` None and the time of the event before it."""

    time: str
    worker: str
    line: bytes
    event: dict[str, Any] | None = None


def names(log_dir: Path) -> list[str]:
    """The workers that have a log in this directory, rotated ones included."""
    found = (_LOG_NAME.fullmatch(path.name) for path in _listed(log_dir))
    return sorted({match["name"] for match in found if match})


def rotated(path: Path) -> list[Path]:
    """The rotated files of the log at `path`, oldest first."""
    matches = (_LOG_NAME.fullmatch(other.name) for other in _listed(path.parent))
    numbers = (int(match["number"]) for match in matches if match and match["number"] and _is_of(match, path))
    return [numbered(path, number) for number in sorted(numbers, reverse=True)]


def _is_of(match: re.Match[str], path: Path) -> bool:
    return f"{match['name']}.log" == path.name


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def entries(worker: str, line: bytes, time: str) -> Iterator[Entry]:
    """What a line holds: one event as a rule; raw output before it when that had no newline; or only raw output.

    `time` is the time of the event before, for raw output.
    """
    start = line.find(_START)
    while start >= 0:
        event = _event(line[start:])
        if event is not None:
            if start:
                yield Entry(time, worker, line[:start])
            yield Entry(event["timestamp"], worker, line[start:], event)
            return
        start = line.find(_START, start + 1)
    if line.strip(b"\r\n\0"):
        yield Entry(time, worker, line)


def _event(line: bytes) -> dict[str, Any] | None:
    for text in (line, line.decode(errors="replace")):
        try:
            event = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        return event if isinstance(event, dict) and isinstance(event.get("timestamp"), str) else None
    return None


def forwards(worker: str, lines: Iterable[bytes], time: str) -> Iterator[Entry]:
    """The entries of lines in file order; raw ones before the first event get `time`."""
    for line in lines:
        for entry in entries(worker, line, time):
            time = entry.time
            yield entry


def backwards(worker: str, lines: Iterable[bytes], time: str) -> Iterator[Entry]:
    """The entries of lines that come last first; raw ones before the first event get `time`."""
    waiting: list[bytes] = []
    for line in lines:
        found = list(entries(worker, line, ""))
        if not any(entry.event for entry in found) and len(waiting) < MAX_RAW_RUN:
            waiting.extend(entry.line for entry in found)
            continue
        event_time = next((entry.time for entry in found if entry.event), time)
        yield from (Entry(event_time, worker, raw) for raw in waiting)
        yield from (entry if entry.event else Entry(event_time, worker, entry.line) for entry in reversed(found))
        waiting.clear()
    yield from (Entry(time, worker, raw) for raw in waiting)


def lines_from(file: BinaryIO, start: int) -> Iterator[bytes]:
    """The lines from byte `start` on, newline included; the last may have none. One too long comes in pieces."""
    rest, place = b"", start
    while chunk := os.pread(file.fileno(), CHUNK, place):
        place += len(chunk)
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            yield from (line + b"\n" for line in whole.split(b"\n"))
        if len(rest) > MAX_LINE:
            yield rest
            rest = b""
    if rest:
        yield rest


def lines_before(path: Path, end: int | None = None) -> Iterator[bytes]:
    """The lines that end at or before byte `end` (by default all), the last one first, without newlines."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        rest, place = b"", os.fstat(file.fileno()).st_size if end is None else end
        while place > 0:
            start = max(0, place - CHUNK)
            rest, *lines = (os.pread(file.fileno(), place - start, start) + rest).split(b"\n")
            place = start
            yield from (line for line in reversed(lines) if line)
            if len(rest) > MAX_LINE:
                yield rest
                rest = b""
        if rest:
            yield rest


def end_of_lines(path: Path) -> int:
    """The byte behind the last newline; 0 when there is none or no file."""
    try:
        with path.open("rb") as file:
            place = os.fstat(file.fileno()).st_size
            while place > 0:
                start = max(0, place - CHUNK)
                newline = os.pread(file.fileno(), place - start, start).rfind(b"\n")
                if newline >= 0:
                    return start + newline + 1
                place = start
    except FileNotFoundError:
        pass
    return 0


def offset_of(path: Path, since: str) -> int:
    """A byte that begins a line, at or before the first event of the time `since`: found by bisection."""
    if not since:
        return 0
    try:
        with path.open("rb") as file:
            return _bisected(file, since)
    except FileNotFoundError:
        return 0


def _bisected(file: BinaryIO, since: str) -> int:
    low, high = 0, os.fstat(file.fileno()).st_size
    while high - low > CHUNK:
        middle = (low + high) // 2
        found = _TIMESTAMP.search(os.pread(file.fileno(), CHUNK, middle))
        if found and found[1].decode() < since:
            low = middle + found.start()
        else:
            high = middle
    return low


def time_of(path: Path) -> str:
    """The time of the file's first event; of its last change when it has none in the beginning."""
    try:
        with path.open("rb") as file:
            found = _TIMESTAMP.search(os.pread(file.fileno(), CHUNK, 0))
            return found[1].decode() if found else timestamp(os.fstat(file.fileno()).st_mtime)
    except FileNotFoundError:
        return ""


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as the logs write them."""
    return iso(datetime.fromtimestamp(seconds, UTC), "microseconds")


class Cursor:
    """A place in a worker's log. It is found again after the log was rotated, removed or begun anew.

    The file is known by its first bytes and by those before the place, which hold timestamps.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path, self.offset = path, offset
        self._head, self._before = _marks(path, offset) or (b"", b"")

    def lines(self, *, final: bool = False) -> Iterator[bytes]:
        """The lines since the last call; a last line without newline waits for it, unless `final`."""
        while True:
            if not self._is_in(self.path):
                yield from self._rest_of_rotated()
                if self.path.exists():
                    continue  # it may have been rotated again meanwhile
                return
            block = _block(self.path, self.offset, final=final)
            if not block:
                return
            self._know_head(block)
            for line in _lines_in(block):
                self.offset += len(line)
                self._before = (self._before + line)[-_MARK:]
                yield line

    def _know_head(self, block: bytes) -> None:
        """Learn the first bytes of a file that was shorter before; `block` begins at our place."""
        if len(self._head) < _MARK:
            self._head += block[len(self._head) - self.offset : _MARK - self.offset]

    def _rest_of_rotated(self) -> Iterator[bytes]:
        """What the rotated files have from our place on; after that we are at the live file's start."""
        files = rotated(self.path)
        ours = [index for index, path in enumerate(files) if self._is_in(path)]
        offset, self.offset = self.offset, 0
        self._head, self._before = _marks(self.path, 0) or (b"", b"")
        yield from rotated_lines(self.path, files[ours[-1] :] if ours else [], offset)

    def _is_in(self, path: Path) -> bool:
        """Whether this is the file, or a copy of it, that our place is in."""
        found = _marks(path, self.offset)
        return found is not None and found[0].startswith(self._head) and found[1] == self._before


def rotated_lines(path: Path, files: Iterable[Path], offset: int = 0) -> Iterator[bytes]:
    """The lines of rotated files of the log at `path`, the first of them from `offset` on.

    They are told by their inodes, so that a rotation in the meantime skips none.
    """
    for inode in [file.stat().st_ino for file in files]:
        opened = _opened(path, inode)
        if opened is not None:
            with opened:
                yield from lines_from(opened, offset)
        offset = 0


def _opened(path: Path, inode: int) -> BinaryIO | None:
    for other in rotated(path):
        with suppress(FileNotFoundError):
            file = other.open("rb")
            if os.fstat(file.fileno()).st_ino == inode:
                return file
            file.close()
    return None


def _block(path: Path, offset: int, *, final: bool) -> bytes:
    """Whole lines from `offset` on, some; a line without newline if it is too long, or `final` and the last."""
    try:
        with path.open("rb") as file:
            block = os.pread(file.fileno(), CHUNK, offset)
            while b"\n" not in block and CHUNK <= len(block) <= MAX_LINE:
                more = os.pread(file.fileno(), CHUNK, offset + len(block))
                if not more:
                    break
                block += more
    except FileNotFoundError:
        return b""
    end = block.rfind(b"\n") + 1
    return block[:end] or (block if final or len(block) > MAX_LINE else b"")


def _lines_in(block: bytes) -> Iterator[bytes]:
    *whole, rest = block.split(b"\n")
    yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


def _marks(path: Path, offset: int) -> tuple[bytes, bytes] | None:
    """The first bytes of a file and those before a place in it; None when there is no such file."""
    length = min(_MARK, offset)
    try:
        with path.open("rb") as file:
            return os.pread(file.fileno(), _MARK, 0), os.pread(file.fileno(), length, offset - length)
    except FileNotFoundError:
        return None
