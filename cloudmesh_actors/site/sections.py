"""The sections of the site file, each read into its part of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from cloudmesh_actors.nodes import ALL
from cloudmesh_actors.secret import Secret
from cloudmesh_actors.site.fields import Fields
from cloudmesh_actors.site.model import (
    DEFAULT_MAX_AGE_S,
    BatchDialect,
    BatchDriver,
    BatchFault,
    BatchServer,
    Bmc,
    BmcDriver,
    Cluster,
    Cobbler,
    CobblerDriver,
    CobblerFault,
    Host,
    HostDriver,
    Image,
    ProvisionDriver,
    Rack,
    SimulatedFault,
)
from cloudmesh_actors.site.report import Claims

#: Every key of the site file, by section; "" is the file itself. ``docs/site-file.md`` explains each.
KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "": (
            "clusters",
            "racks",
            "bmcs",
            "batch_servers",
            "cobblers",
            "hosts",
            "provision",
            "images",
            "recipes",
        ),
        "clusters": ("nodes", "queues"),
        "clusters.queues": ("server", "names"),
        "racks": ("cluster", "units", "place"),
        "bmcs": ("address", "port", "user", "password", "driver", "cipher", "deadline", "seed", "faults"),
        "batch_servers": (
            *("host", "port", "user", "key_file", "known_hosts", "jump", "driver", "max_age"),
            *("dialect", "seed", "fault"),
        ),
        "cobblers": ("url", "user", "password", "systems", "driver", "ca_file", "deadline", "fault"),
        "hosts": ("address", "port", "user", "key_file", "known_hosts", "jump", "driver"),
        "images": ("cobbler_profile",),
    }
)

#: Cipher suites a BMC may be asked for: 3 (SHA-1) and 17 (SHA-256), IPMI 2.0 table 22-20 and its errata.
CIPHERS = (3, 17)

#: Bytes of a user's name and of a password, IPMI 2.0 §22.28 and §22.30.
MAX_IPMI_USER, MAX_IPMI_PASSWORD = 16, 20

#: Racks are at most this tall.
MAX_UNITS = 100


def read_batch_servers(section: Fields) -> Iterator[BatchServer]:
    """``batch_servers``: login hosts by name."""
    for name, fields in _entries(section, "batch_servers"):
        fields.check_own_name()
        driver: BatchDriver = fields.choice("driver", BatchDriver, "ssh")
        if driver == "ssh":
            fields.require("host", "user")
            _refuse(fields, ("dialect", "seed", "fault"), "is for the driver simulator only")
        dialect: BatchDialect = fields.choice("dialect", BatchDialect, "torque-xml")
        fault: BatchFault = fields.choice("fault", BatchFault, "away")
        yield BatchServer(
            name,
            host=fields.address("host"),
            port=fields.integer("port", 22, 1, 65_535),
            user=fields.text("user"),
            key_file=fields.file("key_file"),
            known_hosts=fields.known_hosts("known_hosts"),
            jump=fields.jump("jump"),
            driver=driver,
            max_age=fields.seconds("max_age", DEFAULT_MAX_AGE_S, zero=True),
            dialect=dialect,
            seed=fields.integer("seed", 0, 0, 2**31),
            fault=fault if "fault" in fields else None,
        )


def read_clusters(section: Fields, servers: Mapping[str, BatchServer]) -> Iterator[Cluster]:
    """``clusters``: node sets by name, with their batch queues."""
    claims = Claims(section.report, "{what} is already in {owner} (line {line})")
    for name, fields in _entries(section, "clusters"):
        fields.check_own_name()
        if name == ALL:
            section.fail(name, f"no cluster can be named {ALL!r}: @{ALL} is every node of the site")
        fields.require("nodes")
        nodes = fields.node_set("nodes")
        claims.take(dict(zip(nodes, nodes, strict=True)), fields.key("nodes"), fields.line_of("nodes"))
        queues = fields.table("queues", KEYS["clusters.queues"])
        if "queues" in fields:
            queues.require("server", "names")
        yield Cluster(name, nodes, queues.reference("server", servers, "batch server"), queues.texts("names"))


def read_racks(section: Fields, clusters: Mapping[str, Cluster]) -> Iterator[Rack]:
    """``racks``: who is in which unit. A node is in one rack, and a unit holds one node."""
    nodes_taken = Claims(section.report, "{what} is already in {owner} (line {line})")
    for name, fields in _entries(section, "racks"):
        fields.check_own_name()
        fields.require("units")
        units = fields.integer("units", 42, 1, MAX_UNITS)
        cluster = fields.reference("cluster", clusters, "cluster")
        place = dict(_read_place(fields.table("place"), units, nodes_taken))
        members = frozenset(clusters[cluster].nodes) if cluster else frozenset(place)
        strangers = [node for node in place if node not in members]
        if strangers:
            fields.fail("place", f"{strangers[0]} is not in the cluster {cluster}")
        yield Rack(name, units, MappingProxyType(place), cluster)


def _read_place(place: Fields, units: int, nodes_taken: Claims) -> Iterator[tuple[str, int]]:
    """Nodes of a range are in consecutive units, from the one given upwards."""
    units_taken = Claims(place.report, "unit {what} is already taken by {owner} (line {line})")
    for text in place:
        place.require(text)
        names = place.key_set(text, ordered=True)
        first = place.integer(text, 0, 1, units)
        if not names or not first:
            continue
        key, line = place.key(text), place.line_of(text)
        last = first + len(names) - 1
        if last > units:
            place.fail(text, f"would reach up to unit {last}, but the rack has {units}")
            continue
        nodes_taken.take(dict(zip(names, names, strict=True)), key, line)
        units_taken.take({str(unit): unit for unit in range(first, last + 1)}, key, line)
        yield from zip(names, range(first, last + 1), strict=True)


def read_bmcs(section: Fields) -> Iterator[Bmc]:
    """``bmcs``: how to reach each node's BMC. No two nodes share one."""
    nodes_taken = Claims(section.report, "{what} already has a BMC in {owner} (line {line})")
    addresses_taken = Claims(section.report, "{what} is already the BMC of {owner} (line {line})")
    for text, fields in _entries(section, "bmcs"):
        names = section.key_set(text, ordered="address" in fields)
        nodes_taken.take(dict(zip(names, names, strict=True)), fields.path, fields.line)
        bmcs = tuple(_read_bmc_set(fields, names))
        reached = {f"{bmc.address}:{bmc.port}": (bmc.address.lower(), bmc.port) for bmc in bmcs if bmc.address}
        addresses_taken.take(reached, fields.path, fields.line)
        yield from bmcs


def _read_bmc_set(fields: Fields, names: tuple[str, ...]) -> Iterator[Bmc]:
    driver: BmcDriver = fields.choice("driver", BmcDriver, "ipmi")
    user, password = fields.text("user"), fields.password("password")
    if driver == "ipmi":
        fields.require("address", "user", "password")
        _refuse(fields, ("seed", "faults"), "is for the driver simulator only")
        _check_login(fields, user, password)
    addresses = fields.paired_addresses("address", len(names)) or ("",) * len(names)
    port = fields.integer("port", 623, 1, 65_535)
    cipher = fields.integer("cipher", 0, min(CIPHERS), max(CIPHERS))
    if cipher and cipher not in CIPHERS:
        fields.fail("cipher", f"{cipher} is not one of {' and '.join(map(str, CIPHERS))}")
    deadline = fields.seconds("deadline", None)
    seed = fields.integer("seed", 0, 0, 2**31)
    faults = _read_faults(fields.table("faults"), frozenset(names))
    for node, address in zip(names, addresses, strict=True):
        yield Bmc(node, address, port, user, password, driver, cipher or None, deadline, seed, faults.get(node))


def _check_login(fields: Fields, user: str, password: Secret) -> None:
    for name, text, limit in (("user", user, MAX_IPMI_USER), ("password", password.reveal(), MAX_IPMI_PASSWORD)):
        if len(text.encode()) > limit:
            fields.fail(name, f"is longer than the {limit} bytes that IPMI has for it")


def _read_faults(faults: Fields, names: frozenset[str]) -> dict[str, SimulatedFault]:
    found: dict[str, SimulatedFault] = {}
    for text in faults:
        faults.require(text)
        fault: SimulatedFault = faults.choice(text, SimulatedFault, "silent")
        for node in faults.key_set(text):
            if node not in names:
                faults.fail(text, f"{node} is not in this set")
                break
            found[node] = fault
    return found


def read_cobblers(section: Fields) -> Iterator[Cobbler]:
    """``cobblers``: Cobbler servers by name. A node is a system of one at most."""
    claims = Claims(section.report, "{what} is already a system of {owner} (line {line})")
    for name, fields in _entries(section, "cobblers"):
        fields.check_own_name()
        driver: CobblerDriver = fields.choice("driver", CobblerDriver, "cobbler")
        if driver == "cobbler":
            fields.require("url", "user", "password")
            _refuse(fields, ("fault",), "is for the driver simulator only")
        systems = fields.node_set("systems")
        claims.take(dict(zip(systems, systems, strict=True)), fields.key("systems"), fields.line_of("systems"))
        fault: CobblerFault = fields.choice("fault", CobblerFault, "away")
        yield Cobbler(
            name,
            url=_read_url(fields),
            user=fields.text("user"),
            password=fields.password("password"),
            systems=systems,
            driver=driver,
            ca_file=fields.file("ca_file"),
            deadline=fields.seconds("deadline", None),
            fault=fault if "fault" in fields else None,
        )


def _read_url(fields: Fields) -> str:
    url = fields.text("url")
    if not url:
        return url
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        fields.fail("url", "has to be of the form http://HOST:PORT/PATH or https://...")
    elif "@" in parts.netloc:
        fields.fail("url", "must not hold a user or a password; there are keys for them")
    return url


def read_hosts(section: Fields) -> Iterator[Host]:
    """``hosts``: how to reach the nodes themselves."""
    claims = Claims(section.report, "{what} is already a host in {owner} (line {line})")
    for text, fields in _entries(section, "hosts"):
        names = section.key_set(text, ordered="address" in fields)
        claims.take(dict(zip(names, names, strict=True)), fields.path, fields.line)
        driver: HostDriver = fields.choice("driver", HostDriver, "ssh")
        if driver == "ssh":
            fields.require("address", "user")
        addresses = fields.paired_addresses("address", len(names)) or ("",) * len(names)
        port = fields.integer("port", 22, 1, 65_535)
        user, jump = fields.text("user"), fields.jump("jump")
        key_file, known_hosts = fields.file("key_file"), fields.known_hosts("known_hosts")
        for node, address in zip(names, addresses, strict=True):
            yield Host(node, address, port, user, key_file, known_hosts, jump, driver)


def read_provision(section: Fields) -> Iterator[tuple[str, ProvisionDriver]]:
    """``provision``: by which means each node is installed."""
    claims = Claims(section.report, "{what} is already provisioned by {owner} (line {line})")
    for text in section:
        section.require(text)
        names = section.key_set(text)
        claims.take(dict(zip(names, names, strict=True)), section.key(text), section.line_of(text))
        driver: ProvisionDriver = section.choice(text, ProvisionDriver, "simulator")
        yield from ((node, driver) for node in names)


def read_images(section: Fields) -> Iterator[Image]:
    """``images``: what can be installed."""
    for name, fields in _entries(section, "images"):
        fields.check_own_name()
        yield Image(name, fields.text("cobbler_profile") or None)


def _entries(section: Fields, name: str) -> Iterator[tuple[str, Fields]]:
    for key in section:
        yield key, section.table(key, KEYS[name])


def _refuse(fields: Fields, names: tuple[str, ...], message: str) -> None:
    for name in names:
        if name in fields:
            fields.fail(name, message)
