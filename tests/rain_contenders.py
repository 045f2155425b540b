"""Two deploys of one node at once, again and again, over two worker processes; which one wins, and what the other says.

The Cobbler is simulated and away, so whoever wins keeps the node's lease until the trial is over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dramatiq
from brokers import ValkeyServer

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs, settings, store
from cloudmesh_actors.jobs import NodeOutcome
from cloudmesh_actors.rain import actors

SITE = """
clusters: {{india: {{nodes: "n[0001-{count:04}]"}}}}
cobblers:
  main: {{driver: simulator, systems: "n[0001-{count:04}]", fault: {fault}}}
"""
WORKERS = 2
DEADLINE_S = 300.0


@dataclass
class Trials:
    """What came of trials: how often exactly one won, how often the loser named it, and whatever else happened."""

    count: int
    one_winner: int = 0
    named: int = 0
    seconds: float = 0.0
    others: list[str] = field(default_factory=list)


@contextmanager
def rain_fleet(folder: Path, site: str, workers: int = WORKERS, **more: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A broker, a store, a site, and worker processes of the queue; the environment is theirs, too."""
    (folder / "valkey").mkdir(parents=True)
    (folder / "site.yaml").write_text(site)
    server = ValkeyServer(folder / "valkey")
    server.start()
    values = {"SITE": str(folder / "site.yaml"), "LOG_DIR": str(folder / "logs"), "BROKER_URL": server.url, **more}
    before = dict(os.environ)
    os.environ.update({f"CLOUDMESH_{name}": value for name, value in values.items()})
    _afresh()
    store.current()  # its tables are made once, before all workers want them
    processes = [start_worker(folder, f"rain{number}") for number in range(1, workers + 1)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
        os.environ.clear()
        os.environ.update(before)
        _afresh()
        server.stop()


def start_worker(folder: Path, name: str) -> subprocess.Popen[bytes]:
    """One more worker, ready."""
    log = folder / f"{name}.out"
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, __file__, name], stdout=out, stderr=out)
    end = time.monotonic() + DEADLINE_S
    while f"ready {process.pid}\n" not in log.read_text(errors="replace"):
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < end, log.read_text(errors="replace")
        time.sleep(0.02)
    return process


def contend(folder: Path, count: int, at_once: int = 16) -> Trials:
    """So many trials, each on a node of its own."""
    trials = Trials(count)
    with rain_fleet(folder, SITE.format(count=count, fault="away")), ThreadPoolExecutor(at_once) as pool:
        began = time.monotonic()
        for verdict in pool.map(trial, (f"n{number:04}" for number in range(1, count + 1))):
            trials.one_winner += verdict in ("named", "unnamed")
            trials.named += verdict == "named"
            trials.others += [] if verdict == "named" else [verdict]
        trials.seconds = time.monotonic() - began
    return trials


def trial(node: str) -> str:
    """What came of one trial: `named` when one of two won and the other named it."""
    start = threading.Barrier(2)

    def send(_: int) -> str:
        start.wait()
        return str(actors.deploy_system.send(node).message_id)

    with ThreadPoolExecutor(2) as pool:
        sent = list(pool.map(send, range(2)))
    outcomes = _decided(sent)
    losers = [job for job, outcome in outcomes.items() if outcome.ok is False]
    for job in sent:
        jobs.abort(job)
    if len(losers) != 1:
        return f"{len(losers)} lost: {[outcome.error for outcome in outcomes.values()]}"
    [winner] = set(sent) - set(losers)
    lost = outcomes[losers[0]]
    named = lost.error_kind == "lease_held" and f"held by job {winner[:8]} (rain.deploy_system)" in str(lost.error)
    return "named" if named else f"unnamed: {lost.error}"


def _decided(sent: list[str]) -> dict[str, NodeOutcome]:
    """What both jobs tell, when each has either the lease or an end."""
    end = time.monotonic() + DEADLINE_S
    while True:
        told = {job: outcome for job in sent for outcome in jobs.node_outcomes(job)}
        if len(told) == 2 and all(outcome.error for outcome in told.values()):
            return told
        assert time.monotonic() < end, told
        time.sleep(0.05)


def _afresh() -> None:
    brokers.reset()
    settings.reset()
    store.reset()


def work(name: str) -> None:
    """A worker of the queue `rain`, until it is told to end."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    brokers.be_worker(name)
    broker = brokers.current()
    broker.heartbeat_timeout_ms, broker.maintenance_every_s = 2_000, 0.5
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, queues={"rain"}, worker_threads=8, worker_timeout=100)
    worker.queue_prefetch = 16
    worker.start()
    os.write(1, f"ready {os.getpid()}\n".encode())
    stop.wait()
    worker.stop(5_000)
    os._exit(0)


if __name__ == "__main__":
    work(sys.argv[1])
