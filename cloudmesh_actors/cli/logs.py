"""``cm-actors logs``: what the workers wrote, merged, for people or as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cloudmesh_actors.logs.history import Logs, Wanted
    from cloudmesh_actors.logs.reader import Entry

#: Lines shown before following when nothing else says how many.
LINES_BEFORE_FOLLOWING = 10


def command(  # noqa: PLR0917 - Typer's way to name options
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Workers (l1, rack, 'p*'); all without.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
    job: Annotated[str, typer.Option(metavar="ID", help="Only this job; the beginning of its id will do.")] = "",
    actor: Annotated[str, typer.Option(metavar="ACTOR", help="Only this actor (rack.power) or family (rack).")] = "",
    level: Annotated[str, typer.Option(metavar="LEVEL", help="At least debug, info, warning, error or critical.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="Not older than 10m, 2h, 13:30 or 2025-03-01T13:30.")] = "",
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=0, metavar="LINES", help="Only the last LINES.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the workers' logs in the order of time, rotated files too.

    Lines that are no events (of C code, say) are marked "raw".
    """
    from cloudmesh_actors import settings
    from cloudmesh_actors.logs.history import Logs, Wanted

    wanted = Wanted(job=job, actor=actor, level=_level(level), since=_since(since))
    log_dir = settings.current().log_dir
    logs = Logs(log_dir, names or ())
    _check_names(log_dir, names or [])
    if lines is None and follow and not (job or since):
        lines = LINES_BEFORE_FOLLOWING
    with suppress(KeyboardInterrupt):
        width = max(map(len, logs.workers()), default=0)
        _print(_entries(logs, wanted, lines, follow), as_json=as_json, at_once=follow, worker_width=width)


def _entries(logs: Logs, wanted: Wanted, lines: int | None, follow: bool) -> Iterator[Entry]:
    if lines is None:
        yield from logs.all(wanted, torn=not follow)
    else:
        yield from logs.last(lines, wanted, torn=not follow)
    if follow:
        yield from logs.follow(wanted)


def _print(entries: Iterable[Entry], *, as_json: bool, at_once: bool, worker_width: int) -> None:
    from cloudmesh_actors.logs import render

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    try:
        for entry in entries:
            if as_json:
                text = render.as_json(entry)
            else:
                text = render.for_people(entry, colour=colour, worker_width=worker_width)
            print(text, flush=at_once)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _level(text: str) -> str:
    from cloudmesh_actors.logs.render import LEVELS

    if text and text.lower() not in LEVELS:
        raise typer.BadParameter(_near(f"{text!r} is no level.", text.lower(), LEVELS), param_hint="--level")
    return text.lower()


def _since(text: str) -> str:
    from cloudmesh_actors.logs.history import since

    if not text:
        return ""
    try:
        return since(text, datetime.now().astimezone())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None


def _check_names(log_dir: Path, names: list[str]) -> None:
    from cloudmesh_actors.logs import reader
    from cloudmesh_actors.logs.history import matching

    known = reader.names(log_dir)
    for name in names:
        if not matching(name, known):
            raise typer.BadParameter(
                _near(f"There is no log of {name!r} in {log_dir}.", name, known), param_hint="NAME"
            )
    if not known:
        typer.echo(f"There are no logs in {log_dir} yet; `make workers-up` starts the workers.", err=True)


def _near(sentence: str, wrong: str, known: Iterable[str]) -> str:
    near = get_close_matches(wrong, list(known), 1, 0.5)
    return f"{sentence} Did you mean {near[0]!r}?" if near else f"{sentence} There are: {', '.join(known) or 'none'}."
