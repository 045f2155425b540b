"""What the store has of batch servers, shown once or again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import typer

from cloudmesh_actors import jobs as engine
from cloudmesh_actors.cli import output, pbsviews, results, streams, waiting
from cloudmesh_actors.cli.exits import ExitCode
from cloudmesh_actors.errors import BrokerUnavailable
from cloudmesh_actors.jobs import State
from cloudmesh_actors.pbs import records
from cloudmesh_actors.pbs.clusters import find_cluster
from cloudmesh_actors.pbs.model import Slots
from cloudmesh_actors.pbs.records import Reading, ServerState

#: How often a view that is watched is drawn, in seconds.
WATCH_EVERY_S = 2.0

#: Fields of batch jobs that are points in time; a queue's `started` is a yes or no.
_TIMES = frozenset({"submitted", "started", "ended"})

Row = Any


@dataclass(frozen=True, slots=True)
class View:
    """Rows of a cluster's snapshots: the actor that makes these fresh, how to read the rows, how to show them."""

    actor: str
    cluster: str | None
    rows: Callable[[Reading], Sequence[Row]]
    table: Callable[[Sequence[Row], bool], list[Any]]

    def read(self) -> tuple[Sequence[Row], list[ServerState]]:
        """The rows, and the servers that they are from, as of one moment."""
        with records.reading(self.cluster) as seen:
            return self.rows(seen), seen.servers

    def send(self) -> str:
        """Have a worker make it fresh; returns the job's id."""
        return waiting.send(self.actor, [self.cluster] if self.cluster else [], {})

    def shown(self) -> tuple[list[Any], list[ServerState]]:
        """What is printed for people, and the servers that it is from."""
        rows, servers = self.read()
        tables = self.table(rows, self.cluster is None) if any(server.snapshot for server in servers) else []
        return [*tables, *pbsviews.footer(servers)], servers


def run(view: View, *, refresh: bool, watch: bool, timeout: float | None, as_json: bool) -> None:
    """Show a view, once or until Ctrl-C. Ends the command with FAILED unless all its servers are well."""
    if view.cluster is not None:
        find_cluster(view.cluster)
    if watch and as_json:
        raise typer.BadParameter("it does not go together with --json", param_hint="--watch")
    if watch:
        keep_showing(view, Refresher(view) if refresh else lambda: None)
        return
    fresh = not refresh or results.wait_for(view.send(), timeout).state is State.DONE
    servers = _print_json(view) if as_json else _print(view)
    if not fresh or not all(server.ok for server in servers):
        raise typer.Exit(ExitCode.FAILED)


def keep_showing(view: View, refresh: Callable[[], None], sleep: Callable[[float], None] = time.sleep) -> None:
    """Show a view again and again: in its place on a terminal, one below the other elsewhere."""
    draw = _in_place if sys.stdout.isatty() else _one_below_the_other
    try:
        for _ in draw(lambda: view.shown()[0]):
            refresh()
            sleep(WATCH_EVERY_S)
    except KeyboardInterrupt:
        return


class Refresher:
    """Has workers make a view fresh, with one job at a time."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._job: str | None = None

    def __call__(self) -> None:
        """Send a job, unless the last one has not ended. When that is not possible, it is told."""
        if self._job is not None and engine.get(self._job).state in (State.QUEUED, State.RUNNING):
            return
        try:
            self._job = self._view.send()
        except BrokerUnavailable as error:
            streams.say(str(error))


def as_object(row: Row) -> dict[str, Any]:
    """A row as JSON has it: times are ISO 8601, `attributes` of jobs are left out."""
    return {
        field.name: _value(field.name, getattr(row, field.name))
        for field in fields(row)
        if not (field.name == "attributes" and isinstance(row, records.ClusterJob))
    }


def _value(name: str, value: Any) -> Any:
    if name in _TIMES and value is not None and not isinstance(value, bool):
        return output.iso(datetime.fromtimestamp(value, UTC))
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, list):
        return [slots._asdict() if isinstance(slots, Slots) else slots for slots in value]
    return value


def _print(view: View) -> list[ServerState]:
    parts, servers = view.shown()
    output.show(*parts)
    return servers


def _print_json(view: View) -> list[ServerState]:
    rows, servers = view.read()
    output.as_json([as_object(row) for row in rows])
    for server in servers:
        if not server.ok:
            streams.say(pbsviews.trouble(server))
    return servers


def _in_place(draw: Callable[[], list[Any]]) -> Iterator[None]:
    from rich.console import Group
    from rich.live import Live

    with Live(console=output.console(), auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            live.update(Group(*draw()), refresh=True)
            yield


def _one_below_the_other(draw: Callable[[], list[Any]]) -> Iterator[None]:
    while True:
        output.show(*draw(), "")
        yield
