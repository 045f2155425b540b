"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import typer

from cloudmesh_actors.cli.completion import jobs

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else on stdout.")]

Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0,
        help="Wait so long at most, 600 by default; 0 for no limit. The job goes on afterwards.",
    ),
]

WaitLease = Annotated[
    float,
    typer.Option(
        "--wait-lease",
        metavar="SECONDS",
        min=0,
        max=86_400,
        help="Wait so long for nodes that other jobs work on; by default they are refused.",
    ),
]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however many nodes these are.")]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be hit.")]

JobId = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.", autocompletion=jobs)]

Nodes = Annotated[str, typer.Argument(metavar="NODES", help="A node set: i[001-004], @india, @rack:r1.")]


def one_of(word: str, known: Collection[str], option: str) -> str:
    """`word`, which is one of those that are known. Raises typer.BadParameter, with a near miss."""
    from difflib import get_close_matches

    if word in known:
        return word
    near = get_close_matches(word, known, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
    raise typer.BadParameter(f"there is no {word!r}; {hint}", param_hint=option)
