"""Jobs as JSON and as tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from cloudmesh_actors.cli import output, rackviews
from cloudmesh_actors.cli.nodeviews import error_lines, is_per_node
from cloudmesh_actors.jobs import Death, Job, NodeOutcome, State
from cloudmesh_actors.nodes import fold

#: Longer arguments and results are cut for people; --json has all.
SHOWN_CHARACTERS = 500

#: Results of more nodes are not shown with their job.
SHOWN_NODES = 8


def as_object(job: Job) -> dict[str, Any]:
    """A job as `jobs --json` has it."""
    progress = job.progress
    return {
        "id": job.id,
        "actor": job.actor,
        "queue": job.queue,
        "state": job.state.value,
        "runs": job.runs,
        "worker": job.worker,
        "enqueued_at": output.iso(job.enqueued_at),
        "started_at": output.iso(job.started_at),
        "ended_at": output.iso(job.ended_at),
        "progress": progress and {"done": progress.done, "total": progress.total, "note": progress.note},
        "error": job.error,
        "error_type": job.error_type,
        "due_at": output.iso(job.due_at),
        "abort_at": output.iso(job.abort_at),
        "retry_of": job.retry_of,
        "sender": job.sender,
    }


def whole_object(job: Job, outcomes: Iterable[NodeOutcome], deaths: Iterable[Death]) -> dict[str, Any]:
    """A job as `job ID --json` has it."""
    return {
        **as_object(job),
        "args": job.args,
        "kwargs": job.kwargs,
        "result": job.result,
        "traceback": job.traceback,
        "nodes": [outcome_object(outcome) for outcome in outcomes],
        "deaths": [_death_object(death) for death in deaths],
    }


def outcome_object(outcome: NodeOutcome) -> dict[str, Any]:
    """How one node ended."""
    return {
        "node": outcome.node,
        "ok": outcome.ok,
        "error": outcome.error,
        "error_kind": outcome.error_kind,
        "stage": outcome.stage,
        "time": output.iso(datetime.fromtimestamp(outcome.at, UTC)),
        "data": outcome.data,
    }


def counts_object(counts: Mapping[str, tuple[int, int]], job: Job) -> dict[str, int]:
    """How many nodes of a job ended well and badly so far."""
    ok, failed = counts.get(job.id, (0, 0))
    return {"ok": ok, "failed": failed}


def listing(found: Sequence[Job], counts: Mapping[str, tuple[int, int]], now: datetime) -> Table:
    """Jobs in lines of 80 columns. `counts` are the nodes of each that ended well and badly."""
    table = output.table("id", "actor", "state", "nodes", "worker", "age", "took", "error",
                         right=("nodes", "age", "took"), last="error")  # fmt: skip
    table.padding = (0, 1, 0, 0)
    for job in found:
        table.add_row(
            job.id[:8],
            output.text(job.actor),
            output.state(job.state),
            f"{job.progress.done}/{job.progress.total}" if job.progress else "-",
            output.text(job.worker or "-"),
            output.duration((now - job.enqueued_at).total_seconds()),
            _took(job, now),
            output.text(_trouble(job, counts.get(job.id, (0, 0))[1]), "red"),
        )
    return table


def _trouble(job: Job, failed: int) -> str:
    return job.error or (f"{failed:,} failed" if failed else "")


def _took(job: Job, now: datetime) -> str:
    if job.started_at is None or job.state is State.QUEUED:
        return "-"
    return output.duration(((job.ended_at or now) - job.started_at).total_seconds())


def _death_object(death: Death) -> dict[str, Any]:
    return {
        "step": death.step_id,
        "run": death.run,
        "worker": death.worker,
        "started_at": output.iso(datetime.fromtimestamp(death.started_at, UTC)),
    }


def details(job: Job, outcomes: Sequence[NodeOutcome], deaths: Sequence[Death], now: datetime) -> list[Any]:
    """Everything about a job, for people."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _facts(job, now):
        grid.add_row(name, value)
    for death in deaths:
        began = output.local(datetime.fromtimestamp(death.started_at, UTC))
        grid.add_row("", output.text(f"run {death.run}, begun {began}, ended with the death of {death.worker}", "red"))
    parts: list[Any] = [grid, *_nodes(outcomes)]
    if is_per_node(job.result) and len(job.result) <= SHOWN_NODES:
        parts += [Text(), *rackviews.view(job.actor, [entry for entry in job.result if entry["ok"]])]
    if job.traceback:
        parts += [Text(), Text("traceback", "bold"), output_lines(job.traceback)]
    return [*parts, Text(), output.text(hint(job))]


def output_lines(words: str) -> Text:
    """Several lines that cannot steer the terminal."""
    return Text("\n").join(output.text(line) for line in words.splitlines())


def _facts(job: Job, now: datetime) -> Iterator[tuple[str, Text | str]]:
    yield "job", job.id
    yield "actor", output.text(job.actor)
    yield "state", output.state(job.state)
    if job.abort_at and not job.ended:
        yield "", Text("asked to stop; it does at its next safe point", "yellow")
    for name, value in _arguments(job):
        yield name, output.text(_cut(value))
    if job.progress:
        yield (
            "progress",
            output.text(
                f"{job.progress.done} of {job.progress.total}" + (f", {job.progress.note}" if job.progress.note else "")
            ),
        )
    yield "worker", output.text(job.worker or "-")
    yield "runs", str(job.runs)
    yield "sent", output.text(f"{output.local(job.enqueued_at)} by {job.sender or '?'}")
    if job.due_at:
        yield "not before", output.local(job.due_at)
    if job.started_at:
        yield "started", output.local(job.started_at)
    if job.ended_at:
        yield "ended", f"{output.local(job.ended_at)}, after {_took(job, now)}"
    if job.retry_of:
        yield "retry of", job.retry_of
    if job.error:
        yield "error", output.text(job.error, "red")
    if job.result is not None:
        yield "result", output.text(_result(job.result))


def _arguments(job: Job) -> Iterator[tuple[str, Any]]:
    if job.args:
        yield "arguments", job.args if len(job.args) > 1 else job.args[0]
    for name, value in job.kwargs.items():
        yield f"  {name}", value


def _result(result: Any) -> str:
    if not is_per_node(result):
        return _cut(result)
    return f"of {output.counted(len(result), 'node')}, " + ("below" if len(result) <= SHOWN_NODES else "with --json")


def _cut(value: Any) -> str:
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return words if len(words) <= SHOWN_CHARACTERS else f"{words[:SHOWN_CHARACTERS]} ... (--json has all of it)"


def _nodes(outcomes: Sequence[NodeOutcome]) -> Iterator[Any]:
    if not outcomes:
        return
    yield Text()
    good = [outcome.node for outcome in outcomes if outcome.ok]
    open_: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.ok is None:
            known = ", ".join(word for word in (outcome.stage, outcome.error) if word)
            open_.setdefault(known, []).append(outcome.node)
    if good:
        yield output.text(f"ok      {fold(good)} ({len(good)})", "green")
    for known, names in open_.items():
        yield output.text(f"open    {fold(names)} ({len(names)})" + (f": {known}" if known else ""), "cyan")
    failed: list[Mapping[str, Any]] = [outcome_object(outcome) for outcome in outcomes if outcome.ok is False]
    yield from error_lines(failed, "failed  ")


def hint(job: Job) -> str:
    """What may be done next."""
    short = job.id[:8]
    logs = f"its log: cm-actors logs --job {short}"
    if not job.ended:
        return f"stop it: cm-actors abort {short}; {logs}"
    if job.state is State.DONE:
        return f"again: cm-actors retry {short}; {logs}"
    return f"try it again: cm-actors retry {short}; {logs}"
