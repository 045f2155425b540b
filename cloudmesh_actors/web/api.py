"""``/api/v1``: all that the pages do, for programs. JSON in and out, errors as problem+json, lists by cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from cloudmesh_actors import jobs, launcher
from cloudmesh_actors.errors import UnknownJob
from cloudmesh_actors.families import FAMILIES
from cloudmesh_actors.jobs import State
from cloudmesh_actors.launcher import recipes, records
from cloudmesh_actors.launcher.model import LaunchState
from cloudmesh_actors.web import audit, launch, launching, models, reference
from cloudmesh_actors.web import jobs as job_pages
from cloudmesh_actors.web.launching import Wish
from cloudmesh_actors.web.models import Page
from cloudmesh_actors.web.problems import Problem

#: What may come instead of what was asked for.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": models.ProblemShape, "description": text, "content": {"application/problem+json": {}}}
    for status, text in (
        (400, "It cannot be read"), (401, "The token is missing"), (403, "Refused"), (404, "There is no such thing"),
        (409, "Not in this state"), (413, "Too long"), (415, "Not JSON"), (422, "It does not fit; nothing was done"),
        (503, "Broker or store away"),
    )
}  # fmt: skip

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)

T = TypeVar("T")
Limit = Annotated[int, Query(ge=1, le=models.MOST, description="Rows of a page at most.")]
Cursor = Annotated[str | None, Query(max_length=64, description="The `next` of the page before.")]
JobId = Annotated[str, Path(max_length=64, description="The job's id, or the beginning of it.")]
Queue = Annotated[str | None, Query(description="Only this queue.", json_schema_extra={"enum": list(FAMILIES)})]


def paged(found: Sequence[T], limit: int, shape: Callable[[T], Any], name: Callable[[T], str]) -> Page[Any]:
    """A page of `limit` rows out of those found, of which there is one more when there is another page."""
    shown = found[:limit]
    return Page(items=[shape(each) for each in shown], next=name(shown[-1]) if len(found) > limit else None)


# -- jobs


@router.get("/jobs", tags=["jobs"], summary="The jobs, newest first")
def list_jobs(
    state: State | None = None,
    actor: Annotated[str | None, Query(max_length=128)] = None,
    queue: Queue = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[models.JobShape]:
    """The durable history. Filters can be combined."""
    found = jobs.latest(limit + 1, state=state, actor=actor, queue=queue, before=cursor)
    return paged(found, limit, models.job, lambda job: job.id)


@router.get("/jobs/{job_id}", tags=["jobs"], summary="One job, whole")
def get_job(job_id: JobId) -> models.WholeJob:
    """A job with its arguments, result and traceback."""
    return models.WholeJob.model_validate(jobs.get(job_id))


@router.get("/jobs/{job_id}/nodes", tags=["jobs"], summary="How each node of a job ended")
def get_nodes(job_id: JobId) -> list[models.NodeShape]:
    """The outcome of each node, all steps together."""
    return [models.NodeShape.of(outcome) for outcome in jobs.node_outcomes(job_id)]


@router.get("/jobs/{job_id}/log", tags=["jobs"], summary="The log lines of a job")
def get_log(job_id: JobId) -> list[models.LineShape]:
    """Its last lines in the logs of the console's host."""
    return [
        models.LineShape(
            time=entry.time, worker=entry.worker, event=entry.event,
            raw=None if entry.event else entry.line.decode(errors="replace"),
        )
        for entry in job_pages.log_of(jobs.get(job_id))
    ]  # fmt: skip


@router.post("/jobs/{job_id}/abort", tags=["jobs"], summary="Stop a job")
def abort_job(request: Request, job_id: JobId) -> models.JobShape:
    """Queued, it never runs; running, it stops at its next safe point."""
    audit.told(request, "abort job", job_id, lambda: jobs.abort(job_id).state)
    return models.job(jobs.get(job_id))


@router.post("/jobs/{job_id}/retry", tags=["jobs"], summary="Send an ended job again", status_code=202)
def retry_job(request: Request, job_id: JobId) -> models.JobId:
    """It is a new job with its own id."""
    return models.JobId(job_id=audit.told(request, "retry job", job_id, lambda: jobs.retry(job_id)))


# -- launches


@router.get("/recipes", tags=["launches"], summary="What can be launched")
def list_recipes() -> models.Recipes:
    """The recipes of the site."""
    loaded = recipes.load_all()
    return models.Recipes(
        items=[models.recipe(each) for each in loaded.recipes.values()], errors=[str(error) for error in loaded.errors]
    )


@router.post("/launches/check", tags=["launches"], summary="Whether something could be launched")
def check_launch(wish: models.WishShape) -> models.VerdictShape:
    """Says what is wrong with each field. Nothing is launched."""
    verdict = launching.check(Wish(wish.recipe, wish.servers, tuple(wish.ticks), wish.parameters))
    return models.VerdictShape(**verdict.as_object())


@router.post("/launches", tags=["launches"], summary="Launch a recipe on servers", status_code=202)
def send_launch(request: Request, wish: models.WishShape) -> models.JobId:
    """Sends one job; each server is a step of it."""
    wanted = Wish(wish.recipe, wish.servers, tuple(wish.ticks), wish.parameters)
    verdict = launching.check(wanted)
    if verdict.errors:
        raise Problem(422, "Nothing was launched: " + " ".join(verdict.errors.values()), wrong=verdict.errors)
    return models.JobId(job_id=launch.send(request, wanted, verdict))


@router.get("/launches", tags=["launches"], summary="Launches of all servers, the latest first")
def list_launches(
    *,
    job_id: Annotated[str | None, Query(max_length=64, description="Only of this launch: the whole id.")] = None,
    recipe: Annotated[str | None, Query(max_length=64)] = None,
    server: Annotated[str | None, Query(max_length=255)] = None,
    state: LaunchState | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[models.LaunchShape]:
    """One row for each recipe on each server. Filters can be combined."""
    found = records.launches(job=job_id, recipe=recipe, server=server, state=state, before=cursor, limit=limit + 1)
    return paged(found, limit, models.launch, lambda each: each.step_id)


@router.get("/launches/stats", tags=["launches"], summary="Counts and durations by recipe, server and state")
def get_stats() -> list[models.StatShape]:
    """All launches that are not forgotten."""
    return [models.stat(each) for each in records.stats()]


@router.post("/launches/reset", tags=["launches"], summary="Forget finished launches")
def reset_launches(request: Request, confirmed: models.Confirmed) -> models.Forgotten:
    """Forgets what has ended, with its output; what has not ended stays. Nothing is changed on any server."""
    if not confirmed.confirm:
        raise Problem(422, 'Nothing was forgotten: this wants {"confirm": true}.', wrong={"confirm": "must be true"})
    count = audit.told(request, "reset launches", "all that have ended", records.reset)
    request.state.launch_stats.forget()
    return models.Forgotten(forgotten=count)


@router.get("/launches/{step_id}", tags=["launches"], summary="One recipe on one server, with its output")
def get_launch(step_id: Annotated[str, Path(max_length=64)]) -> models.WholeLaunch:
    """What its script printed is bounded: the beginning and the end of long output."""
    found = records.get(step_id)
    if found is None:
        raise UnknownJob(f"There is no launch {step_id!r}.")
    return models.WholeLaunch(**models.launch(found).model_dump(), output=records.output(step_id))


@router.post("/launches/jobs/{job_id}/abort", tags=["launches"], summary="Stop a launch on all its servers")
def abort_launch(request: Request, job_id: JobId) -> models.JobShape:
    """What is queued never runs; scripts that run are stopped."""
    audit.told(request, "abort launch", job_id, lambda: launcher.abort(job_id).state)
    return models.job(jobs.get(job_id))


@router.post("/launches/jobs/{job_id}/relaunch", tags=["launches"], summary="Launch again", status_code=202)
def relaunch(request: Request, job_id: JobId, again: models.Again) -> models.JobId:
    """Where it did not become active, or everywhere: as a new job."""
    action = "relaunch failed" if again.failed_only else "relaunch all"
    sent = audit.told(request, action, job_id, lambda: launcher.relaunch(job_id, failed_only=again.failed_only))
    return models.JobId(job_id=str(sent))


# -- the console itself


@router.get("/audit", tags=["console"], summary="Who changed what through the console")
def list_audit(
    limit: Limit = 50, cursor: Annotated[int | None, Query(ge=1, le=2**62)] = None
) -> Page[models.ChangeShape]:
    """The latest first."""
    return paged(audit.latest(limit + 1, before=cursor), limit, models.change, lambda entry: str(entry.id))


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> Response:
    """This API, as a page that loads nothing from elsewhere."""
    return reference.page(request)
