"""Before many nodes are switched off: what would be hit, and whether that is meant."""

from __future__ import annotations

import sys

import typer

from cloudmesh_actors import site
from cloudmesh_actors.cli import output, streams
from cloudmesh_actors.cli.exits import ExitCode
from cloudmesh_actors.nodes import fold


def show(nodes: str, action: str, *, as_json: bool) -> None:
    """Print the nodes that an action would be carried out on."""
    names = site.current().nodes(nodes)
    if as_json:
        output.as_json({"action": action, "nodes": names, "folded": fold(names), "count": len(names)})
    else:
        streams.say(f"power {action} would be carried out on {output.counted(len(names), 'node')}:")
        streams.write(f"{fold(names)}\n")


def ask(nodes: str, action: str, *, above: int) -> None:
    """Have the number of nodes typed when they are more than `above`; ends the command unless it is right."""
    names = site.current().nodes(nodes)
    if len(names) <= above:
        return
    what = f"power {action} on {len(names):,} nodes, {fold(names)}"
    if not sys.stdin.isatty():
        streams.say(f"{what}: nobody is there to be asked. Nothing was sent; add --yes if it is meant.")
        raise typer.Exit(ExitCode.USAGE)
    if _answer(f"{what}.\nType the number of nodes to go on: ") != str(len(names)):
        streams.say("Nothing was sent.")
        raise typer.Exit(ExitCode.USAGE)


def _answer(question: str) -> str:
    streams.write(question, sys.stderr)
    return sys.stdin.readline().strip().replace(",", "")
