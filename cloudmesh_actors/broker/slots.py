"""What this worker runs at this moment, in a file that survives its death.

A start is committed with the next batch, so a run that kills its worker at once (SIGKILL, out of memory, a crash in C)
may leave nothing in the store, and its message would kill one worker after the other for ever. So each run is first
written into a slot of a file in shared memory, which the kernel keeps whatever becomes of the process. The file is
locked while its process lives: whoever can lock it has found a dead worker, and `bury`s it.

STATE_DIR/slots/HOST.WORKER.PID; a header line and lines of `STEP RUN STARTED`, each padded to `WIDTH`. A run that is
over keeps its slot, so marked, until its outcome is committed: until then nobody else may begin the step.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from cloudmesh_actors.steps import Death

#: Bytes of a slot, and slots of a worker: more threads than that no worker has.
WIDTH, SLOTS = 160, 1024

#: What marks a run that is over, at the end of its slot.
OVER = ord("+")

_EMPTY = b" " * (WIDTH - 1) + b"\n"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Dead:
    """A worker that died, and what it ran.

    Attributes:
        consumer: under which name it consumed from the broker.
        over: runs that had ended and whose outcomes may not have been committed.
        blameless: its machine went down, or it was killed because it took too long to stop.
    """

    worker: str
    consumer: str
    runs: tuple[Death, ...]
    over: tuple[Death, ...]
    blameless: bool


class Slots:
    """This process's file. Thread-safe."""

    def __init__(self, folder: Path, worker: str, consumer: str = "-") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._worker, self._consumer = worker, consumer
        self.path = folder / f"{_host()}.{worker}.{os.getpid()}"
        fresh = folder / f".{self.path.name}.new"  # nobody looks at it until it is locked
        self._file = fresh.open("w+b")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._file.write(_EMPTY * (SLOTS + 1))
        self._file.flush()
        self._map = mmap.mmap(self._file.fileno(), 0)
        self._head("working")
        fresh.replace(self.path)
        self._free = list(range(SLOTS, 0, -1))
        self._used: dict[str, int] = {}
        self._lock = threading.Lock()

    def begin(self, step_id: str, run: int, at: float) -> None:
        """Write down a run that is about to begin."""
        with self._lock:
            if not self._free:
                return
            number = self._used[step_id] = self._free.pop()
        self._write(number, f"{step_id} {run} {at!r}")

    def over(self, step_id: str) -> None:
        """The run has ended and is about to be recorded: whatever happens from now on was not its doing."""
        if number := self._used.get(step_id):
            self._map[(number + 1) * WIDTH - 2] = OVER

    def forget(self, step_id: str) -> None:
        """The run's outcome is committed."""
        with self._lock:
            if number := self._used.pop(step_id, None):
                self._write(number, "")
                self._free.append(number)

    def stopping(self) -> None:
        """The worker was asked to stop: should it be killed from now on, no run is to blame."""
        self._head("stopping")

    def close(self) -> None:
        """The worker ends in order."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self._map.close()
        self._file.close()

    def _head(self, state: str) -> None:
        self._write(0, f"{_boot_id()} {self._worker} {self._consumer} {state}")

    def _write(self, number: int, text: str) -> None:
        self._map[number * WIDTH : (number + 1) * WIDTH] = text.encode().ljust(WIDTH - 1)[: WIDTH - 1] + b"\n"


@contextlib.contextmanager
def found_dead(folder: Path) -> Iterator[list[Dead]]:
    """The workers of this host that died; their files are gone when the block has ended well.

    Each is seen by one process at a time.
    """
    with contextlib.ExitStack() as held:
        mine = [(path, file) for path, file in _files(folder, held) if _lockable(file)]
        yield [_read(file.read().decode(errors="replace")) for _, file in mine]
        for path, _ in mine:
            path.unlink(missing_ok=True)


def runs_of_the_living(folder: Path) -> set[str]:
    """The steps that run now in processes of this host, this one among them."""
    with contextlib.ExitStack() as held:
        living = [file for _, file in _files(folder, held) if not _lockable(file)]
        found = [_read(file.read().decode(errors="replace")) for file in living]
    return {run.step_id for worker in found for run in (*worker.runs, *worker.over)}


def _files(folder: Path, held: contextlib.ExitStack) -> Iterator[tuple[Path, BinaryIO]]:
    for path in sorted(folder.glob(f"{_host()}.*")):
        with contextlib.suppress(FileNotFoundError):
            yield path, held.enter_context(path.open("r+b"))


def _lockable(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(text: str) -> Dead:
    head, *slots = text.split("\n")
    boot_id, worker, consumer, state = (*head.split(), "", "", "", "")[:4]
    runs: list[Death] = []
    over: list[Death] = []
    for slot in slots:
        with contextlib.suppress(ValueError):  # empty, or it died in the middle of writing it
            step_id, number, at, *mark = slot.split()
            (over if mark else runs).append(Death(step_id, worker, int(number), float(at)))
    return Dead(worker, consumer, tuple(runs), tuple(over), blameless=boot_id != _boot_id() or state != "working")


@lru_cache(maxsize=1)
def _host() -> str:
    return socket.gethostname()


@lru_cache(maxsize=1)
def _boot_id() -> str:
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "unknown"
