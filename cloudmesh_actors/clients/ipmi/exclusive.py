"""One conversation per BMC at a time: among this process's threads by a lock, among a host's processes by a file."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudmesh_actors.clients.ipmi.deadline import Deadline
from cloudmesh_actors.errors import DeadlineExceeded

#: flock(2) cannot wait for a limited time: the file is tried again after so long, in seconds.
TRY_EVERY_S = 0.02

_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
_guard = threading.Lock()


@contextmanager
def conversation(address: str, port: int, folder: Path, deadline: Deadline) -> Iterator[None]:
    """Hold the right to talk to a BMC; wait for it until the deadline.

    Args:
        folder: where the lock files lie; processes that share it exclude each other.

    Raises:
        DeadlineExceeded: somebody else held it all the time.
    """
    with _guard:
        turn = _turns[f"{folder}/{address}:{port}"]
    if not turn.acquire(timeout=deadline.left()):
        raise _taken(deadline, "this process")
    try:
        with _file_lock(_lock_file(address, port, folder), deadline):
            yield
    finally:
        turn.release()


def _lock_file(address: str, port: int, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{re.sub(r'[^0-9A-Za-z.-]', '_', address)}_{port}.lock"


@contextmanager
def _file_lock(path: Path, deadline: Deadline) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _try_lock(descriptor):
            if not deadline.left():
                raise _taken(deadline, f"process {os.pread(descriptor, 20, 0).decode() or 'unknown'}")
            time.sleep(min(TRY_EVERY_S, deadline.left()))
        os.pwrite(descriptor, f"{os.getpid():<10}".encode(), 0)
        yield
    finally:
        os.close(descriptor)  # which gives the lock back


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _taken(deadline: Deadline, holder: str) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{deadline.subject} was in conversation with {holder.strip()} for the whole {deadline.seconds:g} s; "
        "try again, or raise CLOUDMESH_BMC_DEADLINE."
    )
