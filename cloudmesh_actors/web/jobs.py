"""Pages of jobs: the durable history with its filters, and everything about one job."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from cloudmesh_actors import actor, jobs, settings
from cloudmesh_actors.errors import ArgumentError, UnknownActor
from cloudmesh_actors.families import FAMILIES
from cloudmesh_actors.jobs import Job, State
from cloudmesh_actors.logs import render
from cloudmesh_actors.logs.reader import Entry
from cloudmesh_actors.nodes import fold
from cloudmesh_actors.web import audit, joblog, pages
from cloudmesh_actors.web.forms import Form
from cloudmesh_actors.web.joblog import Follower
from cloudmesh_actors.web.live import Picture
from cloudmesh_actors.web.streams import stream

#: Jobs on a page.
PAGE = 50

#: Nodes whose errors are listed one by one.
SHOWN_NODES = 200

router = APIRouter(prefix="/cm/jobs", include_in_schema=False)


class Wanted:
    """The filters of the history, as they stand in the address of the page."""

    def __init__(
        self,
        state: str = "",
        actor: Annotated[str, Query(max_length=128)] = "",
        queue: str = "",
        before: Annotated[str, Query(max_length=64)] = "",
    ) -> None:
        if state and state not in set(State):
            raise ArgumentError(f"There is no state {state[:80]!r}; there are {', '.join(State)}.")
        if queue and queue not in FAMILIES:
            raise ArgumentError(f"There is no queue {queue[:80]!r}; there are {', '.join(FAMILIES)}.")
        self.state, self.actor, self.queue, self.before = state, actor, queue, before

    def address(self, **other: str) -> str:
        """The query of the page with some filters changed; back to its beginning unless `before` is among them."""
        fields = {"state": self.state, "actor": self.actor, "queue": self.queue, **other}
        given = {name: value for name, value in fields.items() if value}
        return f"?{urlencode(given)}" if given else "?"

    def find(self, limit: int) -> list[Job]:
        """The jobs on the page, and the next ones, `limit` in all."""
        return jobs.latest(
            limit,
            state=State(self.state) if self.state else None,
            actor=self.actor or None,
            queue=self.queue or None,
            before=self.before or None,
        )


def listing(counts: Mapping[str, int], wanted: Wanted) -> Picture:
    """The picture of the history."""
    found = wanted.find(PAGE + 1)
    shown = found[:PAGE]
    nodes = jobs.node_counts([job.id for job in shown])
    row, chips, more = (pages.macro("jobs_parts.html", name) for name in ("row", "chips", "more"))
    return Picture(
        parts={"chips": chips(counts, wanted), "more": more(wanted, shown, len(found) > PAGE)},
        lists={"job-rows": {job.id: row(job, nodes.get(job.id)) for job in shown}},
    )


def whole(job: Job, lines: list[tuple[int, Entry]]) -> Picture:
    """The picture of one job."""
    outcomes = jobs.node_outcomes(job.id)
    good = fold(outcome.node for outcome in outcomes if outcome.ok)
    still_open = fold(outcome.node for outcome in outcomes if outcome.ok is None)
    bad = [outcome for outcome in outcomes if outcome.ok is False]
    head, facts, nodes, line = (pages.macro("job_parts.html", name) for name in ("head", "facts", "nodes", "line"))
    return Picture(
        parts={
            "job-head": head(job),
            "job-facts": facts(job, arguments(job)),
            "job-nodes": nodes(outcomes, good, still_open, bad[:SHOWN_NODES], len(bad)),
        },
        lists={"log": {str(number): line(entry, render.for_people(entry)) for number, entry in lines}},
    )


def arguments(job: Job) -> list[tuple[str, Any]]:
    """A job's arguments with the names that its actor has for them; without names when there is no such actor."""
    try:
        names = [*actor.find(job.actor).signature.parameters]
    except UnknownActor:
        names = []
    names += [f"argument {number}" for number in range(len(names) + 1, len(job.args) + 1)]
    return [*zip(names, job.args, strict=False), *job.kwargs.items()]


@router.get("")
def history(request: Request, wanted: Annotated[Wanted, Depends()]) -> Response:
    """The jobs, newest first."""
    picture = listing(request.state.job_counts.get(), wanted)
    return pages.page(request, "jobs.html", picture=picture, wanted=wanted, states=list(State), queues=FAMILIES)


@router.get("/live")
async def history_live(request: Request, wanted: Annotated[Wanted, Depends()]) -> Response:
    """The changes of the history."""
    counts = request.state.job_counts
    name = f"jobs{wanted.address(before=wanted.before)}"
    return stream(request, name, lambda: listing(counts.get(), wanted))


@router.get("/{job_id}")
def one(request: Request, job_id: str) -> Response:
    """Everything about a job; the beginning of its id will do."""
    job = jobs.get(job_id)
    if job.id != job_id:
        return RedirectResponse(f"/cm/jobs/{job.id}", 303)
    return pages.page(request, "job.html", picture=whole(job, list(enumerate(log_of(job)))), job=job)


@router.get("/{job_id}/live")
def one_live(request: Request, job_id: str) -> Response:
    """The changes of one job, and its log lines as they come."""
    job = jobs.get(job_id)

    @cache  # made by whoever draws first, in the hub's thread
    def follower() -> Follower:
        return Follower(settings.current().log_dir, job.id, job.enqueued_at, job.ended_at)

    return stream(request, f"job {job.id}", lambda: whole(jobs.get(job.id), follower().lines()), restless=True)


@router.post("/{job_id}/abort")
def abort(request: Request, job_id: str, _form: Form) -> Response:
    """Stop a job."""
    audit.told(request, "abort job", job_id, lambda: jobs.abort(job_id).state)
    return RedirectResponse(f"/cm/jobs/{jobs.find(job_id)}", 303)


@router.post("/{job_id}/retry")
def retry(request: Request, job_id: str, _form: Form) -> Response:
    """Send an ended job again, as a new one."""
    again = audit.told(request, "retry job", job_id, lambda: jobs.retry(job_id))
    return RedirectResponse(f"/cm/jobs/{again}", 303)


def log_of(job: Job) -> list[Entry]:
    """The job's last log lines on this host."""
    return joblog.of(settings.current().log_dir, job.id, job.enqueued_at, job.ended_at)
