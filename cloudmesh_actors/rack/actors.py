"""The actors of the family rack: sensors, temperatures, power and event logs of nodes, through their BMCs.

Every result is an array with an entry per node, `{node, ok, error, error_kind, …}`, in the order of the set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

from cloudmesh_actors import fanout, jobs, leases, settings, site
from cloudmesh_actors.actor import Nodes, actor
from cloudmesh_actors.clients.ipmi.model import BmcClient
from cloudmesh_actors.errors import LeaseHeld
from cloudmesh_actors.leases import WaitLease
from cloudmesh_actors.rack import records, sensors
from cloudmesh_actors.rack.model import NodeResult, PowerAction, TemperatureUnit
from cloudmesh_actors.rack.powering import Powering
from cloudmesh_actors.stagger import PowerOns, Turn
from cloudmesh_actors.times import iso

T = TypeVar("T")


@actor("rack")
def read_sensors(nodes: Nodes) -> list[NodeResult]:
    """Read all sensors of every node and keep them.

    An entry has `time` and `readings: [{name, kind, value, unit, state, thresholds}]`, empty after an error.
    """
    began = datetime.now(UTC)
    results = _each(nodes, lambda node: {"readings": _converse(node, _read)}, readings=[], time=iso(began))
    records.remember(results, began)
    return results


@actor("rack")
def temperature(nodes: Nodes, unit: TemperatureUnit = "C") -> list[NodeResult]:
    """Read every node's hottest sensor: `sensor`, `value` in `unit`, `state`. What was read is kept, too."""
    return [sensors.hottest_entry(result, unit) for result in read_sensors.fn(nodes)]


@actor("rack")
def power_status(nodes: Nodes) -> list[NodeResult]:
    """Whether every node is powered: `power` is "on", "off", or null after an error."""
    return _each(nodes, lambda node: {"power": _converse(node, lambda bmc: bmc.power_status())}, power=None)


@actor("rack", changes_hardware=True)
def power(nodes: Nodes, action: PowerAction, wait_lease: WaitLease = 0) -> list[NodeResult]:
    """Switch nodes on or off, through a cycle, or ask their operating systems to shut down (`soft`).

    An entry is ok when the node was seen in that state: `power`, and `note` ("switched on", "already on"). After a
    crash no command is sent twice. A node that another job works on is refused (`lease_held`), if that job does not
    give it back within `wait_lease` seconds.
    """
    run = jobs.current()
    ended, marks = run.outcomes(), run.marks()
    power_ons = PowerOns(run, total=len(site.current().nodes(nodes)))

    def switch(node: str) -> Mapping[str, Any]:
        if node in ended:
            return {"ok": ended[node].ok, "error": ended[node].error, "error_kind": ended[node].error_kind,
                    "note": "as an earlier run left it"}  # fmt: skip
        try:
            return _switch(node, action, marks.get(node), wait_lease, power_ons.turn())
        finally:
            power_ons.ended()

    return _each(nodes, switch, power=None, note=None)


@actor("rack")
def events(nodes: Nodes) -> list[NodeResult]:
    """Read every node's system event log: `events: [{id, time, sensor, text, severity, asserted, raw}]`."""
    return _each(nodes, lambda node: {"events": _converse(node, _read_log)}, events=[])


def _each(nodes: str, work: Callable[[str], Mapping[str, Any]], **defaults: Any) -> list[NodeResult]:
    names = site.current().nodes(nodes)
    outcomes = fanout.each(names, work, width=settings.current().fanout, run=jobs.current())
    return [outcome | {name: outcome.get(name, value) for name, value in defaults.items()} for outcome in outcomes]


def _converse(node: str, ask: Callable[[BmcClient], T]) -> T:
    with _connect(node) as bmc:
        return ask(bmc)


def _connect(node: str) -> BmcClient:
    from cloudmesh_actors.clients.ipmi.client import connect

    return connect(site.current().bmc(node))


def _read(bmc: BmcClient) -> list[dict[str, Any]]:
    return [sensors.reading_as_json(reading) for reading in bmc.sensors()]


def _read_log(bmc: BmcClient) -> list[dict[str, Any]]:
    return [asdict(event) | {"time": event.time and iso(event.time)} for event in bmc.events()]


def _switch(node: str, action: PowerAction, mark: str | None, wait_lease: float, turn: Turn) -> dict[str, Any]:
    try:
        with leases.hold(node, wait=wait_lease) as guard:
            powering = Powering(
                node, action, lambda: _connect(node), jobs.current(), mark=mark,
                seconds=settings.current().power_deadline, may_send=guard.check, turn=turn,
            )  # fmt: skip
            return asdict(powering.carry_out())
    except LeaseHeld as error:
        if mark is None:
            raise
        raise LeaseHeld(f"{error} An earlier run of this job got as far as {mark!r}; look at the node.") from error
