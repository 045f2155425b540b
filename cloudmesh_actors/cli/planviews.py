"""What an action would hit, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloudmesh_actors.cli import output
from cloudmesh_actors.leases import age
from cloudmesh_actors.nodes import fold
from cloudmesh_actors.preview import Batch, Plan

#: Batch jobs that are listed; of more only their number is told.
SHOWN_JOBS = 20


def view(plan: Plan) -> list[Any]:
    """The whole plan: nodes, batch jobs, watts, leases, and what is not certain."""
    title = f"{plan.action}, {output.counted(len(plan.nodes), 'node')}: {fold(plan.names)}"
    return [output.text(title, "bold"), *_jobs(plan), *_watts(plan), *held(plan), *_doubts(plan)]


def held(plan: Plan) -> Iterator[Any]:
    """The leases of other jobs: they have to end first."""
    for harm in plan.nodes:
        if harm.lease is not None:
            since = age(plan.now - harm.lease.taken_at)
            who = f"job {harm.lease.job_id[:8]} ({harm.lease.actor}) since {since}"
            yield output.text(f"{harm.node} is held by {who}; it would be refused", "yellow")


def _jobs(plan: Plan) -> Iterator[Any]:
    hits = plan.batch_jobs
    if hits:
        table = output.table("batch job", "user", "cluster", "nodes", last="nodes")
        for job, nodes in list(hits.items())[:SHOWN_JOBS]:
            cells = (job.id, job.owner or "?", job.cluster or "-", fold(nodes))
            table.add_row(*(output.text(cell) for cell in cells))
        yield table
    if len(hits) > SHOWN_JOBS:
        yield output.text(f"… and {output.counted(len(hits) - SHOWN_JOBS, 'more batch job')}", "dim")
    yield from _summary(plan)


def _summary(plan: Plan) -> Iterator[Any]:
    hits = plan.batch_jobs
    as_of = "" if plan.batch_age is None else f", as of {age(plan.batch_age)} ago"
    if hits:
        users = len({job.owner for job in hits})
        words = f"{output.counted(len(hits), 'running batch job')} of {output.counted(users, 'user')}{as_of}"
        yield output.text(words, "bold red")
    elif known := plan.nodes_whose_batch_is(Batch.KNOWN):
        where = "" if len(known) == len(plan.nodes) else f"{fold(known)}: "
        yield output.text(f"{where}no batch job runs there{as_of}")
    if without := plan.nodes_whose_batch_is(Batch.NONE):
        yield output.text(f"{fold(without)}: in no cluster with batch queues", "dim")


def _watts(plan: Plan) -> Iterator[Any]:
    measured = [harm.watts for harm in plan.nodes if harm.watts]
    if not measured:
        yield output.text("what they draw was not measured", "dim")
        return
    oldest = age(max(watts.age for watts in measured))
    yield output.text(f"{plan.watts:,.0f} W on {len(measured)} of {len(plan.nodes)}, measured up to {oldest} ago")


def _doubts(plan: Plan) -> Iterator[Any]:
    return (output.text(sentence, "yellow") for sentence in plan.doubts())
