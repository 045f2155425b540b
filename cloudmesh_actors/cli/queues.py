"""``cm-actors queues``: how they are, pausing and resuming them, and what was set aside of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudmesh_actors.cli import aside
from cloudmesh_actors.cli.common import Json, one_of
from cloudmesh_actors.cli.completion import queues
from cloudmesh_actors.cli.lazy import plain_app
from cloudmesh_actors.families import FAMILIES

if TYPE_CHECKING:
    from cloudmesh_actors.broker.pauses import Pause

app = plain_app(invoke_without_command=True)
app.add_typer(aside.app, name="aside")

Names = Annotated[list[str], typer.Argument(metavar="QUEUE...", help="The queues.", autocompletion=queues)]


@app.callback()
def group(ctx: typer.Context, as_json: Json = False) -> None:
    """Show how many messages each queue holds, how long the oldest has waited, and how many workers take them.

    "set aside" are messages that cannot be run: see `queues aside`.
    """
    if ctx.invoked_subcommand is None:
        _show(as_json=as_json)


@app.command()
def pause(
    names: Names,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; shown wherever the queue is.")] = "",
    as_json: Json = False,
) -> None:
    """Have the workers of queues begin nothing new. What runs goes on, and what is sent waits."""
    from cloudmesh_actors import broker
    from cloudmesh_actors.cli import output, streams

    made = [broker.pause(name, reason) for name in _known(names)]
    if as_json:
        output.as_json([{"queue": each.queue, "paused": as_object(each)} for each in made])
    streams.say(f"Paused: {', '.join(each.queue for each in made)}. What runs goes on; nothing new begins.")


@app.command()
def resume(names: Names, as_json: Json = False) -> None:
    """Have the workers of queues go on."""
    from cloudmesh_actors import broker
    from cloudmesh_actors.cli import output, streams

    found = {name: broker.resume(name) for name in _known(names)}
    if as_json:
        output.as_json([{"queue": name, "was_paused": was} for name, was in found.items()])
    for name, was in found.items():
        streams.say(f"The queue {name} {'is resumed' if was else 'was not paused'}.")


def as_object(pause: Pause | None) -> dict[str, Any] | None:
    """A pause as JSON."""
    from cloudmesh_actors.cli import output

    if pause is None:
        return None
    return {"by": pause.by, "since": output.iso(datetime.fromtimestamp(pause.at, UTC)), "reason": pause.reason}


def _known(names: list[str]) -> list[str]:
    return [one_of(name, FAMILIES, "QUEUE") for name in names]


def _show(*, as_json: bool) -> None:
    from collections import Counter
    from dataclasses import asdict

    from cloudmesh_actors import roster
    from cloudmesh_actors.broker import queuestates
    from cloudmesh_actors.cli import output, streams, waiting

    states = queuestates.states()
    workers = Counter(row.queue for row in roster.rows() if waiting.takes_messages(row))
    if as_json:
        objects = (
            {**asdict(state), "workers": workers[state.queue], "paused": as_object(state.pause)} for state in states
        )
        output.as_json([{name: value for name, value in each.items() if name != "pause"} for each in objects])
        return
    numbers = ("ready", "delayed", "running", "set aside", "oldest", "workers")
    table = output.table("queue", *numbers, "paused", right=numbers)
    for state in states:
        counts = (state.ready, state.delayed, state.running, state.set_aside)
        oldest = "-" if state.oldest is None else output.duration(state.oldest)
        paused = output.text(_since(state.pause) if state.pause else "", "yellow")
        table.add_row(state.queue, *map(str, counts), oldest, str(workers[state.queue]), paused)
    output.show(table)
    for state in states:
        if state.pause is not None:
            streams.say(waiting.is_paused(state.pause))


def _since(pause: Pause) -> str:
    """The time of day, or the day when it is another one."""
    moment = datetime.fromtimestamp(pause.at, UTC).astimezone()
    return f"{moment:%H:%M}" if moment.date() == datetime.now().astimezone().date() else f"{moment:%Y-%m-%d}"
