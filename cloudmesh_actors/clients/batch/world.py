"""A simulated batch server's batch jobs: what runs where, as a pure function of a seed, the site and the time.

Every process sees the same, and nothing is stored. A queue's nodes are divided into lanes, each a few slots that one
job holds at a time. A lane's time is divided into windows of its own length, and in each window one job runs: when it
was submitted, how long it waits and runs, and whose it is, follow from the seed, the lane and the window's number.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cloudmesh_actors.site.model import Cluster

Phase = Literal["queued", "held", "running", "ended"]

#: Times before this moment (September 2020, in seconds since the epoch) have no jobs.
BEGINNING = 1_600_000_000

#: The lengths of lanes' windows, in seconds; the shortest is also what job numbers are counted in.
WINDOWS_S = (600, 900, 1800, 3600, 7200, 14400)

#: How long an ended job is shown, in seconds: Torque's keep_completed.
KEPT_S = 300

#: A job is submitted at most so many windows before its own.
LONGEST_WAIT = 1.5

#: Slots of a node, and its memory in bytes.
SLOTS, MEMORY = 8, 24 * 2**30

#: Of so many nodes one is down, one is idle, and one is shared by small jobs.
DOWN, IDLE, SHARED = 30, 8, 3

USERS = ("alice", "bob", "carol", "dave", "erin", "frank")
PROGRAMS = ("blast", "cfd", "fluid dynamics", "gromacs", "hpl", "lammps", "namd", "STDIN", "wrf")


class Share(NamedTuple):
    """Slots of a node: so many, from the first one on."""

    node: str
    first: int
    slots: int


@dataclass(frozen=True, slots=True)
class Lane:
    """Slots of a queue that one job after the other holds."""

    number: int
    queue: str
    shares: tuple[Share, ...]
    window: int  # seconds


@dataclass(frozen=True, slots=True)
class SimulatedJob:
    """A batch job and its whole life; times in seconds since the epoch, durations in seconds, memory in bytes."""

    number: int
    name: str
    owner: str
    queue: str
    shares: tuple[Share, ...]
    walltime: int
    memory: int
    submitted: int
    started: int
    ended: int
    exit_status: int
    held_until: int

    @property
    def cpus(self) -> int:
        """Slots that it asks for."""
        return sum(share.slots for share in self.shares)

    def phase(self, now: float) -> Phase:
        """What it does at a moment after its submission."""
        if now < self.held_until:
            return "held"
        if now < self.started:
            return "queued"
        return "running" if now < self.ended else "ended"

    def used(self, now: float) -> int:
        """Seconds that it has run."""
        return max(0, min(int(now), self.ended) - self.started)


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """A batch node; its cluster is its property."""

    name: str
    cluster: str
    is_down: bool


class World:
    """The queues, nodes and jobs that clusters have on one batch server."""

    def __init__(self, server: str, seed: int, clusters: Sequence[Cluster]) -> None:
        self._seed = f"{seed}/{server}"
        self.queues = tuple(dict.fromkeys(queue for cluster in clusters for queue in cluster.queues))
        self.nodes = tuple(self._node(name, cluster.name) for cluster in clusters for name in cluster.nodes)
        up = {node.name for node in self.nodes if not node.is_down}
        shared_out = [lane for cluster in clusters for lane in self._lanes(cluster, up)]
        self._lanes_of_all = [
            Lane(number, queue, shares, self._random("window", number).choice(WINDOWS_S))
            for number, (queue, shares) in enumerate(shared_out)
        ]

    def jobs(self, now: float) -> list[SimulatedJob]:
        """What is queued, runs or has just ended, the oldest first."""
        found = [job for lane in self._lanes_of_all for job in self._jobs_of(lane, now)]
        return sorted(found, key=lambda job: job.number)

    def _node(self, name: str, cluster: str) -> SimulatedNode:
        return SimulatedNode(name, cluster, self._random("down", name).randrange(DOWN) == 0)

    def _lanes(self, cluster: Cluster, up: set[str]) -> Iterator[tuple[str, tuple[Share, ...]]]:
        """The lanes of a cluster's nodes: each node is dealt to one queue, and each queue cuts its own."""
        if not cluster.queues:
            return
        for queue, nodes in self._dealt(cluster, up).items():
            chance = self._random("lanes", f"{cluster.name}/{queue}")
            left = list(nodes)
            while left:
                if chance.randrange(IDLE) == 0:
                    left.pop()
                elif chance.randrange(SHARED) == 0:
                    node = left.pop()
                    yield from ((queue, (Share(node, first, SLOTS // 4),)) for first in range(0, SLOTS, SLOTS // 4))
                else:
                    together = sorted(left.pop() for _ in range(min(chance.choice((1, 1, 2, 4)), len(left))))
                    yield queue, tuple(Share(node, 0, SLOTS) for node in together)

    def _dealt(self, cluster: Cluster, up: set[str]) -> Mapping[str, list[str]]:
        hands: dict[str, list[str]] = {queue: [] for queue in cluster.queues}
        for number, node in enumerate(node for node in cluster.nodes if node in up):
            first = cluster.queues[number] if number < len(cluster.queues) else None
            hands[first or self._random("queue", node).choice(cluster.queues)].append(node)
        return hands

    def _jobs_of(self, lane: Lane, now: float) -> Iterator[SimulatedJob]:
        age = now - BEGINNING
        first = max(0, math.floor((age - KEPT_S) / lane.window) - 1)
        last = math.floor(age / lane.window + LONGEST_WAIT) + 1
        for window in range(first, last + 1):
            job = self._job(lane, window)
            if job.submitted <= now < job.ended + KEPT_S:
                yield job

    def _job(self, lane: Lane, window: int) -> SimulatedJob:
        chance = self._random("job", f"{lane.number}/{window}")
        begin = BEGINNING + window * lane.window
        started = begin + int(lane.window * chance.uniform(0, 0.06))
        runs = int(lane.window * chance.uniform(0.5, 0.93))
        submitted = started - int(lane.window * chance.uniform(0.05, LONGEST_WAIT))
        is_held = chance.randrange(12) == 0
        return SimulatedJob(
            number=(begin - BEGINNING) // WINDOWS_S[0] * len(self._lanes_of_all) + lane.number,
            name=f"{chance.choice(PROGRAMS)}-{chance.randrange(100)}",
            owner=chance.choice(USERS),
            queue=lane.queue,
            shares=lane.shares,
            walltime=-(-runs // 900) * 900 * chance.choice((1, 1, 2, 4)),
            memory=chance.choice((1, 2, 4)) * 2**30,
            submitted=submitted,
            started=started,
            ended=started + runs,
            exit_status=chance.choice((0, 0, 0, 0, 0, 0, 0, 1, 139, 271)),
            held_until=(submitted + started) // 2 if is_held else submitted,
        )

    def _random(self, what: str, which: object) -> random.Random:
        return random.Random(f"{self._seed}/{what}/{which}")  # noqa: S311 - a world, not a secret
