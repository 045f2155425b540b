"""``cm-actors rack``: what BMCs tell of nodes, and their power."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from cloudmesh_actors.cli.common import DryRun, Json, Nodes, Timeout, WaitLease, Yes, one_of
from cloudmesh_actors.cli.completion import POWER, power_actions
from cloudmesh_actors.cli.lazy import plain_app

app = plain_app(help="Sensors, temperatures, power and events of nodes, through their BMCs.", no_args_is_help=True)

UNITS = ("C", "F")

#: What the entry of a node has that its job never came to.
UNREAD: Mapping[str, Mapping[str, object]] = {
    "rack.read_sensors": {"time": None, "readings": []},
    "rack.temperature": {"time": None, "sensor": None, "value": None, "state": None},
    "rack.power_status": {"power": None},
    "rack.power": {"power": None, "note": None},
    "rack.events": {"events": []},
}


@app.command()
def sensors(
    nodes: Nodes,
    stored: Annotated[
        bool, typer.Option("--stored", help="Show the latest stored readings; the BMCs are not asked.")
    ] = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Read all sensors of nodes.

    Temperatures, voltages, fans, currents and power, read by a worker now; what is read is stored, too.
    """
    from cloudmesh_actors.cli import rackstore

    if stored:
        rackstore.show_latest(nodes, as_json=as_json)
    else:
        _run("rack.read_sensors", nodes, timeout=timeout, as_json=as_json)


@app.command()
def temperature(
    nodes: Nodes,
    unit: Annotated[str, typer.Option(metavar="C|F", help="Celsius or Fahrenheit.")] = "C",
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Read the hottest sensor of nodes."""
    _run("rack.temperature", nodes, one_of(unit.upper(), UNITS, "--unit"), timeout=timeout, as_json=as_json)


@app.command()
def events(nodes: Nodes, timeout: Timeout = None, as_json: Json = False) -> None:
    """Read the event logs of nodes' BMCs."""
    _run("rack.events", nodes, timeout=timeout, as_json=as_json)


@app.command()
def power(  # noqa: PLR0917 - Typer's way to name options
    nodes: Nodes,
    action: Annotated[
        str,
        typer.Argument(
            metavar="status|on|off|cycle|soft", help="soft asks the nodes' systems.", autocompletion=power_actions
        ),
    ] = "status",
    wait_lease: WaitLease = 0,
    yes: Yes = False,
    dry_run: DryRun = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Show or switch the power of nodes.

    off is at once, cycle is off and on again, soft asks the operating systems to shut down.

    What would be hit is shown first: running batch jobs, watts, leases. To switch off more than 8 nodes, their number
    has to be typed, or --yes given.
    """
    from cloudmesh_actors.cli.confirm import confirm

    one_of(action, POWER, "ACTION")
    if action == "status" and not dry_run:
        _run("rack.power_status", nodes, timeout=timeout, as_json=as_json)
        return
    confirm(f"power {action}", nodes, yes=yes, dry_run=dry_run, as_json=as_json)
    _run("rack.power", nodes, action, wait_lease=wait_lease, timeout=timeout, as_json=as_json)


@app.command()
def history(
    node: Annotated[str, typer.Argument(metavar="NODE", help="One node.")],
    sensor: Annotated[str, typer.Argument(metavar="SENSOR", help="A sensor's name, as `rack sensors` shows it.")],
    since: Annotated[str, typer.Option(metavar="TIME", help="From 10m, 2h, 3d ago, 13:30 or 2025-03-01T13:30.")] = "1d",
    as_json: Json = False,
) -> None:
    """Show the stored course of one sensor.

    As a curve, and as a table of as many lines as fit a screen; --json has every point.
    """
    from cloudmesh_actors.cli import rackstore

    rackstore.show_history(node, sensor, since, as_json=as_json)


def _run(actor: str, nodes: str, *args: str, timeout: float | None, as_json: bool, **options: object) -> None:
    from cloudmesh_actors import site
    from cloudmesh_actors.cli import results, waiting

    job_id = waiting.send(actor, [nodes, *args], {name: value for name, value in options.items() if value})
    unread = [{"node": node, **UNREAD.get(actor, {})} for node in site.current().nodes(nodes)]
    results.finish(results.wait_for(job_id, timeout), as_json=as_json, unread=unread)
