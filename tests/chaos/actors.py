"""The actors that the fleet runs while things break. Each tells in a file what it did, and when.

A line is ``KIND WORK PID TIME``, appended in one write, so that it survives whatever becomes of its process:
``b`` a run begins, ``z`` it is over, ``e`` the effect, ``!`` what must not be. A run with ``b`` and no ``z`` died.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudmesh_actors import jobs, leases
from cloudmesh_actors.actor import actor
from cloudmesh_actors.runs import Run

QUEUE = "rack"

#: Where tasks write; a variable of its own, because it is no setting of the library.
FOLDER = "CHAOS_FOLDER"

#: Nodes that have leases.
NODES = 64

#: How long one who wants a node's lease waits for it, in seconds: longer than it takes to find out about a dead holder.
WAIT_LEASE_S = 120.0

#: Pause of a long task between two safe points, in seconds.
STEP_S = 0.05


def told() -> Path:
    """The file of what tasks did."""
    return Path(os.environ[FOLDER]) / "told"


def tell(kind: str, work: str) -> None:
    """Append a line."""
    append(told(), f"{kind} {work} {os.getpid()} {time.time():.3f}")


def append(path: Path, line: str) -> None:
    """Append a line in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


@contextmanager
def telling(work: str) -> Iterator[Run]:
    """Tell that a run begins, and that it is over, however it ends; only a dying process does not."""
    tell("b", work)
    try:
        yield jobs.current()
    finally:
        tell("z", work)


@actor(QUEUE)
def chaos_plain(work: str, seconds: float) -> None:
    """Has its effect at its end, each time that it runs: at least once."""
    with telling(work):
        time.sleep(seconds)
        tell("e", work)


@actor(QUEUE, min_backoff=100, max_backoff=1000, max_retries=20)
def chaos_flaky(work: str, seconds: float) -> None:
    """Fails in its first run, and is tried again by Dramatiq's rules."""
    with telling(work) as run:
        time.sleep(seconds)
        if run.number == 1:
            raise RuntimeError("the first run fails")
        tell("e", work)


@actor(QUEUE)
def chaos_chain(work: str, seconds: float) -> None:
    """Has its second half done by a further step of the same job."""
    with telling(work) as run:
        time.sleep(seconds)
        run.then(chaos_second.message(work, seconds), key="second")


@actor(QUEUE)
def chaos_second(work: str, seconds: float) -> None:
    """The second half."""
    with telling(work):
        time.sleep(seconds)
        tell("e", work)


@actor(QUEUE, changes_hardware=True)
def chaos_switch(work: str, seconds: float) -> None:
    """Gives one command to a machine of its own, exactly once: marked before; after a crash the machine is asked."""
    with telling(work) as run:
        command(run, work, seconds)


@actor(QUEUE, changes_hardware=True)
def chaos_leased(work: str, seconds: float, node: str) -> None:
    """The same to a machine behind a node that others want too, whose lease it holds."""
    with telling(work) as run, leases.hold(node, run=run, wait=WAIT_LEASE_S) as guard, alone(node, work):
        guard.check()
        command(run, work, seconds)


@actor(QUEUE)
def chaos_long(work: str, seconds: float) -> None:
    """Works in small pieces that are recorded, and may stop between any two."""
    with telling(work) as run:
        for number in range(len(run.outcomes()), round(seconds / STEP_S)):
            run.checkpoint()
            time.sleep(STEP_S)
            run.outcome(f"piece{number}", ok=True)
        tell("e", work)


@actor(QUEUE)
def chaos_nothing() -> None:
    """As little as a task can do."""


def machine(work: str) -> Path:
    """The machine of a work: a file with a line for each command that it was given."""
    return Path(os.environ[FOLDER]) / "machines" / work


def command(run: Run, work: str, seconds: float) -> None:
    """Give the command, in the middle of the time that it takes; after a crash only if it was not given."""
    if work in run.outcomes():
        return
    time.sleep(seconds / 2)
    if work not in run.marks() or not was_given(work):
        run.mark(work, "sent")
        append(machine(work), f"{os.getpid()}")
        tell("e", work)
    time.sleep(seconds / 2)
    run.outcome(work, ok=True)


def was_given(work: str) -> bool:
    """Whether the machine knows of its command."""
    return machine(work).exists() and machine(work).stat().st_size > 0


@contextmanager
def alone(node: str, work: str) -> Iterator[None]:
    """Find out when two are at a node at once: each locks its file, which the kernel unlocks should it die."""
    with (Path(os.environ[FOLDER]) / "nodes" / node).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("!", work)
        yield
