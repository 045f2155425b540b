"""Sending a job and waiting for it: what is told meanwhile, all of it on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import typer

from cloudmesh_actors import actor, broker, jobs, roster
from cloudmesh_actors.cli import output, streams
from cloudmesh_actors.cli.exits import ExitCode
from cloudmesh_actors.cli.nodeviews import is_per_node, is_per_server
from cloudmesh_actors.errors import JobTimeout
from cloudmesh_actors.jobs import Job, State

#: How long a command waits for its job unless told otherwise, in seconds.
DEFAULT_TIMEOUT_S = 600.0

#: A job that is queued for longer makes us look whether anybody works on its queue, in seconds.
LOOK_FOR_WORKERS_AFTER_S = 1.0

#: A worker that has not been heard of for this long counts as gone, in seconds.
SILENT_AFTER_S = 30.0


class Display(Protocol):
    """Where the progress of a job shows."""

    def show(self, job: Job) -> None:
        """Something has changed."""

    def tell(self, sentence: str) -> None:
        """Show a sentence."""

    def close(self) -> None:
        """Show no more."""


def send(name: str, args: list[Any], kwargs: dict[str, Any]) -> str:
    """Send a job; returns its id.

    Raises:
        ArgumentError: the actor or the arguments are wrong.
        BrokerUnavailable, StoreUnavailable: it was not sent.
    """
    found = actor.find(name)
    job_id = str(found.send(*args, **kwargs).message_id)
    if pause := broker.paused().get(found.family):
        streams.say(is_paused(pause))
    return job_id


def is_paused(pause: broker.Pause) -> str:
    """What to tell when a job was sent to a paused queue."""
    why = f" ({pause.reason})" if pause.reason else ""
    return f"The queue {pause.queue} was paused by {pause.by}{why}: nothing of it begins until somebody resumes it."


def wait(job_id: str, timeout_s: float, watcher: Watcher | None = None) -> Job:
    """Wait for a job, at most `timeout_s` seconds (0: until it ends). Ctrl-C ends the command, not the job.

    Raises:
        JobTimeout: it has not ended in time; the sentence says what may be done.
        StoreUnavailable: how it goes cannot be seen.
    """
    watcher = watcher or Watcher(bar_or_lines())
    display = watcher.display
    try:
        job = jobs.wait(job_id, timeout_s or None, watch=watcher.watch, sleep=watcher.sleep)
    except KeyboardInterrupt:
        display.close()
        streams.say(f"\nThe job {job_id[:8]} goes on. {what_next(job_id)}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except JobTimeout as error:
        raise JobTimeout(f"{error} {what_next(job_id)}") from None
    finally:
        display.close()
    streams.say(summary(job))
    return job


def what_next(job_id: str) -> str:
    """How to see or stop a job that goes on."""
    short = job_id[:8]
    return f"See it with `cm-actors job {short}`, stop it with `cm-actors abort {short}`."


class Watcher:
    """Looks at a job that is waited for, and says so when nobody works on its queue."""

    def __init__(
        self,
        display: Display,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        served: Callable[[str], bool] | None = None,
    ) -> None:
        self.display, self._clock, self._sleep = display, clock, sleep
        self._served = served or is_served
        self._job: Job | None = None
        self._look_at = clock() + LOOK_FOR_WORKERS_AFTER_S

    def watch(self, job: Job) -> None:
        """The job has changed."""
        self._job = job
        self.display.show(job)

    def sleep(self, seconds: float) -> None:
        """Sleep, and look whether there is a worker."""
        self._sleep(seconds)
        if self._job is not None and self._job.state is State.QUEUED and self._clock() >= self._look_at:
            self._look_at = float("inf")
            if not self._served(self._job.queue):
                self.display.tell(nobody_serves(self._job.queue))


def is_served(queue: str) -> bool:
    """Whether a worker that was heard of lately takes messages of this queue."""
    return any(row.queue == queue and takes_messages(row) for row in roster.rows())


def takes_messages(worker: roster.WorkerRow) -> bool:
    """Whether a worker is ready, and was heard of lately."""
    return worker.ready_at is not None and time.time() - worker.seen_at < SILENT_AFTER_S


def nobody_serves(queue: str) -> str:
    """What to tell when a queue has no worker."""
    return f"No worker serves the queue {queue}; start some with `make workers-up`."


class Lines:
    """A line for each state: for files, pipes and simple terminals."""

    def __init__(self) -> None:
        self._state: State | None = None

    def show(self, job: Job) -> None:
        """Tell a new state."""
        if job.state is not self._state:
            self._state = job.state
            where = f" on {job.worker}" if job.state is State.RUNNING and job.worker else ""
            streams.say(f"{job.actor} {job.id[:8]} is {job.state}{where}")

    def tell(self, sentence: str) -> None:
        """Tell a sentence."""
        streams.say(sentence)

    def close(self) -> None:
        """Nothing is left to do."""


class Bar:
    """A live bar, which goes when the job ends."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=output.console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, count="", note="")
        self._progress.start()

    def show(self, job: Job) -> None:
        """Move the bar."""
        progress = job.progress
        self._progress.update(
            self._task,
            description=f"{job.actor} {job.state}",
            completed=progress.done if progress else 0,
            total=progress.total if progress else None,
            count=f"{progress.done}/{progress.total}" if progress else "",
            note=output.text(progress.note).plain[:16] if progress and progress.note else "",
        )

    def tell(self, sentence: str) -> None:
        """Show a sentence above the bar."""
        self._progress.console.print(output.text(sentence, "yellow"))

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


def bar_or_lines() -> Display:
    """The bar on a terminal that can show it, else lines."""
    stderr = output.console(stderr=True)
    return Bar() if stderr.is_terminal and not stderr.is_dumb_terminal else Lines()


def summary(job: Job) -> str:
    """How the job ended, in a sentence."""
    took = output.duration((job.ended_at - job.enqueued_at).total_seconds()) if job.ended_at else "?"
    told = f"{job.actor} {job.id[:8]} {words_of(job)} after {took}{_nodes(job.result)}."
    return told if job.state is State.DONE else f"{told} {job.error or ''}".rstrip()


def words_of(job: Job) -> str:
    """The state as a verb."""
    return {State.DONE: "is done", State.FAILED: "failed", State.ABORTED: "was aborted"}.get(job.state, job.state)


def _nodes(result: Any) -> str:
    if not is_per_node(result):
        return ""
    failed = sum(not entry["ok"] for entry in result)
    return f": {output.counted(len(result) - failed, 'node')} ok" + (f", {failed:,} failed" if failed else "")


def code_of(job: Job) -> ExitCode:
    """The exit code that tells how a job ended."""
    if job.state is not State.DONE:
        return ExitCode.FAILED
    told_each = is_per_node(job.result) or is_per_server(job.result)
    failed = told_each and not all(entry["ok"] for entry in job.result)
    return ExitCode.FAILED if failed else ExitCode.OK
