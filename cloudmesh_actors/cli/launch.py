"""``cm-actors launch``."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudmesh_actors.cli.common import DryRun, Json, Timeout, WaitLease, Yes
from cloudmesh_actors.cli.completion import recipe_parameters, recipes

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show every server until all have ended.")]


def command(  # noqa: PLR0917 - Typer's way to name options
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="As `launcher recipes` lists them.", autocompletion=recipes)
    ],
    servers: Annotated[str, typer.Argument(metavar="SERVERS", help="A node set: i[001-004], @india, @rack:r1.")],
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="NAME=VALUE", help="One of the recipe's.", autocompletion=recipe_parameters
        ),
    ] = None,
    watch: Watch = False,
    wait_lease: WaitLease = 0,
    yes: Yes = False,
    dry_run: DryRun = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Launch a recipe on servers, and print the job's id.

    With --watch every server is shown until all have ended. For a recipe that changes its nodes, what would be hit is
    shown first.
    """
    from cloudmesh_actors.cli import launchwatch, waiting
    from cloudmesh_actors.cli.confirm import confirm
    from cloudmesh_actors.launcher import actors
    from cloudmesh_actors.launcher.recipes import find

    values = _values(parameters or [])
    actors.launch.check((recipe, servers, values), {})
    if find(recipe).changes_node or dry_run:
        confirm(f"launch {recipe}", servers, yes=yes, dry_run=dry_run, as_json=as_json)
    job_id = waiting.send(
        "launcher.launch", [recipe, servers, values], {"wait_lease": wait_lease} if wait_lease else {}
    )
    launchwatch.follow_up(job_id, watch=watch, timeout=timeout, as_json=as_json)


def _values(words: list[str]) -> dict[str, str]:
    """``name=value`` as a mapping; a value is text, which the recipe understands by its parameter's type."""
    from cloudmesh_actors.errors import ArgumentError

    values: dict[str, str] = {}
    for word in words:
        name, is_there, value = word.partition("=")
        if not is_there or not name:
            raise ArgumentError(f"{word!r} is not of the form NAME=VALUE.")
        if name in values:
            raise ArgumentError(f"The parameter {name} is given twice.")
        values[name] = value
    return values
