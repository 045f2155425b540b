"""The inventory as frozen values. `Site` answers which nodes a set names and where a node belongs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from cloudmesh_actors.errors import UnknownNode
from cloudmesh_actors.nodes import ALL, Groups, expand, fold, near_node
from cloudmesh_actors.secret import Secret

BmcDriver = Literal["ipmi", "simulator"]
BatchDriver = Literal["ssh", "simulator"]
CobblerDriver = Literal["cobbler", "simulator"]
HostDriver = Literal["ssh", "local", "simulator"]
ProvisionDriver = Literal["cobbler", "ipmi", "simulator"]

#: What a simulated BMC can be told to suffer from.
SimulatedFault = Literal["silent", "wrong-password", "no-reading", "hot", "sessions-exhausted", "slow"]

#: What a simulated batch server prints like, and what it can be told to suffer from.
BatchDialect = Literal["torque-xml", "torque-text", "openpbs-json", "openpbs-text", "slurm"]
BatchFault = Literal["away", "slow", "truncated", "garbage", "denied", "empty"]

#: What a simulated Cobbler can be told to suffer from.
CobblerFault = Literal[
    "away", "slow", "denied", "power-fails", "power-stuck", "install-never-starts", "install-never-ends"
]


#: Where OpenSSH keeps the host keys that its user trusts.
DEFAULT_KNOWN_HOSTS = Path(os.path.expanduser("~/.ssh/known_hosts"))  # noqa: PTH111

#: How long a batch server's state is good enough, unless the site file says otherwise.
DEFAULT_MAX_AGE_S = 30.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A named group of nodes, and the batch queues it serves on the batch server `server`."""

    name: str
    nodes: tuple[str, ...]
    server: str | None = None
    queues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rack:
    """A rack of `units` units, counted from 1 at the bottom; `place` says which unit a node is in."""

    name: str
    units: int
    place: Mapping[str, int]
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is: a rack's name, and the unit in it, from 1."""

    rack: str
    unit: int


@dataclass(frozen=True, slots=True)
class Bmc:
    """How to talk to a node's BMC.

    `cipher` is the IPMI 2.0 cipher suite (None: the client's choice), `deadline` the seconds one conversation may
    take (None: the setting's). `seed` and `fault` are a simulated BMC's.
    """

    node: str
    address: str
    port: int = 623
    user: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    driver: BmcDriver = "ipmi"
    cipher: int | None = None
    deadline: float | None = None
    seed: int = 0
    fault: SimulatedFault | None = None


@dataclass(frozen=True, slots=True)
class BatchServer:
    """The login host of a PBS server. `max_age` is how old its state may be before it is asked again, in seconds.

    `dialect`, `seed` and `fault` are a simulated server's.
    """

    name: str
    host: str
    port: int = 22
    user: str = ""
    key_file: Path | None = None
    known_hosts: Path = DEFAULT_KNOWN_HOSTS
    jump: str | None = None
    driver: BatchDriver = "ssh"
    max_age: float = DEFAULT_MAX_AGE_S
    dialect: BatchDialect = "torque-xml"
    seed: int = 0
    fault: BatchFault | None = None


@dataclass(frozen=True, slots=True)
class Cobbler:
    """A Cobbler server's XML-RPC interface, and the nodes that it installs.

    `ca_file` holds the authorities that sign its certificate (None: the system's), `deadline` the seconds one answer
    may take (None: the setting's). `fault` is a simulated Cobbler's.
    """

    name: str
    url: str
    user: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    systems: tuple[str, ...] = ()
    driver: CobblerDriver = "cobbler"
    ca_file: Path | None = None
    deadline: float | None = None
    fault: CobblerFault | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """How to reach a node itself."""

    node: str
    address: str
    port: int = 22
    user: str = ""
    key_file: Path | None = None
    known_hosts: Path = DEFAULT_KNOWN_HOSTS
    jump: str | None = None
    driver: HostDriver = "ssh"


@dataclass(frozen=True, slots=True)
class Image:
    """What can be installed on a node, and what the drivers call it."""

    name: str
    cobbler_profile: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file that the site was read from, as it was then."""

    path: Path
    identity: tuple[int, int, int]

    def is_unchanged(self) -> bool:
        """Whether the file is still the one that was read."""
        try:
            return identify(self.path) == self.identity
        except OSError:
            return False


def identify(path: Path) -> tuple[int, int, int]:
    """Inode, time of change and size: what differs when a file was edited or replaced. Raises OSError."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


@dataclass(frozen=True)
class Site:
    """The inventory of one site. `source` is its file, None for the built-in simulated site."""

    clusters: Mapping[str, Cluster]
    racks: Mapping[str, Rack]
    bmcs: Mapping[str, Bmc]
    batch_servers: Mapping[str, BatchServer]
    cobblers: Mapping[str, Cobbler]
    hosts: Mapping[str, Host]
    provision: Mapping[str, ProvisionDriver]
    images: Mapping[str, Image]
    recipes: Path | None = None
    source: Path | None = None
    sources: tuple[Source, ...] = ()

    def nodes(self, text: str) -> tuple[str, ...]:
        """The nodes of a set, sorted.

        Raises NodeSetError for a text that is no set; UnknownNode for nodes, clusters or racks that the site has not,
        and for a set that has no nodes at all, such as ``i001!i001``.
        """
        names = expand(text, self.groups)
        if not names:
            raise UnknownNode(f"no node of the site is in {text.strip()!r}")
        strangers = [name for name in names if name not in self.cluster_of]
        if strangers:
            raise self._unknown(strangers)
        return names

    def bmc(self, node: str) -> Bmc:
        """The node's BMC. Raises UnknownNode when the site has none for it."""
        if node in self.bmcs:
            return self.bmcs[node]
        raise UnknownNode(f"the site has no BMC for {node}") if node in self.cluster_of else self._unknown([node])

    @property
    def all_nodes(self) -> tuple[str, ...]:
        """Every node of the site: those of clusters, and those that only have a BMC or a host."""
        return self.groups.members(ALL)

    @cached_property
    def cluster_of(self) -> Mapping[str, str | None]:
        """Every node's cluster, None for a node that is in none."""
        outside = dict.fromkeys((*self.bmcs, *self.hosts))
        inside = {node: cluster.name for cluster in self.clusters.values() for node in cluster.nodes}
        return MappingProxyType(outside | inside)

    @cached_property
    def place_of(self) -> Mapping[str, Place]:
        """The rack and unit of every node that is in a rack."""
        places = ((node, Place(rack.name, unit)) for rack in self.racks.values() for node, unit in rack.place.items())
        return MappingProxyType(dict(places))

    @cached_property
    def cobbler_of(self) -> Mapping[str, str]:
        """The Cobbler of every node that has one."""
        return MappingProxyType({node: name for name, cobbler in self.cobblers.items() for node in cobbler.systems})

    @cached_property
    def groups(self) -> Groups:
        """``@india`` for each cluster, ``@rack:r1`` for each rack, ``@rack:*``, and ``@all``."""
        return Groups(dict(self._groups()))

    def _groups(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        yield ALL, tuple(self.cluster_of)
        yield "rack:*", tuple(self.place_of)
        for cluster in self.clusters.values():
            yield cluster.name, cluster.nodes
        for rack in self.racks.values():
            yield f"rack:{rack.name}", tuple(rack.place)

    def _unknown(self, strangers: list[str]) -> UnknownNode:
        if len(strangers) > 1:
            return UnknownNode(f"{fold(strangers)} are not in the site")
        return UnknownNode(f"{strangers[0]} is not in the site{near_node(strangers[0], self.all_nodes)}")
