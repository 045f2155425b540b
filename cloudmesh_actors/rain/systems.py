"""Cobblers of the site, one by one; and what a new system is told from the site file."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cloudmesh_actors import jobs, logs, site
from cloudmesh_actors.clients.cobbler.client import connect
from cloudmesh_actors.clients.cobbler.model import Cobbler, CobblerSystem, Interface, PowerAccess
from cloudmesh_actors.errors import ArgumentError, NodeError
from cloudmesh_actors.site import Bmc, Site

#: The interface that is made, and the fence agent of BMCs that speak IPMI 2.0.
INTERFACE, IPMI = "eth0", "ipmilanplus"

log = logs.get_logger()

PerNode = str | Mapping[str, str] | None


def each(cobbler: str | None, ask: Callable[[Cobbler], Mapping[str, Any]], **defaults: Any) -> list[dict[str, Any]]:
    """What one Cobbler answers, or every one of the site: `{server, ok, error, error_kind, …}`.

    Raises:
        ArgumentError: the site has no such Cobbler, or none at all.
    """
    known = site.current().cobblers
    if cobbler is not None and cobbler not in known:
        raise ArgumentError(f"The site has no Cobbler {cobbler!r}; it has {', '.join(known) or 'none'}.")
    if not known:
        raise ArgumentError("The site has no Cobbler; the section `cobblers` of the site file has them.")
    run = jobs.current()
    results = []
    for name in known if cobbler is None else (cobbler,):
        run.checkpoint()
        results.append({**defaults, **_asked(known[name], ask)})
        run.progress(len(results), len(known) if cobbler is None else 1, name)
    return results


def synced(cobbler: Cobbler) -> dict[str, Any]:
    """Have one Cobbler write its files."""
    cobbler.sync()
    return {}


def _asked(target: site.Cobbler, ask: Callable[[Cobbler], Mapping[str, Any]]) -> dict[str, Any]:
    entry = {"server": target.name, "ok": True, "error": None, "error_kind": None}
    try:
        with connect(target) as cobbler:
            return {**entry, **ask(cobbler)}
    except NodeError as error:
        log.warning("cobbler.failed", cobbler=target.name, kind=error.kind, error=str(error))
        return {**entry, "ok": False, "error": str(error), "error_kind": error.kind}


@dataclass(frozen=True, slots=True)
class Spec:
    """What new systems are to be; see `rain.add_system`."""

    inventory: Site
    profile: str
    mac: PerNode
    ip: PerNode
    power: bool

    def add(self, cobbler: Cobbler, node: str) -> dict[str, Any]:
        """Make the node's system; returns it as Cobbler has it then."""
        interface = Interface(INTERFACE, _of(self.mac, node), _of(self.ip, node) or self._known_ip(node))
        bmc = self.inventory.bmcs.get(node) if self.power else None
        interfaces = [interface] if interface.mac or interface.ip else []
        cobbler.add_system(node, self.profile, interfaces=interfaces, power=access(bmc), hostname=node)
        return system_as_json(cobbler.system(node))

    def _known_ip(self, node: str) -> str:
        host = self.inventory.hosts.get(node)
        return host.address if host is not None and _is_ip(host.address) else ""


def system_as_json(system: CobblerSystem) -> dict[str, Any]:
    """`{name, profile, netboot, hostname, power_type, power_address, interfaces: [{name, mac, ip}]}`."""
    return {**asdict(system), "interfaces": [asdict(interface) for interface in system.interfaces]}


def access(bmc: Bmc | None) -> PowerAccess | None:
    """How Cobbler reaches a BMC of the site; None for one that is simulated."""
    if bmc is None or bmc.driver != "ipmi":
        return None
    options = [f"ipport={bmc.port}", *([f"cipher={bmc.cipher}"] if bmc.cipher is not None else [])]
    return PowerAccess(IPMI, bmc.address, bmc.user, bmc.password, tuple(options))


def _of(given: PerNode, node: str) -> str:
    if given is None or isinstance(given, str):
        return given or ""
    return given.get(node, "")


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
