"""How the fleet is: what supervisord, the roster, the broker and the kernel know of each worker, in one table."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psutil

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import roster
from cloudmesh_actors.broker import Depth
from cloudmesh_actors.roster import WorkerRow
from workers import configuration, valkey
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
    silent (in another fleet, and not heard of). Uptime in seconds, memory (resident) in bytes; `done` and `failed`
    count runs since the worker started; `waiting`, `delayed` and `running` are the messages of its queue, on all hosts,
    and `paused` says whether nothing of these begins.
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
    paused: bool = False


def read(fleet: Fleet, now: float | None = None) -> list[WorkerStatus]:
    """The fleet's workers here, in the order of the plan, then all others that share its store.

    Raises:
        StoreUnavailable: the store does not answer.
        BrokerUnavailable: the broker does not answer, and is not the embedded one, which may well be down.
    """
    now = time.time() if now is None else now
    host = socket.gethostname()
    rows = {(row.name, row.host, row.fleet): row for row in roster.rows()}
    depths = {} if fleet.embedded and not valkey.answers(valkey.socket_path(fleet.settings)) else brokers.depths()
    processes = fleet.supervisor.processes()
    mine = [
        here(
            processes.get(name) or Process(name),
            family,
            host,
            rows.get((name, host, fleet.folder.name)),
            now,
        )
        for name, family in [*configuration.processes(fleet.settings), *_web(processes)]
    ]
    others = [elsewhere(row, now) for row in rows.values() if (row.host, row.fleet) != (host, fleet.folder.name)]
    paused = brokers.paused()
    return [
        replace(with_depth(status, depths.get(status.queue)), paused=status.queue in paused) for status in mine + others
    ]


def _web(processes: Mapping[str, Process]) -> list[tuple[str, str]]:
    """The console, unless it is down because nobody has asked for it."""
    process = processes.get(configuration.WEB)
    return [(configuration.WEB, "")] if process and process.state != "STOPPED" else []


def here(process: Process, queue: str, host: str, row: WorkerRow | None, now: float) -> WorkerStatus:
    """A worker under this fleet's supervisord; its row counts only if the very process wrote it."""
    if row is None or row.pid != process.pid:
        state = STATES.get(process.state, "down")
        uptime = max(0.0, now - process.started_at) if process.pid else None
        return WorkerStatus(process.name, host, queue, state, process.pid or None, uptime, memory_of(process.pid))
    ready = row.ready_at and process.state in {"STARTING", "RUNNING"}
    return WorkerStatus(
        name=process.name,
        host=host,
        queue=queue,
        state="ready" if ready else STATES.get(process.state, "down"),
        pid=process.pid,
        uptime=max(0.0, now - row.started_at),
        memory=memory_of(process.pid),
        done=row.done,
        failed=row.failed,
        last_job=row.last_job,
    )


def elsewhere(row: WorkerRow, now: float) -> WorkerStatus:
    """A worker of another fleet, by what it last told."""
    silent = now - row.seen_at > SILENT_AFTER_S
    return WorkerStatus(
        name=row.name,
        host=row.host,
        queue=row.queue,
        state="silent" if silent else "ready" if row.ready_at else "starting",
        pid=row.pid,
        uptime=None if silent else max(0.0, now - row.started_at),
        done=row.done,
        failed=row.failed,
        last_job=row.last_job,
    )


def with_depth(status: WorkerStatus, depth: Depth | None) -> WorkerStatus:
    """The status with the depth of its queue."""
    if depth is None:
        return status
    return replace(status, waiting=depth.ready, delayed=depth.delayed, running=depth.running)


def memory_of(pid: int) -> int | None:
    """Bytes of a process that are in memory; None when there is no such process."""
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else None
    except psutil.NoSuchProcess:
        return None


def table(statuses: list[WorkerStatus]) -> Table:
    """The statuses for people, at most 80 columns wide."""
    from rich.table import Table

    shown = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    shown.add_column("worker", no_wrap=True, max_width=12)
    shown.add_column("queue", no_wrap=True)
    for heading in ("pid", "uptime", "memory", "done", "failed", "depth"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("last job", no_wrap=True)
    here = socket.gethostname()
    for status in statuses:
        name = status.name if status.host == here else f"{status.name}@{status.host}"
        shown.add_row(name, *_cells(status), style="" if status.state == "ready" else "red")
    return shown


def _cells(status: WorkerStatus) -> list[str]:
    return [
        status.queue or "-",
        str(status.pid) if status.state == "ready" else status.state,
        "-" if status.uptime is None else duration(status.uptime),
        "-" if status.memory is None else f"{status.memory / 1e6:.0f} MB",
        str(status.done),
        str(status.failed),
        _depth(status),
        (status.last_job or "-")[:8],
    ]


def _depth(status: WorkerStatus) -> str:
    if status.waiting is None:
        return "-"
    waiting = f"{status.waiting}+{status.delayed}" if status.delayed else str(status.waiting)
    return f"{waiting} paused" if status.paused else waiting


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
