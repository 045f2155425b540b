"""``cm-actors jobs``, ``job``, ``abort`` and ``retry``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cloudmesh_actors.cli.common import JobId, Json, Timeout, one_of
from cloudmesh_actors.cli.completion import actors, queues, states
from cloudmesh_actors.families import FAMILIES

if TYPE_CHECKING:
    from cloudmesh_actors.jobs import State


def jobs_command(
    state: Annotated[
        str, typer.Option(metavar="STATE", help="Only queued, running, done, failed or aborted.", autocompletion=states)
    ] = "",
    actor: Annotated[str, typer.Option(metavar="FAMILY.ACTOR", help="Only this actor.", autocompletion=actors)] = "",
    queue: Annotated[str, typer.Option(metavar="QUEUE", help="Only this queue.", autocompletion=queues)] = "",
    number: Annotated[int, typer.Option("-n", min=1, max=100_000, metavar="N", help="So many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List the latest jobs, newest first."""
    from cloudmesh_actors import jobs
    from cloudmesh_actors.cli import jobviews, output, streams

    wanted_state, wanted_actor = _state(state), _actor(actor)
    found = jobs.latest(number, state=wanted_state, actor=wanted_actor, queue=_queue(queue))
    counts = jobs.node_counts([job.id for job in found])
    if as_json:
        output.as_json([{**jobviews.as_object(job), "nodes": jobviews.counts_object(counts, job)} for job in found])
    elif found:
        output.show(jobviews.listing(found, counts, datetime.now(UTC)))
    else:
        streams.say("There are no such jobs." if state or actor or queue else "There are no jobs yet.")


def job_command(job_id: JobId, as_json: Json = False) -> None:
    """Show everything about one job."""
    from cloudmesh_actors import jobs
    from cloudmesh_actors.cli import jobviews, output

    job = jobs.get(job_id)
    outcomes = jobs.node_outcomes(job.id)
    if as_json:
        output.as_json(jobviews.whole_object(job, outcomes, jobs.deaths(job.id)))
    else:
        output.show(*jobviews.details(job, outcomes, jobs.deaths(job.id), datetime.now(UTC)))


def abort_command(job_id: JobId, as_json: Json = False) -> None:
    """Stop a job: queued, it never runs; running, it stops at its next safe point."""
    from cloudmesh_actors import jobs
    from cloudmesh_actors.cli import jobviews, output, streams

    had_ended = jobs.get(job_id).ended
    job = jobs.abort(job_id)
    if as_json:
        output.as_json(jobviews.as_object(job))
    if had_ended:
        streams.say(f"The job {job.id[:8]} had ended before: it is {job.state}.")
    elif job.ended:
        streams.say(f"The job {job.id[:8]} will not run.")
    else:
        streams.say(f"The job {job.id[:8]} was asked to stop; it does at its next safe point.")


def retry_command(
    job_id: JobId,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until it has ended, and print its result.")] = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Send an ended job again, as a new one, and print its id."""
    from cloudmesh_actors import jobs
    from cloudmesh_actors.cli import results

    results.follow_up(jobs.retry(job_id), wait=wait, timeout=timeout, as_json=as_json)


def _state(word: str) -> State | None:
    from cloudmesh_actors.jobs import State

    return State(one_of(word, list(State), "--state")) if word else None


def _queue(word: str) -> str | None:
    return one_of(word, FAMILIES, "--queue") if word else None


def _actor(word: str) -> str | None:
    if not word:
        return None
    from cloudmesh_actors.actor import find  # half a second, which others need not wait

    return find(word).actor_name
