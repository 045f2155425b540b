"""One writer of a log file: a line is one ``write`` to an O_APPEND descriptor, and rotation copies and truncates.

Copy-truncate, because descriptors 1 and 2 of a worker stay open in C code and in children, and because a plain
``tail -f`` then goes on. All lines of this process wait while the file is copied, so none is lost. What something
else appends (C code, a child) in the microseconds between the last look at the file's size and the truncation is
lost.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Bytes copied at once when the kernel cannot copy by itself.
COPY_CHUNK = 1 << 20

#: Seconds between looks at what the file has become: raw output counts too, and somebody may have removed it.
LOOK_INTERVAL_S = 1.0

#: Seconds until a rotation that failed is tried again.
RETRY_INTERVAL_S = 60.0

_libc = ctypes.PyDLL(None, use_errno=True)  # a PyDLL keeps the interpreter while it calls
_libc.write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_libc.write.restype = ctypes.c_ssize_t


def write_keeping_turn(fd: int, data: bytes) -> int:
    """`os.write`, during which no other thread of Python runs. Raises OSError.

    For files of a local file system. Such a write takes microseconds; to let another thread in meanwhile, as `os.write`
    does, costs two switches of threads and up to 5 ms until this one runs again (`sys.getswitchinterval`), all the
    time holding the log's lock, for which the others then wait.
    """
    written: int = _libc.write(fd, data, len(data))
    if written < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return written


@dataclass
class Troubles:
    """What went wrong since the start: lines that could not be written, rotations that failed."""

    lines_lost: int = 0
    rotations_failed: int = 0
    last_error: str = ""


class LogFile:
    """The log of one worker: `fd` is open for appending on `path`; full at `max_bytes`, `backups` are kept.

    `append(fd, bytes)` writes, like `os.write`.

    Nothing raises: a full disk must not end a task. `troubles` counts, and `report(event, fields)` is called once
    for each kind of trouble when there is something to say and it can be said.
    """

    def __init__(
        self,
        fd: int,
        path: Path | None = None,
        *,
        max_bytes: int = 0,
        backups: int = 0,
        descriptors: tuple[int, ...] = (),
        append: Callable[[int, bytes], int] = os.write,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fd, self.path, self.max_bytes, self.backups = fd, path, max_bytes, backups
        self.troubles = Troubles()
        self.report: Callable[[str, dict[str, Any]], None] = lambda event, fields: None
        self._descriptors = descriptors or (fd,)
        self._write, self._clock = append, clock
        self._lock = threading.RLock()
        self._torn = False
        self._unreported = 0
        self._rotating = False
        self._size = 0
        self._look_at = self._retry_at = 0.0

    def write(self, line: bytes) -> None:
        """Append `line`, which ends with a newline, in one piece."""
        with self._lock:
            if self.path is not None and not self._rotating:
                self._keep_size(self.path, len(line))
            written = self._append(line)
        if written and self._unreported:
            self._report_lost()

    def forked(self) -> None:
        """In a forked child: the lock may be held by a thread that is not here. Only the parent rotates."""
        self._lock = threading.RLock()
        self.path = None

    def _append(self, line: bytes) -> bool:
        rest = b"\n" + line if self._torn else line
        whole = len(rest)
        try:
            while rest:
                rest = rest[self._write(self.fd, rest) :]
        except OSError as error:
            self._torn = self._torn or len(rest) < whole
            self.troubles.lines_lost += 1
            self._unreported += 1
            self.troubles.last_error = error.strerror or str(error)
            return False
        self._torn = False
        self._size += whole
        return True

    def _report_lost(self) -> None:
        lost, self._unreported = self._unreported, 0
        self.report("log lines lost", {"lines": lost, "error": self.troubles.last_error})
        if self._unreported:
            self._unreported += lost

    def _keep_size(self, path: Path, more: int) -> None:
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_INTERVAL_S
            self._look(path)
        if self._is_full(more) and now >= self._retry_at:
            self._look(path)
            if self._is_full(more):
                self._rotate(path, now)

    def _is_full(self, more: int) -> bool:
        return self._size + more > self.max_bytes > 0 and self._size > 0

    def _look(self, path: Path) -> None:
        """Take the file's true size; follow `path` when somebody has moved or removed the file."""
        try:
            status = os.fstat(self.fd)
            self._size = status.st_size
            if not _is_at(status, path):
                self._reopen(path)
        except OSError as error:
            self.troubles.last_error = error.strerror or str(error)

    def _reopen(self, path: Path) -> None:
        mode = os.fstat(self.fd).st_mode & 0o777
        fresh = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            for descriptor in self._descriptors:
                os.dup2(fresh, descriptor, inheritable=descriptor <= 2)
            self._size, self._torn = os.fstat(fresh).st_size, False
        finally:
            os.close(fresh)

    def _rotate(self, path: Path, now: float) -> None:
        self._rotating = True
        try:
            rotate(self.fd, path, self.backups)
            self._size, self._torn = 0, False
        except OSError as error:
            self._rotation_failed(now, error)
        finally:
            self._rotating = False

    def _rotation_failed(self, now: float, error: OSError) -> None:
        first = not self.troubles.rotations_failed
        self.troubles.rotations_failed += 1
        self.troubles.last_error = error.strerror or str(error)
        self._retry_at = now + RETRY_INTERVAL_S
        if first:
            fields = {"error": self.troubles.last_error, "path": str(self.path)}
            self.report("log rotation failed", fields)


def rotate(fd: int, path: Path, backups: int) -> None:
    """Copy the file behind `fd` to ``PATH.1``, the older ones one number up, and empty it. Raises OSError.

    The oldest goes first, which makes room on a full disk. Stopped at any moment, it leaves lines twice rather
    than none.
    """
    if backups > 0:
        numbered(path, backups).unlink(missing_ok=True)
        copy = path.with_name(f"{path.name}.tmp")
        with _removed_on_failure(copy), path.open("rb") as source, copy.open("wb") as target:
            _expect_same(fd, source.fileno(), path)
            os.fchmod(target.fileno(), os.fstat(source.fileno()).st_mode & 0o777)
            copied = _copy(source.fileno(), target.fileno(), 0)
            _shift(path, backups)
            copy.rename(numbered(path, 1))
            while copied < os.fstat(fd).st_size:
                copied = _copy(source.fileno(), target.fileno(), copied)
    os.ftruncate(fd, 0)


def numbered(path: Path, number: int) -> Path:
    """The rotated file with this number: ``rack.log.1`` is the youngest."""
    return path.with_name(f"{path.name}.{number}")


def _expect_same(fd: int, other: int, path: Path) -> None:
    if not os.path.samestat(os.fstat(fd), os.fstat(other)):
        raise OSError(errno.ESTALE, "another file is in its place", str(path))


def _shift(path: Path, backups: int) -> None:
    for number in range(backups - 1, 0, -1):
        with suppress(FileNotFoundError):
            numbered(path, number).rename(numbered(path, number + 1))


@contextmanager
def _removed_on_failure(copy: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        with suppress(OSError):
            copy.unlink(missing_ok=True)
        raise


def _copy(source: int, target: int, start: int) -> int:
    """Copy from byte `start` to the end of `source`; how many bytes of it are copied then."""
    done = start
    while piece := os.pread(source, COPY_CHUNK, done):
        done += len(piece)
        while piece:
            piece = piece[os.write(target, piece) :]
    return done


def _is_at(status: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(status, path.stat())
    except FileNotFoundError:
        return False
