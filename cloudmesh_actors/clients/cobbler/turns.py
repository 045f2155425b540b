"""Syncs of a Cobbler: one at a time, and none for somebody who waited while another began and ended."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from cloudmesh_actors.errors import DeadlineExceeded

#: flock(2) cannot wait for a limited time: the file is tried again after so long, in seconds.
TRY_EVERY_S = 0.05


def one_at_a_time(
    work: Callable[[], None],
    *,
    key: str,
    folder: Path,
    wait: float,
    subject: str,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Do `work` alone among all processes of this host that share `folder`; False when another's did for ours.

    Args:
        key: what must not overlap.
        wait: how long to wait for others at most, in seconds.
        subject: begins the sentence of the error.

    Raises:
        DeadlineExceeded: others had it all the time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = clock()
    descriptor = os.open(folder / f"{re.sub(r'[^0-9A-Za-z.-]', '_', key)}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _try_lock(descriptor):
            if clock() - asked > wait:
                raise DeadlineExceeded(f"{subject} is synced by others all the time ({wait:g} s); try again later.")
            sleep(TRY_EVERY_S)
        if _began(descriptor) >= asked:
            return False
        began = clock()
        work()
        os.pwrite(descriptor, f"{began:<25.6f}".encode(), 0)
        return True
    finally:
        os.close(descriptor)  # which gives the lock back


def _began(descriptor: int) -> float:
    """When the last one that went well began; 0 when none did."""
    try:
        return float(os.pread(descriptor, 25, 0) or b"0")
    except ValueError:  # damaged, as after a power failure
        return 0.0


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
