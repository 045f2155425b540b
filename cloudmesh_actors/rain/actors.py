"""The actors of the family rain: systems installed, powered and kept by Cobbler servers.

Results about nodes are arrays with an entry per node, `{node, ok, error, error_kind, …}`, in the order of the set;
those about Cobblers have `server` in the place of `node`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from cloudmesh_actors import fanout, jobs, leases, settings, site
from cloudmesh_actors.actor import Nodes, actor
from cloudmesh_actors.clients.cobbler.model import Cobbler
from cloudmesh_actors.errors import ArgumentError
from cloudmesh_actors.rain import stepping, systems
from cloudmesh_actors.rain.model import NodeResult, PowerAction
from cloudmesh_actors.rain.powering import Powering
from cloudmesh_actors.stagger import Groups, PowerOns


def _spelt(action: object) -> object:
    return ("on" if action else "off") if isinstance(action, bool) else action


Action = Annotated[PowerAction, BeforeValidator(_spelt)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


@actor("rain", changes_hardware=True)
def deploy_system(name: Nodes, profile: str | None = None, wait_lease: Seconds = 0) -> None:
    """Install systems: set their profile, switch netboot on, power-cycle them, follow the installation to its end.

    The job ends when every node is installed or has failed; its result has an entry per node, with `stage` and
    `profile`. Each step is a message of its own, `rain.deploy_step`, so the job may take hours. Nodes are begun with in
    groups (`CLOUDMESH_POWER_ON_GROUP`).

    Args:
        profile: a profile of their Cobbler; without one they keep theirs.
        wait_lease: seconds to wait for nodes on which another job works.
    """
    run = jobs.current()
    if not run.job_id:
        raise ArgumentError("rain.deploy_system is a chain of messages: send it to a worker, do not call it.")
    nodes = site.current().nodes(name)
    groups = Groups.current()
    delays = {node: groups.delay(position) for position, node in enumerate(nodes)}
    stepping.request(run, delays, profile, wait_lease)
    for node, delay in delays.items():
        run.then(deploy_step.message(node), key=node, delay=delay)


@actor("rain", changes_hardware=True)
def deploy_step(node: str) -> None:
    """One step of the deploy of a node. Sent by `rain.deploy_system`, and by itself until the node is installed."""
    run = jobs.current()
    wait = stepping.step(run, node)
    if wait is not None:
        run.then(deploy_step.message(node), key=node, delay=wait)


@actor("rain", changes_hardware=True)
def put_back(nodes: Nodes) -> list[NodeResult]:
    """Put back the netboot of nodes whose deploy was aborted or died, so that they do not install themselves.

    Sent by beat when there are some. An entry has `note`.
    """
    run = jobs.current()
    return _each(nodes, lambda node: {"note": stepping.put_back(run, node)}, note=None)


@actor("rain", changes_hardware=True)
def power_system(name: Nodes, action: Action = "status", wait_lease: Seconds = 0) -> list[NodeResult]:
    """Switch systems on (or True), off (or False), reboot them, or ask for their power.

    An entry is ok when the node was seen so: `power`, and `note` ("switched on", "already on"). After a crash no
    command is sent twice. Nodes are switched on in groups (`CLOUDMESH_POWER_ON_GROUP`).
    """
    if action == "status":
        return _each(name, lambda node: {"power": _converse(node, lambda it: it.power_status(node))}, power=None)
    run = jobs.current()
    ended, marks = run.outcomes(), run.marks()
    power_ons = PowerOns(run, total=len(site.current().nodes(name)))

    def switch(node: str) -> Mapping[str, Any]:
        if node in ended:
            was = ended[node]
            return {"ok": was.ok, "error": was.error, "error_kind": was.error_kind, "note": "as an earlier run left it"}
        try:
            with leases.hold(node, run=run, wait=wait_lease) as guard, stepping.connect(node) as cobbler:
                powering = Powering(
                    node, cobbler, run, check=guard.check, mark=marks.get(node),
                    seconds=settings.current().power_deadline, turn=power_ons.turn(),
                )  # fmt: skip
                return asdict(powering.carry_out(action))
        finally:
            power_ons.ended()

    return _each(name, switch, power=None, note=None)


@actor("rain", changes_hardware=True)
def add_system(
    name: Nodes,
    profile: str,
    mac: str | dict[str, str] | None = None,
    ip: str | dict[str, str] | None = None,
    power: bool = True,
) -> list[NodeResult]:
    """Make systems of nodes on their Cobbler. They are not installed before they are deployed.

    An entry has the `system` as Cobbler has it then.

    Args:
        mac, ip: of their first interface: of one node, or by node. An IP that is not given is the one in `hosts`.
        power: whether Cobbler is told of the nodes' BMCs, as the site file has them.
    """
    spec = systems.Spec(site.current(), profile, mac, ip, power)
    return _each(name, lambda node: {"system": _converse(node, lambda it: spec.add(it, node))}, system=None)


@actor("rain", changes_hardware=True)
def remove_system(name: Nodes, wait_lease: Seconds = 0) -> list[NodeResult]:
    """Have Cobbler forget systems. The nodes stay as they are."""

    def remove(node: str) -> Mapping[str, Any]:
        with leases.hold(node, wait=wait_lease) as guard, stepping.connect(node) as cobbler:
            guard.check()
            cobbler.remove_system(node)
        return {}

    return _each(name, remove)


@actor("rain")
def list_distros(cobbler: str | None = None) -> list[dict[str, Any]]:
    """The distributions of a Cobbler, of all by default: `{server, ok, distros: [{name, arch, breed, os_version}]}`."""
    return systems.each(cobbler, lambda it: {"distros": [asdict(distro) for distro in it.distros()]}, distros=[])


@actor("rain")
def list_profiles(cobbler: str | None = None) -> list[dict[str, Any]]:
    """The profiles of a Cobbler, of all by default: `{server, ok, profiles: [{name, distro, parent}]}`."""
    return systems.each(cobbler, lambda it: {"profiles": [asdict(profile) for profile in it.profiles()]}, profiles=[])


@actor("rain")
def list_systems(name: Nodes | None = None, cobbler: str | None = None) -> list[dict[str, Any]]:
    """The systems of nodes, or else the names of all systems of a Cobbler, of all Cobblers by default.

    An entry has `system: {name, profile, netboot, hostname, power_type, power_address, interfaces}`, or else
    `systems`, a list of names.
    """
    if name is not None:
        return _each(
            name,
            lambda node: {"system": _converse(node, lambda it: systems.system_as_json(it.system(node)))},
            system=None,
        )
    return systems.each(cobbler, lambda it: {"systems": it.systems()}, systems=[])


@actor("rain")
def sync(cobbler: str | None = None) -> list[dict[str, Any]]:
    """Have a Cobbler, all by default, write its boot and DHCP files anew: `{server, ok}`. A deploy does not need it."""
    return systems.each(cobbler, systems.synced)


def _each(nodes: str, work: Callable[[str], Mapping[str, Any]], **defaults: Any) -> list[NodeResult]:
    names = site.current().nodes(nodes)
    outcomes = fanout.each(names, work, width=settings.current().fanout, run=jobs.current())
    return [outcome | {name: outcome.get(name, value) for name, value in defaults.items()} for outcome in outcomes]


def _converse(node: str, ask: Callable[[Cobbler], Any]) -> Any:
    with stepping.connect(node) as cobbler:
        return ask(cobbler)
