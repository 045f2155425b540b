"""A launch that is watched: a line for each server, live on a terminal, until all have ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Group

from cloudmesh_actors import jobs
from cloudmesh_actors.cli import jobviews, launchviews, output, streams, waiting
from cloudmesh_actors.jobs import Job
from cloudmesh_actors.launcher import control, records
from cloudmesh_actors.launcher.model import ENDED, Launch, LaunchState

#: How often the servers are looked at, in seconds.
LOOK_EVERY_S = 0.25

#: Servers that have a live line each; of more, those that go on are shown first.
SHOWN_SERVERS = 24


def follow_up(job_id: str, *, watch: bool, timeout: float | None, as_json: bool) -> None:
    """After a launch was sent: print its id, or watch it to its end. Ends the command unless all is well."""
    if not watch:
        if as_json:
            output.as_json(jobviews.as_object(jobs.get(job_id)))
        else:
            streams.write(f"{job_id}\n")
        return
    seconds = waiting.DEFAULT_TIMEOUT_S if timeout is None else timeout
    job = waiting.wait(job_id, seconds, Watcher(job_id))
    found = control.of_job(job.id)
    if as_json:
        output.as_json([launchviews.launch_object(each, records.output(each.step_id)) for each in found])
    else:
        bad = [launch for launch in found if launch.state is LaunchState.ERROR]
        output.show(launchviews.launches(found), *launchviews.outputs(bad, _outputs(bad)))
    code = waiting.code_of(job)
    if code:
        raise typer.Exit(code)


def _outputs(found: Sequence[Launch]) -> dict[str, str]:
    return {launch.step_id: records.output(launch.step_id) for launch in found}


class Watcher(waiting.Watcher):
    """Looks at the servers of a launch while its job is waited for."""

    def __init__(self, job_id: str) -> None:
        stderr = output.console(stderr=True)
        self._servers: Live | Changes
        self._servers = Live() if stderr.is_terminal and not stderr.is_dumb_terminal else Changes()
        super().__init__(self._servers)
        self._job_id, self._look_servers_at = job_id, 0.0

    def sleep(self, seconds: float) -> None:
        """Sleep, and look at the servers."""
        super().sleep(seconds)
        if time.monotonic() >= self._look_servers_at:
            self._servers.servers(control.of_job(self._job_id))
            self._look_servers_at = time.monotonic() + LOOK_EVERY_S


class Changes(waiting.Lines):
    """A line whenever a server has changed its state: for files, pipes and simple terminals."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, LaunchState] = {}

    def servers(self, found: Sequence[Launch]) -> None:
        """Tell new states."""
        for launch in found:
            if self._known.get(launch.server) is not launch.state:
                self._known[launch.server] = launch.state
                streams.write(f"{launch.server} {launch.state}\n", _stderr())


class Live:
    """A table that is drawn again and again, and goes when the job ends."""

    def __init__(self) -> None:
        from rich.live import Live as Screen

        self._screen = Screen(console=output.console(stderr=True), transient=True, auto_refresh=False)
        self._screen.start()

    def show(self, job: Job) -> None:
        """The job itself has no line."""

    def servers(self, found: Sequence[Launch]) -> None:
        """Draw the servers, those that go on first."""
        order = sorted(found, key=lambda launch: launch.state in ENDED or launch.state is LaunchState.QUEUED)
        self._screen.update(Group(_lines(order[:SHOWN_SERVERS]), output.text(summary(found), "dim")), refresh=True)

    def tell(self, sentence: str) -> None:
        """Show a sentence above the table."""
        self._screen.console.print(output.text(sentence, "yellow"))

    def close(self) -> None:
        """Take the table away."""
        self._screen.stop()


def summary(found: Sequence[Launch]) -> str:
    """``64 servers: 3 queued, 5 deploy, 56 active``."""
    counts = Counter(launch.state for launch in found)
    states = ", ".join(f"{counts[state]:,} {state}" for state in LaunchState if counts[state])
    return f"{output.counted(len(found), 'server')}: {states}" if found else "no server yet"


def _lines(found: Sequence[Launch]) -> Any:
    now = datetime.now(UTC)
    table = output.table("server", "state", "worker", "took", "error", right=("took",), last="error")
    for launch in found:
        error = (launch.error or "").removeprefix(f"{launch.server}: ")
        words = (output.text(launch.server), output.state(launch.state), output.text(launch.worker or "-"))
        table.add_row(*words, launchviews.took(launch, now), output.text(error, "red"))
    return table


def _stderr() -> Any:
    import sys

    return sys.stderr
