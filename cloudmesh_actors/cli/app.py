"""The commands of `cm-actors`, and what is common to all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cloudmesh_actors.cli.lazy import Command, LazyGroup

COMMANDS = {
    "send": Command("send", "command", "Send a job to the queue of its family."),
    "jobs": Command("jobs", "jobs_command", "List the latest jobs."),
    "job": Command("jobs", "job_command", "Show everything about one job."),
    "abort": Command("jobs", "abort_command", "Stop a job, at once or at its next safe point."),
    "retry": Command("jobs", "retry_command", "Send an ended job again, as a new one."),
    "queues": Command("queues", "app", "Show how the queues are; pause them; see what was set aside."),
    "leases": Command("leases", "command", "Show which job works on which node."),
    "workers": Command("workers", "command", "Show the workers."),
    "logs": Command("logs", "command", "Show the workers' logs."),
    "rack": Command("rack", "app", "Sensors, power and events of nodes, through their BMCs."),
    "rain": Command("rain", "app", "Nodes installed and powered by Cobbler servers."),
    "provision": Command("provision", "command", "Put an image on nodes."),
    "provisioner": Command("provisioner", "app", "How far the provisioning of nodes is; its history; images."),
    "pbs": Command("pbs", "app", "Batch jobs, queues, nodes and users of batch servers."),
    "launch": Command("launch", "command", "Launch a recipe on servers."),
    "launcher": Command("launcher", "app", "Recipes, and what became of their launches."),
    "site": Command("site", "app", "Check the site file; expand and fold node sets."),
    "store": Command("store", "app", "Look after the store."),
}


class Root(LazyGroup):
    """`cm-actors` itself."""

    table = COMMANDS


@dataclass
class Options:
    """The options before the command."""

    debug: bool = False


options = Options()

app = typer.Typer(cls=Root, rich_markup_mode=None, no_args_is_help=True)


def command() -> Any:
    """`cm-actors` as a command that can be run."""
    return typer.main.get_command(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cm-actors {version('cloudmesh_actors')}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and log everything to stderr.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Run a cluster from a message queue.

    Every command takes --json. Settings are environment variables that begin with CLOUDMESH_.
    """
    del version
    options.debug = debug
    if debug:
        from cloudmesh_actors import logs

        logs.configure(level="debug")
