"""A simulated batch server: the `BatchClient` of the driver `simulator`, in each dialect and with each fault."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cloudmesh_actors import site
from cloudmesh_actors.clients.batch import attributes, printers
from cloudmesh_actors.clients.batch.attributes import Moment
from cloudmesh_actors.clients.batch.model import RawSnapshot
from cloudmesh_actors.clients.batch.world import World
from cloudmesh_actors.errors import AuthenticationFailed, DeadlineExceeded, Unreachable

if TYPE_CHECKING:
    from cloudmesh_actors.site import BatchServer, Cluster

#: How long a slow server takes, in seconds.
SLOWNESS_S = 3.0

#: What comes instead of a listing when the `fault` is "garbage".
GARBAGE = b"\x00\xfe\x1b[2J Segmentation fault\n\xff\xff"


class SimulatedBatchServer:
    """A batch server with the queues and nodes that the site's clusters have on it.

    Args:
        seconds: how long each command may take.
        clusters: whose queues it has; by default those of the site, as it is at each snapshot.
    """

    def __init__(
        self,
        server: BatchServer,
        seconds: float,
        *,
        clusters: Sequence[Cluster] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._server, self._seconds, self._clusters = server, seconds, clusters
        self._clock, self._sleep = clock, sleep
        self._subject = f"{server.name}: the simulated batch server"
        self._known: tuple[Sequence[Cluster], World] | None = None

    def snapshot(self) -> RawSnapshot:
        """See `BatchClient`."""
        self._suffer()
        now = self._clock()
        world = self._world()
        moment = Moment(self._server.name, world, now, world.jobs(now))
        jobs, queues, nodes = self._printed(moment)
        if self._server.fault in ("truncated", "garbage", "empty"):
            jobs = {"truncated": jobs[: len(jobs) * 2 // 3], "garbage": GARBAGE, "empty": b""}[self._server.fault]
            return RawSnapshot(self._server.name, self._server.dialect, now, jobs, queues, nodes, jobs_empty=False)
        return RawSnapshot(self._server.name, self._server.dialect, now, jobs, queues, nodes, jobs_empty=not jobs)

    def close(self) -> None:
        """See `BatchClient`."""

    def _suffer(self) -> None:
        match self._server.fault:
            case "away":
                raise Unreachable(f"{self._subject} does not answer; it is told to be away in the site file.")
            case "denied":
                raise AuthenticationFailed(f"{self._subject} lets nobody look; it is told to in the site file.")
            case "slow":
                self._sleep(min(SLOWNESS_S, self._seconds))
                if self._seconds < SLOWNESS_S:
                    raise DeadlineExceeded(f"{self._subject} was not done after {self._seconds:g} s; it is told so.")

    def _world(self) -> World:
        clusters = self._clusters
        if clusters is None:
            clusters = [found for found in site.current().clusters.values() if found.server == self._server.name]
        if self._known is None or self._known[0] != clusters:
            self._known = clusters, World(self._server.name, self._server.seed, clusters)
        return self._known[1]

    def _printed(self, moment: Moment) -> tuple[bytes, bytes, bytes]:
        """What the commands print; Torque has its queues in text only."""
        match self._server.dialect:
            case "torque-xml":
                jobs, queues, nodes = attributes.torque(moment)
                return printers.xml(jobs, "jobs"), printers.text(queues, "queues"), printers.xml(nodes, "nodes")
            case "torque-text":
                return _texts(*attributes.torque(moment))
            case "openpbs-text":
                return _texts(*attributes.openpbs(moment))
            case "openpbs-json":
                jobs, queues, nodes = attributes.openpbs(moment)
                return (
                    printers.json(jobs, "jobs", moment.server, moment.now),
                    printers.json(queues, "queues", moment.server, moment.now),
                    printers.json(nodes, "nodes", moment.server, moment.now),
                )
            case "slurm":
                jobs, queues, nodes = attributes.slurm(moment)
                return printers.slurm(jobs, "jobs"), printers.slurm(queues, "queues"), printers.slurm(nodes, "nodes")


def _texts(jobs: printers.Listing, queues: printers.Listing, nodes: printers.Listing) -> tuple[bytes, bytes, bytes]:
    return printers.text(jobs, "jobs"), printers.text(queues, "queues"), printers.text(nodes, "nodes")
