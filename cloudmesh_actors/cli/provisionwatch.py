"""A provisioning that is watched: a line for each node, live on a terminal, until all have ended."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Group

from cloudmesh_actors import jobs
from cloudmesh_actors.cli import jobviews, output, provisionstore, provisionviews, streams, waiting
from cloudmesh_actors.cli.nodeviews import Entry
from cloudmesh_actors.jobs import Job
from cloudmesh_actors.provisioner import views
from cloudmesh_actors.provisioner.states import ENDED, State

#: How often the nodes are looked at, in seconds.
LOOK_EVERY_S = 0.25

#: Nodes that have a live line each; of more, those that go on are shown first.
SHOWN_NODES = 24


def follow_up(job_id: str, *, watch: bool, timeout: float | None, as_json: bool) -> None:
    """After a job was sent: print its id, or watch it to its end. Ends the command unless all is well."""
    if watch:
        provisionstore.finish(waiting.wait(job_id, timeout or 0.0, Watcher(job_id)), as_json=as_json)
    elif as_json:
        output.as_json(jobviews.as_object(jobs.get(job_id)))
    else:
        streams.write(f"{job_id}\n")


class Watcher(waiting.Watcher):
    """Looks at the nodes of a job while it is waited for."""

    def __init__(self, job_id: str) -> None:
        stderr = output.console(stderr=True)
        self._nodes: Live | Changes = Live() if stderr.is_terminal and not stderr.is_dumb_terminal else Changes()
        super().__init__(self._nodes)
        self._job_id, self._look_at_nodes = job_id, 0.0

    def sleep(self, seconds: float) -> None:
        """Sleep, and look at the nodes."""
        super().sleep(seconds)
        if time.monotonic() >= self._look_at_nodes:
            self._nodes.nodes(views.of_job(self._job_id))
            self._look_at_nodes = time.monotonic() + LOOK_EVERY_S


class Changes(waiting.Lines):
    """A line whenever a node has changed its state: for files, pipes and simple terminals."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, tuple[str, str | None]] = {}

    def nodes(self, entries: Sequence[Entry]) -> None:
        """Tell new states."""
        for entry in entries:
            seen = entry["state"], entry["error"] or entry["trouble"]
            if self._known.get(entry["node"]) != seen:
                self._known[entry["node"]] = seen
                streams.write(f"{provisionviews.line(entry)}\n", sys.stderr)


class Live:
    """A table that is drawn again and again, and goes when the job ends."""

    def __init__(self) -> None:
        from rich.live import Live as Screen

        self._screen = Screen(console=output.console(stderr=True), transient=True, auto_refresh=False)
        self._screen.start()

    def show(self, job: Job) -> None:
        """The job itself has no line."""

    def nodes(self, entries: Sequence[Entry]) -> None:
        """Draw the nodes, those that go on first."""
        order = sorted(entries, key=lambda entry: entry["state"] in ENDED)
        lines = [output.text(provisionviews.line(entry)) for entry in order[:SHOWN_NODES]]
        self._screen.update(Group(*lines, output.text(summary(entries), "dim")), refresh=True)

    def tell(self, sentence: str) -> None:
        """Show a sentence above the table."""
        self._screen.console.print(output.text(sentence, "yellow"))

    def close(self) -> None:
        """Take the table away."""
        self._screen.stop()


def summary(entries: Sequence[Entry]) -> str:
    """``64 nodes: 3 BOOTING, 61 SUCCESS``."""
    counts = Counter(entry["state"] for entry in entries)
    states = ", ".join(f"{counts[state]:,} {state}" for state in State if counts[state])
    return f"{output.counted(len(entries), 'node')}: {states}" if entries else "no node yet"
