"""What an action on nodes would hit: running batch jobs and their users, watts, leases. Reads the store, asks nobody.

::

    plan = preview.plan("power off", "i[001-004]")
    [(node.node, [job.owner for job in node.batch_jobs], node.watts, node.lease) for node in plan.nodes]
    plan.batch_age, plan.doubts(), plan.as_json()

What is not known is never shown as nothing: a node's `batch` says what its list of batch jobs is worth.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from cloudmesh_actors import leases, settings, site
from cloudmesh_actors.leases import Lease, age
from cloudmesh_actors.nodes import fold
from cloudmesh_actors.pbs import records as batch_records
from cloudmesh_actors.pbs.records import HOLDING, ClusterJob, ClusterNode, Reading, ServerState
from cloudmesh_actors.rack import records as sensor_records
from cloudmesh_actors.site import Site

#: A snapshot is old when it missed so many of its turns (the setting `pbs_interval`); without turns, after so long.
MISSED_TURNS, OLD_S = 2, 900.0

#: Sensors of a node's power supplies: their watts add up. Every other sensor of power measures the node as a whole.
_SUPPLY = re.compile(r"\b(ps|psu|power supply)\W*\d", re.IGNORECASE)


class Batch(StrEnum):
    """What is known of the batch jobs on a node."""

    KNOWN = "known"  # from a fresh snapshot that lists the node
    OLD = "old"  # from a snapshot that is old, or could not be renewed
    UNLISTED = "unlisted"  # the batch server has no node of this name
    UNKNOWN = "unknown"  # the batch server of the node's cluster was never asked
    NONE = "none"  # the node's cluster has no batch server


@dataclass(frozen=True, slots=True)
class BatchHit:
    """A batch job that holds a node."""

    id: str
    owner: str | None  # None when only the list of nodes tells of the job
    name: str
    queue: str
    cluster: str | None
    server: str


@dataclass(frozen=True, slots=True)
class Watts:
    """What a node draws, as it was last measured; `age` is seconds."""

    value: float
    age: float


@dataclass(frozen=True, slots=True)
class NodeHarm:
    """What an action on one node would hit. `watts` is None when it was not measured, `lease` when nobody has it."""

    node: str
    batch: Batch
    batch_jobs: tuple[BatchHit, ...]
    watts: Watts | None
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an action would hit. `servers` are those whose batch jobs may be on the nodes.

    `unplaced` are running batch jobs of these nodes' clusters of which the batch server does not tell the nodes.
    """

    action: str
    nodes: tuple[NodeHarm, ...]
    servers: tuple[ServerState, ...] = ()
    unplaced: tuple[BatchHit, ...] = ()
    now: float = field(default_factory=time.time)

    @property
    def names(self) -> list[str]:
        """The nodes."""
        return [harm.node for harm in self.nodes]

    @property
    def batch_age(self) -> float | None:
        """The age of the oldest snapshot that was looked at, in seconds; None when one is missing or none is needed."""
        ages = [server.age for server in self.servers]
        return None if None in ages or not ages else max(age for age in ages if age is not None)

    @property
    def batch_jobs(self) -> dict[BatchHit, list[str]]:
        """The batch jobs that would be hit, each with its nodes."""
        found: defaultdict[BatchHit, list[str]] = defaultdict(list)
        for harm in self.nodes:
            for job in harm.batch_jobs:
                found[job].append(harm.node)
        return dict(found)

    @property
    def watts(self) -> float:
        """The sum of what is known."""
        return sum(harm.watts.value for harm in self.nodes if harm.watts)

    @property
    def needs_count(self) -> bool:
        """Whether these are so many nodes that their number has to be typed."""
        return len(self.nodes) > settings.current().confirm_above

    def nodes_whose_batch_is(self, batch: Batch) -> list[str]:
        """The nodes of which this is known."""
        return [harm.node for harm in self.nodes if harm.batch is batch]

    def doubts(self) -> list[str]:
        """A sentence for each thing about batch jobs that is not certain; empty when all is known."""
        return [*self._nodes_in_doubt(), *self._servers_in_doubt()]

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON has it: ages and durations are seconds."""
        return {
            "action": self.action,
            "count": len(self.nodes),
            "folded": fold(self.names),
            "needs_count": self.needs_count,
            "batch_age": self.batch_age,
            "watts": round(self.watts, 1),
            "doubts": self.doubts(),
            "unplaced": [asdict(job) for job in self.unplaced],
            "nodes": [self._node_as_json(harm) for harm in self.nodes],
        }

    def _node_as_json(self, harm: NodeHarm) -> dict[str, Any]:
        held = harm.lease
        return {
            "node": harm.node,
            "batch": harm.batch.value,
            "batch_jobs": [asdict(job) for job in harm.batch_jobs],
            "watts": harm.watts and round(harm.watts.value, 1),
            "watts_age": harm.watts and round(harm.watts.age, 1),
            "lease": held and {"job_id": held.job_id, "actor": held.actor, "age": round(self.now - held.taken_at, 1)},
        }

    def _nodes_in_doubt(self) -> Iterator[str]:
        if unknown := self.nodes_whose_batch_is(Batch.UNKNOWN):
            yield f"{fold(unknown)}: which batch jobs run there is not known; `cm-actors pbs refresh` asks."
        if unlisted := self.nodes_whose_batch_is(Batch.UNLISTED):
            yield f"{fold(unlisted)}: no batch server has nodes of these names; what runs there is not known."
        if self.unplaced:
            ids = ", ".join(job.id for job in self.unplaced[:3])
            yield f"{len(self.unplaced)} running batch jobs ({ids}, …) may be there: it is not told on which nodes."

    def _servers_in_doubt(self) -> Iterator[str]:
        for server in self.servers:
            if server.age is not None and is_old(server):
                why = f" ({server.error})" if server.error else ""
                yield f"{server.server}: what is known of it is {age(server.age)} old{why}; others may run by now."
            if server.damaged:
                yield f"{server.server}: {server.damaged} of its records could not be read."


def plan(action: str, nodes: str | Iterable[str], *, now: Callable[[], float] = time.time) -> Plan:
    """What `action` on these nodes (a node set, or names) would hit.

    Raises:
        UnknownNode, NodeSetError: the site has no such nodes.
        StoreUnavailable: it cannot be known.
    """
    here = site.current()
    names = here.nodes(nodes if isinstance(nodes, str) else fold(nodes))
    with batch_records.reading() as seen:
        batch = _BatchView(seen, here, names)
    watts, held = _watts(names, now()), {lease.node: lease for lease in leases.holders(names)}
    harm = (
        NodeHarm(node, batch.known(node), tuple(batch.hits[node]), watts.get(node), held.get(node)) for node in names
    )
    return Plan(action, tuple(harm), tuple(batch.servers), tuple(batch.unplaced), now())


def is_old(server: ServerState) -> bool:
    """Whether a snapshot says too little of what runs now."""
    limit = settings.current().pbs_interval * MISSED_TURNS or OLD_S
    return server.error is not None or (server.age is not None and server.age > limit)


class _BatchView:
    """What the snapshots say of some nodes."""

    def __init__(self, seen: Reading, here: Site, names: Sequence[str]) -> None:
        self._here, self._hosts = here, Hosts(names)
        self._states = {state.server: state for state in seen.servers}
        self._clusters = {here.cluster_of.get(node) for node in names}
        self._listed: set[str] = set()
        self.hits: defaultdict[str, list[BatchHit]] = defaultdict(list)
        self.unplaced: list[BatchHit] = []
        for state in HOLDING:
            for job in seen.jobs(state=state.value):
                self._place(job)
        for node in seen.nodes():
            self._list(node)
        placed = {_key(hit) for hits in self.hits.values() for hit in hits}
        self.unplaced = [job for job in self.unplaced if _key(job) not in placed]
        concerned = {self._server_of(node) for node in names} | {server for server, _ in placed}
        self.servers = [state for name, state in self._states.items() if name in concerned]

    def known(self, node: str) -> Batch:
        """What the list of batch jobs of a node is worth."""
        server = self._states.get(self._server_of(node) or "")
        if server is None:
            return Batch.KNOWN if self.hits[node] else Batch.NONE
        if server.snapshot is None:
            return Batch.UNKNOWN
        if node not in self._listed and not self.hits[node]:
            return Batch.UNLISTED
        return Batch.OLD if is_old(server) else Batch.KNOWN

    def _server_of(self, node: str) -> str | None:
        cluster = self._here.clusters.get(self._here.cluster_of.get(node) or "")
        return cluster.server if cluster else None

    def _place(self, job: ClusterJob) -> None:
        hit = BatchHit(job.id, job.owner, job.name, job.queue, job.cluster, job.server)
        for node in {node for slots in job.nodes for node in self._hosts.named(slots.host)}:
            self.hits[node].append(hit)
        if not job.nodes and (job.cluster is None or job.cluster in self._clusters):
            self.unplaced.append(hit)

    def _list(self, batch_node: ClusterNode) -> None:
        """The batch server's nodes tell of jobs, too, also of those that do not tell where they are."""
        server, cluster = batch_node.server, batch_node.cluster
        told = [BatchHit(job_id, None, "", "", cluster, server) for job_id in batch_node.jobs]
        waiting = {_key(job): job for job in self.unplaced} if told else {}
        for node in self._hosts.named(batch_node.name):
            self._listed.add(node)
            there = {_key(hit) for hit in self.hits[node]}
            self.hits[node] += [waiting.get(_key(hit), hit) for hit in told if _key(hit) not in there]


class Hosts:
    """Nodes by the names that batch servers call them: with or without a domain, in any case."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self._full: dict[str, list[str]] = {}
        self._short: dict[str, list[str]] = {}
        for node in nodes:
            self._full.setdefault(node.lower(), []).append(node)
            self._short.setdefault(short(node), []).append(node)

    def named(self, host: str) -> Sequence[str]:
        """The nodes that a host may be. When domains differ, it may be either: a job too many is no harm."""
        return self._full.get(host.lower()) or self._short.get(short(host), [])


def short(host: str) -> str:
    """A host's name without its domain, in small letters; an address as it is."""
    name = host.lower()
    return name if re.fullmatch(r"[\d.]+|.*:.*", name) else name.partition(".")[0]


def _key(hit: BatchHit) -> tuple[str, str]:
    """What two spellings of a batch job have in common: ``34`` of ``34.server``, ``39[5]`` of ``39[5].server``."""
    return hit.server, hit.id.partition(".")[0]


def _watts(names: Sequence[str], now: float) -> dict[str, Watts]:
    found = {}
    for entry in sensor_records.latest(names):
        value = watts_of(entry["readings"])
        if value is not None:
            found[entry["node"]] = Watts(value, max(0.0, now - datetime.fromisoformat(entry["time"]).timestamp()))
    return found


def watts_of(readings: Iterable[Mapping[str, Any]]) -> float | None:
    """What a node draws: its own sensor of power, else the sum of its power supplies'; None when nothing was read."""
    known = [(str(r["name"]), float(r["value"])) for r in readings if r["unit"] == "W" and r["value"] is not None]
    supplies = [value for name, value in known if _SUPPLY.search(name)]
    whole = [value for name, value in known if not _SUPPLY.search(name)]
    if whole:
        return max(whole)
    return sum(supplies) if supplies else None
