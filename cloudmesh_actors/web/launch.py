"""Pages of the launcher: what to launch and where, and the live page of one launch."""

from __future__ import annotations

import mimetypes
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from cloudmesh_actors import jobs, launcher, roster
from cloudmesh_actors.errors import UnknownJob
from cloudmesh_actors.jobs import Job
from cloudmesh_actors.launcher import recipes, records
from cloudmesh_actors.launcher.model import Launch, LaunchState
from cloudmesh_actors.web import audit, launching, pages
from cloudmesh_actors.web.forms import Form
from cloudmesh_actors.web.launching import Verdict, Wish
from cloudmesh_actors.web.live import Picture
from cloudmesh_actors.web.problems import Problem
from cloudmesh_actors.web.streams import stream

#: Servers of one launch that are on its page.
SHOWN = 2_000

#: The largest picture of a recipe, in bytes.
LARGEST_IMAGE = 1_000_000

router = APIRouter(prefix="/cm/launch", include_in_schema=False)

Step = Annotated[str, Query(max_length=64)]


@router.get("")
def choose(
    request: Request,
    recipe: Annotated[str, Query(max_length=200)] = "",
    servers: Annotated[str, Query(max_length=10_000)] = "",
) -> Response:
    """What to launch, and where."""
    return _form(request, Wish(recipe, servers), Verdict({}))


@router.post("")
def launch(request: Request, form: Form) -> Response:
    """Launch; or show the form again, with what was typed and what is wrong with it."""
    wish = Wish.of_form(form)
    verdict = launching.check(wish)
    if verdict.errors:
        return _form(request, wish, verdict, status=422)
    job_id = send(request, wish, verdict)
    return RedirectResponse(f"/cm/launch/jobs/{job_id}", 303)


def send(request: Request, wish: Wish, verdict: Verdict) -> str:
    """Send the job of a wish that is as it should be. Returns its id."""
    return audit.told(
        request,
        "launch",
        f"{wish.recipe} on {verdict.as_object()['servers']}",
        lambda: str(launcher.launch.send(wish.recipe, wish.node_set, verdict.parameters).message_id),
    )


@router.get("/recipes/{name}/image")
def image(name: str) -> Response:
    """The picture of a recipe. It is shown as an image, in which no script runs."""
    found = recipes.load_all().recipes.get(name)
    if found is None:
        raise Problem(404, f"There is no recipe {name[:80]!r}.")
    file = recipes.image_file(found)
    kind = mimetypes.guess_type(file.name)[0] or ""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_IMAGE + 1)
    except OSError:
        content = b""
    if not kind.startswith("image/") or not 0 < len(content) <= LARGEST_IMAGE:
        raise Problem(404, f"The recipe {name} has no picture that can be shown.")
    return Response(content, media_type=kind)


@router.get("/jobs/{job_id}")
def one(request: Request, job_id: str, show: Step = "") -> Response:
    """One launch: its servers, and the output of one of them."""
    job = _job(job_id)
    if job.id != job_id:
        return RedirectResponse(f"/cm/launch/jobs/{job.id}", 303)
    return pages.page(request, "launched.html", picture=launched(job, show), job=job, show=show)


@router.get("/jobs/{job_id}/live")
def one_live(request: Request, job_id: str, show: Step = "") -> Response:
    """The changes of one launch."""
    job = _job(job_id)
    return stream(request, f"launch {job.id} {show}", lambda: launched(jobs.get(job.id), show))


@router.post("/jobs/{job_id}/abort")
def abort(request: Request, job_id: str, _form: Form) -> Response:
    """Stop a launch on all its servers."""
    audit.told(request, "abort launch", job_id, lambda: launcher.abort(job_id).state)
    return RedirectResponse(f"/cm/launch/jobs/{job_id}", 303)


@router.post("/jobs/{job_id}/relaunch")
def relaunch(request: Request, job_id: str, form: Form) -> Response:
    """Launch again: where it did not become active, or everywhere."""
    failed_only = form.get("everywhere", "") != "yes"
    action = "relaunch failed" if failed_only else "relaunch all"
    again = audit.told(request, action, job_id, lambda: str(launcher.relaunch(job_id, failed_only=failed_only)))
    return RedirectResponse(f"/cm/launch/jobs/{again}", 303)


def launched(job: Job, show: str) -> Picture:
    """The picture of one launch; `show` is the step whose output is wanted, else it is the most interesting one."""
    found = records.launches(job=job.id, limit=SHOWN)
    counts = {str(state): count for state, count in records.counts(job.id).items()}
    chosen = next((each for each in found if each.step_id == show), None) or _most_interesting(found)
    head, row, output, waiting = (
        pages.macro("launched_parts.html", name) for name in ("head", "row", "output", "waiting")
    )
    text = records.output(chosen.step_id) if chosen else ""
    return Picture(
        parts={
            "launch-head": head(job, counts, LaunchState, len(found)),
            "launch-waiting": waiting(job, bool(found), has_workers() if not found else True),
            "launch-output": output(chosen, text),
        },
        lists={"launch-rows": {each.step_id: row(each, each is chosen) for each in found}},
    )


def has_workers() -> bool:
    """Whether somebody takes the launcher's messages."""
    return any(row.queue == "launcher" and row.ready_at for row in roster.rows())


def _most_interesting(found: list[Launch]) -> Launch | None:
    """The first that failed, else the first that is at work, else the first."""
    order = (LaunchState.ERROR, LaunchState.DEPLOY, LaunchState.RUNNING)
    first = {each.state: each for each in reversed(found)}
    return next((first[state] for state in order if state in first), found[0] if found else None)


def _job(job_id: str) -> Job:
    job = jobs.get(job_id)
    if job.queue != "launcher":
        raise UnknownJob(f"The job {job.id} is no launch, but {job.actor}; see /cm/jobs/{job.id}.")
    return job


def _form(request: Request, wish: Wish, verdict: Verdict, status: int = 200) -> Response:
    loaded = recipes.load_all()
    return pages.page(
        request, "launch.html", status=status, wish=wish, verdict=verdict, recipes=list(loaded.recipes.values()),
        wrong=loaded.errors, boxes=launching.boxes(), picture_of=launching.picture, has_workers=has_workers(),
    )  # fmt: skip
