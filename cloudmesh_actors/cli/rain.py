"""``cm-actors rain``: systems installed, powered and kept by Cobbler servers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cloudmesh_actors.cli.common import DryRun, Json, Nodes, Timeout, WaitLease, Yes, one_of
from cloudmesh_actors.cli.completion import RAIN_LISTS, RAIN_POWER, profiles, rain_lists, rain_power
from cloudmesh_actors.cli.lazy import plain_app

app = plain_app(help="Nodes installed and powered by Cobbler servers.", no_args_is_help=True)

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Wait until it has ended, and tell each node's stages.")]
CobblerName = Annotated[str | None, typer.Option("--cobbler", metavar="NAME", help="Only this Cobbler.")]
Profile = Annotated[
    str | None, typer.Argument(metavar="PROFILE", help="By default they keep theirs.", autocompletion=profiles)
]


@app.command()
def deploy(  # noqa: PLR0917 - Typer's way to name options
    nodes: Nodes,
    profile: Profile = None,
    watch: Watch = False,
    wait_lease: WaitLease = 0,
    yes: Yes = False,
    dry_run: DryRun = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Install nodes, and print the job's id.

    Their profile is set, netboot switched on, they are switched off and on again, and their installation is followed to
    its end. If it fails, netboot is switched off.

    What would be hit is shown first: running batch jobs, watts, leases. For more than 8 nodes, their number has to be
    typed, or --yes given. With --watch there is no limit of time unless --timeout sets one.
    """
    from cloudmesh_actors.cli import rainviews, results, waiting
    from cloudmesh_actors.cli.confirm import confirm

    confirm("deploy", nodes, yes=yes, dry_run=dry_run, as_json=as_json)
    job_id = waiting.send("rain.deploy_system", [nodes, profile], {"wait_lease": wait_lease})
    if not watch:
        results.follow_up(job_id, wait=False, timeout=None, as_json=as_json)
        return
    job = waiting.wait(job_id, timeout or 0.0, waiting.Watcher(rainviews.StageLines()))
    results.finish(job, as_json=as_json, unread=_unread(nodes, stage=None, profile=profile))


@app.command()
def power(  # noqa: PLR0917 - Typer's way to name options
    nodes: Nodes,
    action: Annotated[
        str, typer.Argument(metavar="status|on|off|reboot", help="off is at once.", autocompletion=rain_power)
    ] = "status",
    wait_lease: WaitLease = 0,
    yes: Yes = False,
    dry_run: DryRun = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Show or switch the power of nodes, through Cobbler.

    reboot is off, seen off, on, seen on.

    What would be hit is shown first: running batch jobs, watts, leases. To switch off more than 8 nodes, their number
    has to be typed, or --yes given.
    """
    from cloudmesh_actors.cli.confirm import confirm

    one_of(action, RAIN_POWER, "ACTION")
    if action != "status" or dry_run:
        confirm(f"power {action}", nodes, yes=yes, dry_run=dry_run, as_json=as_json)
    unread = _unread(nodes, power=None, note=None)
    _run("rain.power_system", [nodes, action], {"wait_lease": wait_lease}, timeout, as_json=as_json, unread=unread)


@app.command()
def add(  # noqa: PLR0917 - Typer's way to name options
    nodes: Nodes,
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="What to install.", autocompletion=profiles)],
    mac: Annotated[
        list[str] | None, typer.Option(metavar="[NODE=]MAC", help="The node's MAC address; once for each node.")
    ] = None,
    ip: Annotated[
        list[str] | None, typer.Option(metavar="[NODE=]IP", help="Its IP address; by default the one in `hosts`.")
    ] = None,
    power: Annotated[bool, typer.Option(help="Whether Cobbler is told of the nodes' BMCs.")] = True,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Have a Cobbler know nodes as systems; it is told of their BMCs, as the site file has them."""
    macs, ips = _per_node(mac, "--mac"), _per_node(ip, "--ip")
    unread = _unread(nodes, system=None)
    _run("rain.add_system", [nodes, profile, macs, ips, power], {}, timeout, as_json=as_json, unread=unread)


@app.command()
def remove(  # noqa: PLR0917
    nodes: Nodes,
    wait_lease: WaitLease = 0,
    yes: Yes = False,
    dry_run: DryRun = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Have a Cobbler forget systems; the nodes stay as they are."""
    from cloudmesh_actors.cli.confirm import confirm

    confirm("remove from Cobbler", nodes, yes=yes, dry_run=dry_run, as_json=as_json)
    unread = _unread(nodes)
    _run("rain.remove_system", [nodes], {"wait_lease": wait_lease}, timeout, as_json=as_json, unread=unread)


@app.command("list")
def list_command(
    what: Annotated[
        str, typer.Argument(metavar="systems|profiles|distros", help="What to list.", autocompletion=rain_lists)
    ] = "systems",
    nodes: Annotated[
        str | None, typer.Argument(metavar="NODES", help="Of systems: these, with all that Cobbler knows.")
    ] = None,
    cobbler: CobblerName = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """List what Cobblers have."""
    one_of(what, RAIN_LISTS, "WHAT")
    if nodes is not None and what != "systems":
        raise typer.BadParameter("nodes are for `list systems` only", param_hint="NODES")
    args = [nodes, cobbler] if what == "systems" else [cobbler]
    _run(f"rain.list_{what}", args, {}, timeout, as_json=as_json)


@app.command()
def sync(cobbler: CobblerName = None, timeout: Timeout = None, as_json: Json = False) -> None:
    """Have Cobblers write all boot and DHCP files anew; a deploy does not need it."""
    _run("rain.sync", [cobbler], {}, timeout, as_json=as_json)


def _run(
    actor: str,
    args: list[Any],
    kwargs: dict[str, Any],
    timeout: float | None,
    *,
    as_json: bool,
    unread: list[dict[str, Any]] | None = None,
) -> None:
    from cloudmesh_actors.cli import results, waiting

    job_id = waiting.send(actor, args, kwargs)
    results.finish(results.wait_for(job_id, timeout), as_json=as_json, unread=unread or [])


def _unread(nodes: str, **blank: object) -> list[dict[str, Any]]:
    """What stands for nodes that the job never came to."""
    from cloudmesh_actors import site

    return [{"node": node, **blank} for node in site.current().nodes(nodes)]


def _per_node(words: list[str] | None, option: str) -> str | dict[str, str] | None:
    """One address, or `NODE=ADDRESS` for each node."""
    if not words:
        return None
    if len(words) == 1 and "=" not in words[0]:
        return words[0]
    pairs = [word.partition("=") for word in words]
    if not all(node and address for node, _, address in pairs):
        raise typer.BadParameter("with several nodes it is NODE=ADDRESS, once for each", param_hint=option)
    return {node: address for node, _, address in pairs}
