"""Batch servers for tests: listings made by hand, and a site that says whose queues are whose."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from cloudmesh_actors.errors import NodeError
from cloudmesh_actors.pbs.listing import Listing
from cloudmesh_actors.pbs.model import BatchJob, BatchNode, BatchQueue, JobState, Slots

SITE = """
clusters:
  india: {nodes: "i[001-004]", queues: {server: torque1, names: [batch, long]}}
  delta: {nodes: "d[001-002]", queues: {server: torque1, names: [delta]}}
  echo: {nodes: "e[001-002]", queues: {server: torque2, names: [batch]}}
  bravo: {nodes: "b[001-002]"}
batch_servers:
  torque1: {driver: simulator, max_age: 30}
  torque2: {driver: simulator, max_age: 30}
"""

#: 2026-03-10T12:00:00Z
NOON = 1_773_144_000


def job(number: int, **changes: Any) -> BatchJob:
    values: dict[str, Any] = {
        "id": f"{number}.torque1", "name": f"run{number}", "owner": "alice", "state": JobState.QUEUED,
        "queue": "batch", "nodes": [], "node_count": 1, "cpus": 4, "memory": 2**30, "memory_used": None,
        "walltime_requested": 3600, "walltime_used": None, "submitted": NOON, "started": None, "ended": None,
        "exit_status": None, "attributes": {"Job_Name": f"run{number}", "Variable_List": "HOME=/home/alice"},
    }  # fmt: skip
    return BatchJob(**values | changes)


def running(number: int, *hosts: str, **changes: Any) -> BatchJob:
    held = [Slots(host, 4) for host in hosts]
    return job(number, **{"state": JobState.RUNNING, "nodes": held, "cpus": 4 * len(held), "started": NOON} | changes)


def queue(name: str, **changes: Any) -> BatchQueue:
    values: dict[str, Any] = {
        "name": name, "type": "Execution", "enabled": True, "started": True, "total": None, "states": {},
        "limits": {"resources_max.walltime": "24:00:00"}, "attributes": {"queue_type": "Execution"},
    }  # fmt: skip
    return BatchQueue(**values | changes)


def node(name: str, *states: str, **changes: Any) -> BatchNode:
    values: dict[str, Any] = {
        "name": name, "states": frozenset(states or ("free",)), "slots": 8, "jobs": [], "properties": [],
        "memory": 2**34, "load": 0.5, "attributes": {"np": "8"},
    }  # fmt: skip
    return BatchNode(**values | changes)


def listing(
    jobs: Sequence[BatchJob] = (),
    queues: Sequence[BatchQueue] = (queue("batch"),),
    nodes: Sequence[BatchNode] = (node("i001"),),
    *,
    server: str = "torque1",
    taken_at: float | None = None,
    damaged: tuple[str, ...] = (),
) -> Listing:
    return Listing(server, "torque-text", time.time() if taken_at is None else taken_at, jobs, queues, nodes, damaged)


class Asked:
    """A conversation that counts how often it was had, and with how many at the same time."""

    def __init__(self, answer: Callable[[int], Listing | NodeError] | None = None, *, takes_s: float = 0.0) -> None:
        self._answer = answer or (lambda number: listing([job(number)]))
        self._takes_s = takes_s
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._now = 0
        self.times = 0
        self.most_at_once = 0

    def __call__(self) -> Listing:
        with self._lock:
            self._now += 1
            self.times = next(self._numbers)
            number, self.most_at_once = self.times, max(self.most_at_once, self._now)
        try:
            time.sleep(self._takes_s)
            answer = self._answer(number)
        finally:
            with self._lock:
                self._now -= 1
        if isinstance(answer, NodeError):
            raise answer
        return answer
