"""Before nodes are changed: what would be hit, and whether that is meant."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer

from cloudmesh_actors.cli import output, streams
from cloudmesh_actors.cli.exits import ExitCode

#: What ends nobody's work: of these only leases are shown, and nobody is asked.
HARMLESS = frozenset({"power on", "power status"})


def confirm(
    action: str,
    nodes: str,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool = False,
    answer: Callable[[str], str] | None = None,
) -> None:
    """Show what `action` would hit, and have the number of nodes typed when they are many; ends the command otherwise.

    With `yes` nothing is looked up, shown or asked. With `dry_run` it is shown on stdout, and that is all.

    Raises:
        UnknownNode, NodeSetError, StoreUnavailable: nothing was shown or asked.
    """
    if yes and not dry_run:
        return
    from cloudmesh_actors import preview

    plan = preview.plan(action, nodes)
    if dry_run:
        output.as_json(plan.as_json()) if as_json else output.show(*_view(plan))
        raise typer.Exit
    _tell(plan)
    if plan.needs_count and action not in HARMLESS:
        _ask(f"{action}, {len(plan.nodes):,} nodes", len(plan.nodes), answer or _answer)


def _view(plan: Any) -> list[Any]:
    from cloudmesh_actors.cli import planviews

    return planviews.view(plan)


def _tell(plan: Any) -> None:
    """On stderr: stdout is for the result."""
    from cloudmesh_actors.cli import planviews

    parts = planviews.held(plan) if plan.action in HARMLESS else planviews.view(plan)
    printer = output.console(stderr=True)
    for part in parts:
        printer.print(part)


def _ask(what: str, count: int, answer: Callable[[str], str]) -> None:
    if not sys.stdin.isatty():
        streams.say(f"{what}: nobody is there to be asked. Nothing was sent; add --yes if it is meant.")
        raise typer.Exit(ExitCode.USAGE)
    if answer("Type the number of nodes to go on: ") != str(count):
        streams.say("Nothing was sent.")
        raise typer.Exit(ExitCode.USAGE)


def _answer(question: str) -> str:
    streams.write(question, sys.stderr)
    return sys.stdin.readline().strip().replace(",", "")
