"""``cm-actors provisioner``: how far nodes are, how they came there, and what can be installed."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudmesh_actors.cli.common import Json, Nodes, Timeout
from cloudmesh_actors.cli.lazy import plain_app

app = plain_app(help="How far the provisioning of nodes is; its history; images.", no_args_is_help=True)

AnyNodes = Annotated[
    str | None, typer.Argument(metavar="[NODES]", help="A node set; without it, all that were ever provisioned.")
]


@app.command()
def status(nodes: AnyNodes = None, as_json: Json = False) -> None:
    """Show the state of nodes, as the store has it."""
    from cloudmesh_actors.cli import provisionstore

    provisionstore.show_status(nodes, as_json=as_json)


@app.command()
def history(nodes: Nodes, as_json: Json = False) -> None:
    """Show how nodes came to their state: when, by what event, and why."""
    from cloudmesh_actors.cli import provisionstore

    provisionstore.show_history(nodes, as_json=as_json)


@app.command()
def abort(nodes: Nodes, as_json: Json = False) -> None:
    """Have the provisionings of nodes stop.

    Each ends in ERROR at its next look, within two minutes; what was armed is put back first. Of a job, only these
    nodes are stopped.
    """
    from cloudmesh_actors.cli import provisionstore

    provisionstore.abort(nodes, as_json=as_json)


@app.command("images")
def images_command(timeout: Timeout = None, as_json: Json = False) -> None:
    """List what can be installed: the images of the site file, and the profiles of its Cobblers."""
    from cloudmesh_actors.cli import provisionstore, results, waiting

    job = results.wait_for(waiting.send("provisioner.images", [], {}), timeout)
    provisionstore.show_images(job, as_json=as_json)
