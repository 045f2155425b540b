"""``cm-actors leases``: which job works on which node."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cloudmesh_actors.cli.common import Json


def command(
    nodes: Annotated[str | None, typer.Argument(metavar="[NODES]", help="Only of these; all by default.")] = None,
    release: Annotated[
        bool, typer.Option("--release", help="End these leases, of jobs that are known to be dead. Needs --yes.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="It is meant.")] = False,
    as_json: Json = False,
) -> None:
    """Show which job works on which node.

    A lease ends with its job, so that `abort` is the way to free a node. --release is for a job whose worker is dead
    for certain, and whose end nobody wants to wait for: what it has begun on the node may be half done.
    """
    from cloudmesh_actors import leases, site
    from cloudmesh_actors.cli import output

    names = None if nodes is None else site.current().nodes(nodes)
    held, now = leases.seen(names)
    if release:
        _release(held, asked=names is not None, yes=yes, as_json=as_json)
    elif as_json:
        output.as_json([_as_object(lease, now) for lease in held])
    else:
        _show(held, now)


def _release(held: list[Any], *, asked: bool, yes: bool, as_json: bool) -> None:
    from cloudmesh_actors import leases
    from cloudmesh_actors.cli import output, streams
    from cloudmesh_actors.nodes import fold

    if not asked:
        raise typer.BadParameter("say of which nodes", param_hint="--release")
    if held and not yes:
        jobs = ", ".join(sorted({f"{lease.job_id[:8]} ({lease.actor})" for lease in held}))
        raise typer.BadParameter(
            f"{jobs} may still work on {fold(lease.node for lease in held)}; `cm-actors abort` stops it. Add --yes if "
            "its worker is dead for certain.",
            param_hint="--release",
        )
    released = leases.release_by_force(lease.node for lease in held)
    if as_json:
        output.as_json(released)
    else:
        streams.say(f"Released: {fold(released)}." if released else "Nobody held these.")


def _show(held: list[Any], now: float) -> None:
    from cloudmesh_actors.cli import output, streams

    if not held:
        streams.say("Nobody holds a lease.")
        return
    table = output.table("node", "job", "actor", "held for", "expires in", "fence", right=("fence",))
    for lease in held:
        spans = (output.duration(now - lease.taken_at), output.duration(lease.expires_at - now))
        cells = (lease.job_id[:8], lease.actor, *spans, lease.fence)
        table.add_row(output.text(lease.node, "bold"), *(output.text(cell) for cell in cells))
    output.show(table)


def _as_object(lease: Any, now: float) -> dict[str, Any]:
    from cloudmesh_actors.cli import output

    times = {name: output.iso(datetime.fromtimestamp(getattr(lease, name), UTC)) for name in ("taken_at", "expires_at")}
    spans = {"age": round(now - lease.taken_at, 3), "expires_in": round(lease.expires_at - now, 3)}
    return {**asdict(lease), **times, **spans}
