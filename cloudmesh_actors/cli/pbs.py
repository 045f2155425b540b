"""``cm-actors pbs``: batch jobs, queues, nodes and users of the site's batch servers."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudmesh_actors.cli.common import Json, Timeout
from cloudmesh_actors.cli.completion import clusters
from cloudmesh_actors.cli.lazy import plain_app

app = plain_app(help="Batch jobs, queues, nodes and users of the site's batch servers.", no_args_is_help=True)

Cluster = Annotated[
    str | None,
    typer.Argument(metavar="[CLUSTER]", help="Only this cluster; all without.", autocompletion=clusters),
]
Refresh = Annotated[
    bool, typer.Option("--refresh", "-r", help="Have a worker ask the batch servers first, if that was not just done.")
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it again every few seconds, until Ctrl-C.")]


@app.command()
def jobs(  # noqa: PLR0917 - Typer's way to name options
    cluster: Cluster = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Only this user's.")] = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only in this state: running, queued, held, …, or its letter.")
    ] = None,
    queue: Annotated[str | None, typer.Option(metavar="QUEUE", help="Only in this batch queue.")] = None,
    refresh: Refresh = False,
    watch: Watch = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """List batch jobs.

    A job's nodes are those it runs on, or how many it waits for.
    """
    from cloudmesh_actors.cli import pbsstore, pbsviews

    view = pbsstore.View("pbs.qstat", cluster, lambda seen: seen.jobs(user, state, queue), pbsviews.jobs)
    pbsstore.run(view, refresh=refresh, watch=watch, timeout=timeout, as_json=as_json)


@app.command()
def queues(
    cluster: Cluster = None,
    refresh: Refresh = False,
    watch: Watch = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """List batch queues with their jobs."""
    from cloudmesh_actors.cli import pbsstore, pbsviews

    view = pbsstore.View("pbs.qinfo", cluster, lambda seen: seen.queues(), pbsviews.queues)
    pbsstore.run(view, refresh=refresh, watch=watch, timeout=timeout, as_json=as_json)


@app.command()
def nodes(
    cluster: Cluster = None,
    refresh: Refresh = False,
    watch: Watch = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """List batch nodes; those that are alike are one line."""
    from cloudmesh_actors.cli import pbsstore, pbsviews

    view = pbsstore.View("pbs.pbsnodes", cluster, lambda seen: seen.nodes(), pbsviews.nodes)
    pbsstore.run(view, refresh=refresh, watch=watch, timeout=timeout, as_json=as_json)


@app.command()
def users(
    cluster: Cluster = None,
    refresh: Refresh = False,
    watch: Watch = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """List users with their batch jobs, and the processors and nodes that these hold."""
    from cloudmesh_actors.cli import pbsstore, pbsviews

    view = pbsstore.View("pbs.qstat", cluster, lambda seen: seen.users(), pbsviews.users)
    pbsstore.run(view, refresh=refresh, watch=watch, timeout=timeout, as_json=as_json)


@app.command("refresh")
def refresh_command(
    servers: Annotated[
        list[str] | None, typer.Argument(metavar="[SERVER]...", help="Batch servers; all without.")
    ] = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Take a snapshot of batch servers, if that was not just done."""
    from cloudmesh_actors.cli import results, waiting

    job_id = waiting.send("pbs.refresh", [servers] if servers else [], {})
    results.finish(results.wait_for(job_id, timeout), as_json=as_json)
