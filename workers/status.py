"""How the fleet is: what supervisord, the roster, the broker and the kernel know of each worker, in one table."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import roster
from cloudmesh_actors.broker import Depth
from cloudmesh_actors.roster import WorkerRow
from workers import configuration
from workers.supervisor import Process

if TYPE_CHECKING:
    from rich.table import Table

    from workers.fleet import Fleet

#: A worker that has not been heard of for this long, in seconds, is taken for dead.
SILENT_AFTER_S = 30.0

#: What supervisord's states are called here.
STATES: Mapping[str, str] = {
    "STARTING": "starting",
    "RUNNING": "starting",  # until the worker itself says that it is ready
    "STOPPING": "stopping",
    "BACKOFF": "failing",
    "FATAL": "failed",
}


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One process of the fleet.

    `state` is ready, starting, stopping, failing (ends at once, is started again), failed (given up), down, or
    silent (on another host, not heard of). Uptime in seconds, memory (resident) in bytes; `done` and `failed` count
    runs since the worker started; `waiting`, `delayed` and `running` are the messages of its queue, on all hosts.
    """

    name: str
    host: str
    queue: str
    state: str
    pid: int | None = None
    uptime: float | None = None
    memory: int | None = None
    done: int = 0
    failed: int = 0
    waiting: int | None = None
    delayed: int | None = None
    running: int | None = None
    last_job: str | None = None


def read(fleet: Fleet, now: float | None = None) -> list[WorkerStatus]:
    """The fleet's workers here, in the order of the plan, then those of its name on other hosts.

    Raises:
        StoreUnavailable, BrokerUnavailable: without them there is little to tell.
    """
    now = time.time() if now is None else now
    here = socket.gethostname()
    rows = {(row.name, row.host): row for row in roster.rows(fleet.folder.name)}
    depths = brokers.depths()
    processes = fleet.supervisor.processes()
    local = [
        merge(name, here, family, processes.get(name), rows.pop((name, here), None), depths.get(family), now)
        for name, family in configuration.processes(fleet.settings)
    ]
    remote = [
        merge(row.name, row.host, row.queue, None, row, depths.get(row.queue), now)
        for row in rows.values()
        if row.host != here
    ]
    return local + remote


def merge(
    name: str,
    host: str,
    queue: str,
    process: Process | None,
    row: WorkerRow | None,
    depth: Depth | None,
    now: float,
) -> WorkerStatus:
    """One worker's status from what supervisord and the worker's own row say of it."""
    here = host == socket.gethostname()
    if here and (row is None or process is None or row.pid != process.pid):
        row = None  # the row of an earlier process
    pid = process.pid if process else row.pid if row else None
    return WorkerStatus(
        name=name,
        host=host,
        queue=queue,
        state=_state_here(process, row) if here else _state_elsewhere(row, now),
        pid=pid or None,
        uptime=max(0.0, now - (row.started_at if row else process.started_at if process else now)) if pid else None,
        memory=_memory(pid) if here and pid else None,
        done=row.done if row else 0,
        failed=row.failed if row else 0,
        waiting=depth.ready if depth else None,
        delayed=depth.delayed if depth else None,
        running=depth.running if depth else None,
        last_job=row.last_job if row else None,
    )


def table(statuses: list[WorkerStatus]) -> Table:
    """The statuses for people, at most 80 columns wide."""
    from rich.table import Table

    several_hosts = len({status.host for status in statuses}) > 1
    shown = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for heading, justify in _COLUMNS:
        shown.add_column(heading, justify=justify, no_wrap=True)
    for status in statuses:
        shown.add_row(*_cells(status, several_hosts), style="" if status.state == "ready" else "red")
    return shown


_COLUMNS = (
    ("worker", "left"),
    ("queue", "left"),
    ("pid", "right"),
    ("uptime", "right"),
    ("memory", "right"),
    ("done", "right"),
    ("failed", "right"),
    ("depth", "right"),
    ("last job", "left"),
)


def _cells(status: WorkerStatus, several_hosts: bool) -> list[str]:
    return [
        f"{status.name}@{status.host}" if several_hosts else status.name,
        status.queue or "-",
        str(status.pid) if status.state == "ready" else status.state,
        "-" if status.uptime is None else duration(status.uptime),
        "-" if status.memory is None else f"{status.memory / 1e6:.0f} MB",
        str(status.done),
        str(status.failed),
        "-"
        if status.waiting is None
        else f"{status.waiting}+{status.delayed}"
        if status.delayed
        else f"{status.waiting}",
        (status.last_job or "-")[:8],
    ]


def duration(seconds: float) -> str:
    """A duration in its two largest units: ``45 s``, ``12:05``, ``3:07 h``, ``12 d``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} m"
    if whole < 86_400:
        return f"{whole // 3600}:{whole % 3600 // 60:02} h"
    return f"{whole // 86_400} d"


def _state_here(process: Process | None, row: WorkerRow | None) -> str:
    if row and row.ready_at and process and process.state in ("STARTING", "RUNNING"):
        return "ready"
    return STATES.get(process.state, "down") if process else "down"


def _state_elsewhere(row: WorkerRow | None, now: float) -> str:
    if row is None or now - row.seen_at > SILENT_AFTER_S:
        return "silent"
    return "ready" if row.ready_at else "starting"


def _memory(pid: int) -> int | None:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return None
