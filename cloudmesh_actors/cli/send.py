"""``cm-actors send``."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudmesh_actors.cli.common import Json, Timeout
from cloudmesh_actors.cli.completion import actors


def command(
    actor: Annotated[
        str, typer.Argument(metavar="FAMILY.ACTOR", help="As in rack.read_sensors.", autocompletion=actors)
    ],
    words: Annotated[list[str] | None, typer.Argument(metavar="ARG|NAME=VALUE", help="The actor's arguments.")] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until it has ended, and print its result.")] = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Send a job to the queue of its family, and print its id.

    A value is JSON if it parses, else text: 3 is a number, i[001-004] a text. A text that looks like JSON is written as
    JSON, '"3"', and so is one that looks like NAME=VALUE, '"a=b"'. Words after -- are no options.
    """
    from cloudmesh_actors import actor as actors_module
    from cloudmesh_actors.cli import arguments, results, waiting

    found = actors_module.find(actor)
    args, kwargs = arguments.parse(words or [], found.signature.parameters)
    job_id = waiting.send(actor, args, kwargs)
    results.follow_up(job_id, wait=wait, timeout=timeout, as_json=as_json)
