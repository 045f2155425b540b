"""``cm-actors provision``: an image put on nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudmesh_actors.cli.common import DryRun, Json, Nodes, Timeout, WaitLease, Yes, one_of
from cloudmesh_actors.cli.completion import PROVISION_DRIVERS, images, provision_drivers

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show every node until all have ended.")]


def command(  # noqa: PLR0917 - Typer's way to name options
    nodes: Nodes,
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            help="As `provisioner images` lists them: of the site, or a profile.",
            autocompletion=images,
        ),
    ],
    driver: Annotated[
        str | None,
        typer.Option(
            metavar="cobbler|ipmi|simulator",
            help="By what means; by default the site's for each node.",
            autocompletion=provision_drivers,
        ),
    ] = None,
    watch: Watch = False,
    wait_lease: WaitLease = 0,
    yes: Yes = False,
    dry_run: DryRun = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Put an image on nodes, and print the job's id.

    Each node is switched off and on again, boots its installer, and is followed until it can be used. If that fails,
    what was armed is put back, so that the node boots its own disk.

    What would be hit is shown first: running batch jobs, watts, leases. For more than 8 nodes, their number has to be
    typed, or --yes given. With --watch there is no limit of time unless --timeout sets one.
    """
    from cloudmesh_actors.cli import provisionwatch, waiting
    from cloudmesh_actors.cli.confirm import confirm

    if driver is not None:
        one_of(driver, PROVISION_DRIVERS, "--driver")
    confirm("provision", nodes, yes=yes, dry_run=dry_run, as_json=as_json)
    job_id = waiting.send("provisioner.provision", [nodes, image, driver], {"wait_lease": wait_lease})
    provisionwatch.follow_up(job_id, watch=watch, timeout=timeout, as_json=as_json)
