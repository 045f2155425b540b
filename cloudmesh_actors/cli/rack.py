"""``cm-actors rack``: what BMCs tell of nodes, and their power."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cloudmesh_actors.cli.common import Json, Nodes, Timeout
from cloudmesh_actors.cli.lazy import plain_app

app = plain_app(help="Sensors, temperatures, power and events of nodes, through their BMCs.", no_args_is_help=True)

#: Switching off more nodes than this wants their number typed.
ASK_ABOVE_NODES = 8


class PowerCommand(StrEnum):
    """What can be done with the power of nodes."""

    STATUS = "status"
    ON = "on"
    OFF = "off"
    CYCLE = "cycle"
    SOFT = "soft"


class Unit(StrEnum):
    """Units of temperatures."""

    C = "C"
    F = "F"


@app.command()
def sensors(
    nodes: Nodes,
    stored: Annotated[
        bool, typer.Option("--stored", help="Show the latest stored readings; the BMCs are not asked.")
    ] = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Read all sensors: temperatures, voltages, fans, currents, power."""
    from cloudmesh_actors.cli import rackstore

    if stored:
        rackstore.show_latest(nodes, as_json=as_json)
    else:
        _run("rack.read_sensors", nodes, timeout=timeout, as_json=as_json)


@app.command()
def temperature(
    nodes: Nodes,
    unit: Annotated[Unit, typer.Option(help="C or F.", case_sensitive=False)] = Unit.C,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Read every node's hottest sensor."""
    _run("rack.temperature", nodes, unit.value, timeout=timeout, as_json=as_json)


@app.command()
def events(nodes: Nodes, timeout: Timeout = None, as_json: Json = False) -> None:
    """Read the BMCs' system event logs."""
    _run("rack.events", nodes, timeout=timeout, as_json=as_json)


@app.command()
def power(  # noqa: PLR0917 - Typer's way to name options
    nodes: Nodes,
    action: Annotated[
        PowerCommand, typer.Argument(metavar="status|on|off|cycle|soft", help="soft asks the operating system.")
    ] = PowerCommand.STATUS,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before switching off many nodes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the nodes.")] = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Show the power of nodes, or switch it: on, off at once, through a cycle, or by asking their systems.

    To switch off more than 8 nodes, their number has to be typed, or --yes given.
    """
    from cloudmesh_actors.cli import guard

    if dry_run:
        guard.show(nodes, action, as_json=as_json)
    elif action is PowerCommand.STATUS:
        _run("rack.power_status", nodes, timeout=timeout, as_json=as_json)
    else:
        if action is not PowerCommand.ON and not yes:
            guard.ask(nodes, action, above=ASK_ABOVE_NODES)
        _run("rack.power", nodes, action.value, timeout=timeout, as_json=as_json)


@app.command()
def history(
    node: Annotated[str, typer.Argument(metavar="NODE", help="One node.")],
    sensor: Annotated[str, typer.Argument(metavar="SENSOR", help="A sensor's name, as `rack sensors` shows it.")],
    since: Annotated[str, typer.Option(metavar="TIME", help="From 10m, 2h, 3d ago, 13:30 or 2025-03-01T13:30.")] = "1d",
    as_json: Json = False,
) -> None:
    """Show what is stored of one sensor: a curve, and a table of as many lines as fit a screen."""
    from cloudmesh_actors.cli import rackstore

    rackstore.show_history(node, sensor, since, as_json=as_json)


def _run(actor: str, nodes: str, *args: str, timeout: float | None, as_json: bool) -> None:
    from cloudmesh_actors.cli import results, waiting

    job_id = waiting.send(actor, [nodes, *args], {})
    results.finish(results.wait_for(job_id, timeout), as_json=as_json)
