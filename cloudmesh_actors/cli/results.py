"""What is shown of a job that was sent, and of its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from cloudmesh_actors import jobs
from cloudmesh_actors.cli import jobviews, output, rackviews, streams, waiting
from cloudmesh_actors.cli.exits import ExitCode
from cloudmesh_actors.cli.nodeviews import is_per_node, is_per_server
from cloudmesh_actors.jobs import Job, State


def follow_up(job_id: str, *, wait: bool, timeout: float | None, as_json: bool) -> None:
    """After a job was sent: print its id, or wait for it and print its result. Ends the command unless all is well."""
    if wait:
        finish(wait_for(job_id, timeout), as_json=as_json)
    elif as_json:
        output.as_json(jobviews.as_object(jobs.get(job_id)))
    else:
        streams.write(f"{job_id}\n")


def wait_for(job_id: str, timeout: float | None) -> Job:
    """Wait for a job, for the usual time by default."""
    return waiting.wait(job_id, waiting.DEFAULT_TIMEOUT_S if timeout is None else timeout)


def finish(job: Job, *, as_json: bool, unread: Sequence[Mapping[str, Any]] = ()) -> None:
    """Print the result of a job that has ended, and end the command with its exit code unless that is 0.

    `unread` are the entries that stand for nodes of which nothing is known, after a job that did not end well.
    """
    result = job.result if job.state is State.DONE else partial(job, unread)
    if as_json:
        output.as_json(result)
    else:
        show(job.actor, result)
    code = waiting.code_of(job)
    if code is not ExitCode.OK:
        raise typer.Exit(code)


def partial(job: Job, unread: Sequence[Mapping[str, Any]] = ()) -> list[Mapping[str, Any]] | None:
    """What is known of the nodes of a job that did not end well; None when that is nothing."""
    known = {outcome.node: jobviews.outcome_object(outcome) for outcome in jobs.node_outcomes(job.id)}
    why = {"ok": False, "error": job.error, "error_kind": "job"}
    rest = [{**entry, **why} for entry in unread if entry["node"] not in known]
    blank = {entry["node"]: entry for entry in unread}
    return [*({**blank.get(node, {}), **outcome} for node, outcome in known.items()), *rest] or None


def show(actor: str, result: Any) -> None:
    """Print a result for people: a table for what we know, JSON for the rest."""
    if actor.startswith("rain.") and result:
        from cloudmesh_actors.cli import rainviews

        output.show(*rainviews.VIEWS.get(actor, rackviews.outcomes)(result))
    elif is_per_node(result):
        output.show(*rackviews.view(actor, result))
    elif is_per_server(result):
        from cloudmesh_actors.cli import pbsviews

        output.show(*pbsviews.results(result))
    elif result is not None:
        output.as_json(result)
