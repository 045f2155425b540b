"""What may be done with a launch from outside: abort it, or launch again where it failed."""

from __future__ import annotations

from cloudmesh_actors import jobs, nodes
from cloudmesh_actors.errors import JobError
from cloudmesh_actors.jobs import Job
from cloudmesh_actors.launcher import actors, records
from cloudmesh_actors.launcher.model import ENDED, Launch, LaunchState

#: So many launches of a job are read at once.
PAGE = 1000


def abort(job_id: str) -> Job:
    """Stop a launch: where it is queued it never begins, and scripts that run are ended.

    Raises:
        UnknownJob: there is no such job.
        StoreUnavailable, BrokerUnavailable: the one or the other does not answer.
    """
    job = jobs.abort(job_id)
    if set(records.left_alone()) & {launch.step_id for launch in of_job(job.id)}:
        actors.settle.send()  # scripts that nobody follows at the moment
    return job


def relaunch(job_id: str, failed_only: bool = True) -> str:
    """Launch the recipe again with the same parameters, by default on the servers where it is not active.

    Returns the new job's id.

    Raises:
        UnknownJob: there is no such job.
        JobError: it has not ended, or there is nothing to launch again.
        ArgumentError: the recipe, its parameters or the servers do not fit any more.
    """
    job = jobs.get(job_id)
    if not job.ended:
        raise JobError(f"The job {job.id} is {job.state}: it can be launched again when it has ended.")
    found = of_job(job.id)
    chosen = [launch for launch in found if not failed_only or launch.state is not LaunchState.ACTIVE]
    if not chosen:
        raise JobError(f"The job {job.id} has no launch that failed." if found else f"{job.id} launched nothing.")
    servers = nodes.fold(launch.server for launch in chosen)
    arguments = (chosen[0].recipe, servers, chosen[0].parameters)
    return str(actors.launch.send_with_options(args=arguments, retry_of=job.id).message_id)


def of_job(job_id: str) -> list[Launch]:
    """All launches of a job, in the order of its servers. `job_id` is whole."""
    found: list[Launch] = []
    while page := records.launches(job=job_id, before=found[-1].step_id if found else None, limit=PAGE):
        found += page
    return found


def has_ended(launches: list[Launch]) -> bool:
    """Whether all of these have ended."""
    return all(launch.state in ENDED for launch in launches)
