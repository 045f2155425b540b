"""One worker: a process that runs `dramatiq.Worker` on one queue until it is asked to stop."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import dramatiq

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import logs, roster, runs, settings
from cloudmesh_actors.broker import claims
from cloudmesh_actors.broker.work_queue import WorkQueue
from cloudmesh_actors.families import FAMILIES, worker_name
from cloudmesh_actors.settings import Settings
from workers.process import Tally, guarded, leave, log, patiently, settle, watch
from workers.queues import reach
from workers.signals import StopRequest

#: How long Dramatiq's threads and consumers sleep at a time, in milliseconds; an idle stop may take as long.
WORKER_TIMEOUT_MS = 500

#: How long a consumer waits after its connection was cut, in seconds; how it goes on is `broker/reconnecting.py`'s.
RESTART_S = 0.2

#: How long runs may take after the grace time to reach a safe point and go back to their queue, in seconds.
SAFE_POINT_S = 5.0


def run(name: str, stop: StopRequest) -> int:
    """Be the worker `name` until `stop`; returns the exit code."""
    family = family_of(name)
    if family is None:
        sys.exit(f"{name!r} is neither a worker nor a command; see python -m workers --help")
    logs.configure(worker=name, queue=family)
    return guarded(lambda: work(name, family, stop))


def family_of(name: str) -> str | None:
    """The family that a worker's name tells: ``launcher`` for ``l1``."""
    number = int(name.lstrip("abcdefghijklmnopqrstuvwxyz") or 1)
    return next((family for family in FAMILIES if number and worker_name(family, number) == name), None)


def work(name: str, family: str, stop: StopRequest) -> None:
    """Take messages of a family's queue, until `stop`."""
    config = settings.current()
    entry = patiently(lambda: roster.register(name, family, config.runtime_dir.name), stop)
    brokers.be_worker(name)
    broker = import_module(f"workers.{family}").broker
    patiently(lambda: reach(broker), stop)
    patiently(lambda: claims.bury_the_dead(broker=broker), stop)
    settle()
    worker = start(broker, family, config)
    entry.ready()
    log.info("worker.ready", pid=os.getpid(), threads=worker.worker_threads)
    watch(entry, stop, tally)
    finish(worker, config.grace)
    leave(entry)


def start(broker: dramatiq.Broker, family: str, config: Settings) -> dramatiq.Worker:
    """Start Dramatiq's threads in this process."""
    dramatiq.worker.CONSUMER_RESTART_DELAY_SECS = RESTART_S
    broker.emit_after("process_boot")  # the dramatiq command does it; without it TimeLimit never starts
    worker = dramatiq.Worker(
        broker,
        queues={family},
        worker_threads=config.threads_for(family),
        worker_timeout=WORKER_TIMEOUT_MS,
    )
    worker.queue_prefetch = max(config.prefetch_for(family), worker.worker_threads)
    worker.work_queue = WorkQueue()
    worker.start()
    return worker


def tally() -> Tally:
    """What this worker has done since it started."""
    counters = brokers.counters
    return Tally(counters.done, counters.failed, counters.last_job)


def finish(worker: dramatiq.Worker, grace_s: float) -> None:
    """Let running tasks end within the grace time, then have them go back to their queue at their next safe point."""
    log.info("worker.stopping", grace_s=grace_s)
    brokers.stopping()
    runs.stop_signal.stop(grace_s)
    worker.stop(timeout=int((grace_s + SAFE_POINT_S) * 1000))
    if abandoned := sum(thread.is_alive() for thread in worker.workers):
        log.warning("worker.abandoned_runs", count=abandoned, reason="they reached no safe point; others take them up")
    brokers.reset()
