"""beat: the supervised scheduler. What is due, and how often, is data; long work is sent through the queue.

A job of the schedule is not sent while its predecessor is still queued or running, so nothing piles up when workers
are behind. The last job of each is remembered in STATE_DIR/beat.json, across restarts too.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs, logs, nodes, roster, settings, site, store
from cloudmesh_actors.actor import changes_hardware
from cloudmesh_actors.broker import sweeper
from cloudmesh_actors.errors import CloudmeshError, UnknownJob
from cloudmesh_actors.families import FAMILIES
from cloudmesh_actors.launcher import actors as launcher_actors
from cloudmesh_actors.launcher import records as launcher_records
from cloudmesh_actors.pbs import actors as pbs_actors
from cloudmesh_actors.pbs import records as pbs_records
from cloudmesh_actors.provisioner import actors as provisioner_actors
from cloudmesh_actors.provisioner import records as provisioner_records
from cloudmesh_actors.rack import actors, records
from cloudmesh_actors.rain import actors as rain_actors
from cloudmesh_actors.rain import records as rain_records
from cloudmesh_actors.settings import Settings
from cloudmesh_actors.web import audit
from workers.process import guarded, leave, log, patiently, settle, watch
from workers.signals import StopRequest

NAME = "beat"

HOUR_S, DAY_S = 3600.0, 86_400.0

#: How often messages are looked for that were lost, and deploys that nobody goes on with, in seconds.
SWEEP_S = 30.0

#: A predecessor that has not ended after so many intervals is taken for lost, and no longer waited for ...
LOST_AFTER_INTERVALS = 10

#: ... but not before this long, in seconds.
LOST_AFTER_S = HOUR_S


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every `interval` seconds. `do` returns the id of the job it has sent, or None.

    A quiet one is not logged each time that it was done.
    """

    name: str
    interval: float
    do: Callable[[], str | None]
    quiet: bool = False


def chores(settings: Settings) -> list[Chore]:
    """The schedule."""
    wanted = [
        Chore("read sensors", settings.sensors_interval, read_sensors),
        Chore("refresh batch servers", settings.pbs_interval, refresh_batch_servers),
        Chore("find lost messages", SWEEP_S, find_lost_messages, quiet=True),
        Chore("put back deploys", SWEEP_S, put_back_deploys, quiet=True),
        Chore("put back provisionings", SWEEP_S, put_back_provisionings, quiet=True),
        Chore("settle launches", SWEEP_S, settle_launches, quiet=True),
        Chore("prune jobs", HOUR_S, prune_jobs),
        Chore("prune audit", DAY_S, prune_audit),
        Chore("prune sensors", DAY_S, prune_sensors),
        Chore("prune batch servers", DAY_S, prune_batch_servers),
    ]
    return [chore for chore in wanted if chore.interval]


def read_sensors() -> str | None:
    """Send one job that reads all BMCs of the site."""
    bmcs = site.current().bmcs
    return actors.read_sensors.send(nodes.fold(bmcs)).message_id if bmcs else None


def refresh_batch_servers() -> str | None:
    """Send one job that takes a snapshot of all batch servers of the site."""
    return pbs_actors.refresh.send().message_id if site.current().batch_servers else None


def find_lost_messages() -> None:
    """Publish again what was recorded and never reached a broker, and end what a dead worker left running."""
    sweeper.sweep(store.current(), brokers.current(), FAMILIES, changes_hardware)


def put_back_deploys() -> str | None:
    """Send one job that puts back the netboot of nodes whose deploy was aborted or died."""
    behind = {deploy.node for deploy in rain_records.left_behind()}
    known = behind & set(site.current().all_nodes)
    return rain_actors.put_back.send(nodes.fold(known)).message_id if known else None


def put_back_provisionings() -> str | None:
    """Send one job that puts back what is armed of nodes whose provisioning was aborted or died."""
    behind = {it.node for it in provisioner_records.left_behind()}
    known = behind & set(site.current().all_nodes)
    return provisioner_actors.put_back.send(nodes.fold(known)).message_id if known else None


def settle_launches() -> str | None:
    """Send one job that ends scripts which nobody follows any more, when there are some."""
    return launcher_actors.settle.send().message_id if launcher_records.left_alone() else None


def prune_audit() -> None:
    """Forget what was changed through the console long ago."""
    audit.prune()


def prune_jobs() -> None:
    """Forget jobs and launches that ended long ago."""
    jobs.prune()
    launcher_records.prune()


def prune_sensors() -> None:
    """Forget readings that are too old."""
    records.prune()


def prune_batch_servers() -> None:
    """Forget counts of batch jobs that are too old."""
    pbs_records.prune()


class Pacer:
    """Does chores, each only when what it sent the last time has ended.

    Args:
        memory: the file that remembers when each chore was done last, and which job it sent.
        state_of: the state of a job, None when the store knows no such job.
    """

    def __init__(
        self, memory: Path, state_of: Callable[[str], str | None], clock: Callable[[], float] = time.time
    ) -> None:
        self._memory, self._state_of, self._clock = memory, state_of, clock
        self._lock = threading.Lock()

    def due_at(self, chore: Chore) -> float:
        """When the chore is to be done next, in seconds since the epoch; at once if it is overdue."""
        last = self._read().get(chore.name)
        now = self._clock()
        return min(max(now, last["at"] + chore.interval), now + chore.interval) if last else now

    def do(self, chore: Chore) -> None:
        """Do the chore, unless its last job is still at work. What goes wrong is one line in the log."""
        try:
            if self._busy(chore):
                log.warning("chore.skipped", chore=chore.name, reason="its last job has not ended")
                return
            job_id = chore.do()
            self._remember(chore, job_id)
            if not chore.quiet:
                log.info("chore.done", chore=chore.name, job_id=job_id)
        except CloudmeshError as error:
            log.error("chore.failed", chore=chore.name, error=str(error))
        except Exception:
            log.exception("chore.failed", chore=chore.name)

    def _busy(self, chore: Chore) -> bool:
        last = self._read().get(chore.name, {})
        if not last.get("job"):
            return False
        if self._clock() - last["at"] > max(LOST_AFTER_S, LOST_AFTER_INTERVALS * chore.interval):
            return False
        return self._state_of(last["job"]) in ("queued", "running")

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            known = dict(json.loads(self._memory.read_text()))
        except (OSError, ValueError, TypeError):  # gone or damaged: begin afresh
            return {}
        return {name: last for name, last in known.items() if isinstance(last, dict) and "at" in last}

    def _remember(self, chore: Chore, job_id: str | None) -> None:
        with self._lock:
            known = {**self._read(), chore.name: {"job": job_id, "at": self._clock()}}
            fresh = self._memory.with_suffix(".new")
            fresh.write_text(json.dumps(known, indent=1) + "\n")
            fresh.replace(self._memory)


def schedule(chores: list[Chore], pacer: Pacer) -> BackgroundScheduler:
    """A scheduler, not yet started, that has `pacer` do each chore when it is due."""
    # a chore that was held up is done once, however many of its times have passed meanwhile
    scheduler = BackgroundScheduler(
        timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    )
    for chore in chores:
        scheduler.add_job(
            pacer.do,
            "interval",
            args=[chore],
            seconds=chore.interval,
            next_run_time=datetime.fromtimestamp(pacer.due_at(chore), UTC),
        )
    return scheduler


def state_of(job_id: str) -> str | None:
    """The state of a job, None when the store knows no such job."""
    try:
        return str(jobs.get(job_id).state)
    except UnknownJob:
        return None


def run(_name: str, stop: StopRequest) -> int:
    """Keep the schedule until `stop`; returns the exit code."""
    logs.configure(worker=NAME)
    return guarded(lambda: keep(settings.current(), stop))


def keep(config: Settings, stop: StopRequest) -> None:
    """Do what is due when it is due, until `stop`."""
    entry = patiently(lambda: roster.register(NAME, "", config.runtime_dir.name), stop)
    scheduler = schedule(chores(config), Pacer(config.state_dir / "beat.json", state_of))
    settle()
    scheduler.start()
    entry.ready()
    log.info("worker.ready", pid=os.getpid())
    watch(entry, stop)
    scheduler.shutdown(wait=False)
    leave(entry)
