"""``cm-actors queues aside``: messages that cannot be run, listed, shown, sent again, dropped."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from cloudmesh_actors.cli.common import Json, one_of
from cloudmesh_actors.cli.completion import actors, queues
from cloudmesh_actors.cli.exits import ExitCode
from cloudmesh_actors.cli.lazy import plain_app
from cloudmesh_actors.families import FAMILIES

if TYPE_CHECKING:
    from cloudmesh_actors.broker.setaside import Aside


class ListByDefault(TyperGroup):
    """A group whose command is `list` unless another one is named: ``queues aside rack``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the name of the command."""
        if not args or (args[0] not in self.commands and args[0] not in ("--help", "-h")):
            args.insert(0, "list")
        return super().parse_args(ctx, args)


app = plain_app(cls=ListByDefault)

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Their ids, or beginnings of them.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Actor = Annotated[str, typer.Option(metavar="FAMILY.ACTOR", help="All of this actor.", autocompletion=actors)]
Queue = Annotated[str, typer.Option(metavar="QUEUE", help="All of this queue.", autocompletion=queues)]
Matching = Annotated[str, typer.Option(metavar="TEXT", help="All that have this in their body or reason.")]


@app.callback()
def group() -> None:
    """Show the messages that were set aside: no worker could read or run them."""


@app.command("list")
def list_command(
    queue: Annotated[
        str, typer.Argument(metavar="[QUEUE]", help="Only those of this queue.", autocompletion=queues)
    ] = "",
    number: Annotated[int, typer.Option("-n", min=1, metavar="N", help="So many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List them, oldest first."""
    from cloudmesh_actors.broker import setaside
    from cloudmesh_actors.cli import output, streams

    found = setaside.listing(one_of(queue, FAMILIES, "QUEUE") if queue else "")
    if as_json:
        output.as_json([as_object(entry) for entry in found[:number]])
        return
    if found:
        output.show(_table(found[:number]))
    if len(found) > number:
        streams.say(f"And {output.counted(len(found) - number, 'message')} more; -n shows more of them.")
    elif not found:
        streams.say("No message is set aside.")


@app.command()
def show(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    as_json: Json = False,
) -> None:
    """Show one, with its body; secrets are struck out."""
    from cloudmesh_actors.broker import setaside
    from cloudmesh_actors.cli import output

    entry = setaside.get(message_id)
    whole = {**as_object(entry), "headers": setaside.headers(entry), "body": setaside.readable(entry)}
    if as_json:
        output.as_json(whole)
        return
    table = output.table("", "")
    table.show_header = False
    for name, value in whole.items():
        if name != "body" and value not in (None, {}):
            table.add_row(name, output.text(value))
    output.show(table, output.text(whole["body"]))


@app.command()
def requeue(
    ids: Ids = None,
    *,
    everything: All = False,
    actor: Actor = "",
    queue: Queue = "",
    matching: Matching = "",
    force: Annotated[
        bool,
        typer.Option("--force", help="Also those with ID whose signature is missing or wrong. Look at them first."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Send them again, each as a new job whose retry_of is the one that failed."""
    from cloudmesh_actors.broker import setaside
    from cloudmesh_actors.cli import output, streams

    if force and not ids:
        raise typer.BadParameter("goes with ids only", param_hint="--force")
    done = setaside.requeue(_chosen(ids, everything, actor, queue, matching), force=force)
    if as_json:
        jobs = [{"id": name, "job": job} for name, job in done.jobs.items()]
        output.as_json({"requeued": jobs, "refused": [{"id": n, "reason": why} for n, why in done.refused.items()]})
    else:
        streams.write("".join(f"{job}\n" for job in done.jobs.values()))
    streams.say(f"{output.counted(len(done.jobs), 'message')} sent again.")
    for name, why in done.refused.items():
        streams.say(f"Not sent: {name[:8]}: {why}.")
    if done.refused:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def drop(
    ids: Ids = None,
    *,
    everything: All = False,
    actor: Actor = "",
    queue: Queue = "",
    matching: Matching = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Forget them for good. Their jobs stay failed."""
    from cloudmesh_actors.broker import setaside
    from cloudmesh_actors.cli import output, streams

    chosen = _chosen(ids, everything, actor, queue, matching)
    if chosen and not yes:
        _ask(output.counted(len(chosen), "message"))
    dropped = setaside.drop(chosen)
    if as_json:
        output.as_json({"dropped": dropped})
    streams.say(f"{output.counted(dropped, 'message')} dropped.")


def as_object(entry: Aside) -> dict[str, Any]:
    """A message as JSON."""
    from cloudmesh_actors.cli import output

    return {"id": entry.id, "queue": entry.queue, "actor": entry.actor, "job": entry.job,
            "time": output.iso(_moment(entry)), "reason": entry.reason, "size": entry.size,
            "trusted": entry.trusted}  # fmt: skip


def _chosen(ids: list[str] | None, everything: bool, actor: str, queue: str, matching: str) -> list[Aside]:
    from cloudmesh_actors.broker import setaside

    if not (ids or everything or actor or queue or matching):
        raise typer.BadParameter(
            "name some by their ids, or use --actor, --queue, --matching or --all", param_hint="ID"
        )
    if everything and (ids or actor or queue or matching):
        raise typer.BadParameter("goes with no other choice", param_hint="--all")
    known = one_of(queue, FAMILIES, "--queue") if queue else ""
    return setaside.select(setaside.Selection(tuple(ids or ()), known, actor, matching))


def _ask(what: str) -> None:
    from cloudmesh_actors.cli import streams

    if not sys.stdin.isatty():
        streams.say(
            f"{what} would be dropped: nobody is there to be asked. Nothing was done; add --yes if it is meant."
        )
        raise typer.Exit(ExitCode.USAGE)
    streams.write(f"{what} will be gone for good. Type yes to go on: ", sys.stderr)
    if sys.stdin.readline().strip().lower() != "yes":
        streams.say("Nothing was done.")
        raise typer.Exit(ExitCode.USAGE)


def _table(entries: list[Aside]) -> Any:
    from cloudmesh_actors.cli import output

    table = output.table("id", "queue", "actor", "job", "time", "size", "reason", right=("size",), last="reason")
    for entry in entries:
        cells = (entry.id[:8], entry.queue, entry.actor or "-", (entry.job or "-")[:8], _when(entry), f"{entry.size:,}")
        table.add_row(*map(output.text, cells), output.text(entry.reason))
    return table


def _moment(entry: Aside) -> datetime | None:
    return None if entry.at is None else datetime.fromtimestamp(entry.at, UTC)


def _when(entry: Aside) -> str:
    moment = _moment(entry)
    return "-" if moment is None else f"{moment.astimezone():%m-%d %H:%M}"
