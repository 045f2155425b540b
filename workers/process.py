"""What all processes of the fleet do, workers and beat: wait for their peers, tell that they live, leave in order."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from cloudmesh_actors import logs
from cloudmesh_actors.errors import BrokerUnavailable, CloudmeshError, StoreUnavailable
from cloudmesh_actors.roster import Entry
from workers.signals import StopRequest

#: How often a process looks after itself, in seconds.
TICK_S = 1.0

#: A process that has nothing new to tell says at least this often that it lives, in seconds.
HEARTBEAT_S = 10.0

#: Wait before another try while the store or the broker does not answer, in seconds.
RETRY_S = 1.0

T = TypeVar("T")
log = logs.get_logger()


class Stopped(Exception):
    """A stop was asked for while the process still waited for the store or the broker."""


class Tally(NamedTuple):
    """What a process has done since it started."""

    done: int = 0
    failed: int = 0
    last_job: str | None = None


def guarded(work: Callable[[], None]) -> int:
    """The exit code of a process that does `work`: an error of ours is one line in its log."""
    try:
        work()
    except Stopped:
        log.info("worker.ended")
    except CloudmeshError as error:
        log.error("worker.failed", error=str(error))  # noqa: TRY400 - the sentence says it all
        return 1
    else:
        log.info("worker.ended")
    return 0


def patiently(call: Callable[[], T], stop: StopRequest) -> T:
    """What `call` returns, as soon as the store and the broker answer; the log has each new reason to wait."""
    reason = ""
    while True:
        try:
            return call()
        except (BrokerUnavailable, StoreUnavailable) as error:
            if str(error) != reason:
                reason = str(error)
                log.warning("worker.waiting", error=reason)
            if stop.wait(RETRY_S):
                raise Stopped from None


def settle() -> None:
    """Everything is imported: from now on look for garbage, but not among what stays for good."""
    gc.freeze()
    gc.enable()


def watch(
    entry: Entry,
    stop: StopRequest,
    tally: Callable[[], Tally] = Tally,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Keep this process's row fresh until a stop is asked for, or its supervisor dies."""
    parent = os.getppid()
    told, told_at = Tally(), clock()
    while not stop.wait(TICK_S):
        if os.environ.get("SUPERVISOR_ENABLED") and os.getppid() != parent:
            log.error("worker.orphaned", parent=parent)
            return
        news = tally()
        if (news != told or clock() - told_at >= HEARTBEAT_S) and _tell(entry, news):
            told, told_at = news, clock()


def leave(entry: Entry) -> None:
    """Take this process's row away; when the store is gone, the row will say by its age that nobody is there."""
    try:
        entry.leave()
    except StoreUnavailable as error:
        log.warning("roster.not_renewed", error=str(error))


def _tell(entry: Entry, tally: Tally) -> bool:
    try:
        entry.beat(done=tally.done, failed=tally.failed, last_job=tally.last_job)
    except StoreUnavailable as error:
        log.warning("roster.not_renewed", error=str(error))
        return False
    return True
