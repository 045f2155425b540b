"""Recipes, launches and statistics as JSON and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from cloudmesh_actors.cli import output
from cloudmesh_actors.launcher.model import Launch, LaunchState, Parameter, Recipe, Stat
from cloudmesh_actors.nodes import fold

#: Lines of an output that are shown; --json has all that is kept.
SHOWN_LINES = 12


def recipe_object(recipe: Recipe) -> dict[str, Any]:
    """A recipe as `launcher recipes --json` has it."""
    return {
        "name": recipe.name,
        "label": recipe.label,
        "description": recipe.description,
        "parameters": [asdict(parameter) for parameter in recipe.parameters],
        "targets": recipe.targets or None,
        "timeout": recipe.timeout,
        "changes_node": recipe.changes_node,
        "repeatable": recipe.repeatable,
    }


def launch_object(launch: Launch, printed: str | None = None) -> dict[str, Any]:
    """A launch as `launcher show --json` has it."""
    told = {
        "id": launch.step_id,
        "job": launch.job_id,
        "recipe": launch.recipe,
        "server": launch.server,
        "parameters": launch.parameters,
        "state": launch.state.value,
        "error": launch.error,
        "worker": launch.worker,
        "created_at": output.iso(launch.created_at),
        "started_at": output.iso(launch.started_at),
        "ended_at": output.iso(launch.ended_at),
    }
    return told if printed is None else {**told, "output": printed}


def stat_object(stat: Stat) -> dict[str, Any]:
    """An entry of `launcher stats --json`; durations are seconds."""
    return {**asdict(stat), "state": stat.state.value, "latest": output.iso(stat.latest)}


def recipes(found: Sequence[Recipe]) -> Table:
    """A line for each recipe."""
    table = output.table("recipe", "label", "parameters", "description", last="description")
    for recipe in found:
        names = ", ".join(f"{parameter.name}{'!' if parameter.required else ''}" for parameter in recipe.parameters)
        table.add_row(*map(output.text, (recipe.name, recipe.label, names, recipe.description)))
    return table


def recipe(one: Recipe) -> list[Any]:
    """A recipe and what it takes."""
    facts = [f"ended after {output.duration(one.timeout)}", f"on {one.targets or 'any server'}"]
    facts += ["changes the node"] * one.changes_node + ["may run twice"] * one.repeatable
    head = [output.text(one.label, "bold"), *map(output.text, one.description.splitlines())]
    table = output.table("parameter", "type", "default", "", last="")
    for parameter in one.parameters:
        table.add_row(*map(output.text, _parameter(parameter)))
    return [*head, output.text(", ".join(facts), "dim"), *([Text(), table] if one.parameters else [])]


def _parameter(parameter: Parameter) -> tuple[str, str, str, str]:
    default = "required" if parameter.required else "-" if parameter.default is None else str(parameter.default)
    return parameter.name, parameter.type, default, ", ".join(_limits(parameter))


def _limits(parameter: Parameter) -> Iterator[str]:
    if parameter.label != parameter.name:
        yield parameter.label
    if parameter.choices:
        yield " or ".join(parameter.choices)
    if parameter.minimum is not None or parameter.maximum is not None:
        low, high = ("" if limit is None else f"{limit:g}" for limit in (parameter.minimum, parameter.maximum))
        yield f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}"
    if parameter.description:
        yield parameter.description


def launches(found: Sequence[Launch]) -> Table:
    """A line for each launch."""
    now = datetime.now(UTC)
    table = output.table("job", "recipe", "server", "state", "worker", "took", "error", right=("took",), last="error")
    for launch in found:
        table.add_row(
            launch.job_id[:8],
            output.text(launch.recipe),
            output.text(launch.server),
            output.state(launch.state),
            output.text(launch.worker or "-"),
            took(launch, now),
            output.text((launch.error or "").removeprefix(f"{launch.server}: "), "red"),
        )
    return table


def took(launch: Launch, now: datetime) -> str:
    """How long a launch took, or takes by now."""
    if launch.started_at is None:
        return "-"
    return output.duration(((launch.ended_at or now) - launch.started_at).total_seconds())


def outputs(found: Sequence[Launch], printed: Mapping[str, str]) -> Iterator[Any]:
    """The end of what scripts printed; servers whose output is the same are one."""
    alike: dict[str, list[str]] = {}
    for launch in found:
        if printed.get(launch.step_id):
            alike.setdefault(printed[launch.step_id], []).append(launch.server)
    for text, servers in alike.items():
        lines = text.splitlines()
        yield Text()
        yield output.text(fold(servers), "bold")
        if len(lines) > SHOWN_LINES:
            yield output.text(f"({len(lines) - SHOWN_LINES} lines before; --json has them)", "dim")
        yield Text("\n").join(output.text(line) for line in lines[-SHOWN_LINES:])


def stats(found: Sequence[Stat]) -> Table:
    """A line for each recipe and state; servers with as many launches are one."""
    right = ("launches", "shortest", "mean", "longest")
    table = output.table("recipe", "servers", "state", *right, "latest", right=right)
    groups: dict[tuple[str, LaunchState], list[Stat]] = {}
    for stat in found:
        groups.setdefault((stat.recipe, stat.state), []).append(stat)
    for (recipe, state), those in groups.items():
        servers = output.text(fold(stat.server for stat in those))
        table.add_row(output.text(recipe), servers, output.state(state), *_totals(those))
    table.columns[1].no_wrap = False
    table.columns[1].overflow = "fold"
    return table


def _totals(those: Sequence[Stat]) -> list[str]:
    count = sum(stat.count for stat in those)
    timed = [stat for stat in those if stat.mean is not None]
    lows, highs = [stat.shortest or 0.0 for stat in timed], [stat.longest or 0.0 for stat in timed]
    seconds = sum((stat.mean or 0.0) * stat.count for stat in timed)
    times = (min(lows), seconds / sum(stat.count for stat in timed), max(highs)) if timed else ()
    shown = [output.duration(value) for value in times] or ["-"] * 3
    return [f"{count:,}", *shown, output.local(max(stat.latest for stat in those))]
