"""What the store has of sensors: the latest readings with their age, and the course of one sensor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import typer

from cloudmesh_actors import site
from cloudmesh_actors.cli import output, rackviews, streams
from cloudmesh_actors.cli.exits import ExitCode
from cloudmesh_actors.cli.nodeviews import alike
from cloudmesh_actors.errors import ArgumentError, UnknownNode
from cloudmesh_actors.logs.history import since as moment_of
from cloudmesh_actors.nodes import fold
from cloudmesh_actors.rack import records
from cloudmesh_actors.rack.model import Column, Point

#: Lines of a history's table; more points are put together.
LINES = 16

BARS = "▁▂▃▄▅▆▇█"

#: Width of the curve.
CURVE_WIDTH = 72


def show_latest(nodes: str, *, as_json: bool) -> None:
    """Print the latest stored readings, and say which nodes have none. Ends the command unless all have good ones."""
    names = site.current().nodes(nodes)
    entries = records.latest(names)
    missing = fold(set(names) - {entry["node"] for entry in entries})
    if as_json:
        output.as_json(entries)
    else:
        output.show(*rackviews.sensors(entries), *_ages(entries))
    if missing:
        streams.say(f"{missing}: nothing is stored; `cm-actors rack sensors` reads them.")
    if missing or not all(entry["ok"] for entry in entries):
        raise typer.Exit(ExitCode.FAILED)


def _ages(entries: Sequence[dict[str, Any]]) -> list[Any]:
    now = datetime.now(UTC)
    return [
        output.text(f"{nodes}: read {output.duration((now - when).total_seconds())} ago", "dim")
        for nodes, entry in alike(entries, "time")
        for when in [datetime.fromisoformat(entry["time"])]
    ]


def show_history(node: str, sensor: str, since: str, *, as_json: bool) -> None:
    """Print the course of one sensor of a node."""
    column = _column(_one_node(node), sensor)
    now = datetime.now(UTC)
    points = records.history(node, column.name, _since(since), now)
    if as_json:
        output.as_json([_point_object(point) for point in points])
        return
    unit = rackviews.UNITS.get(column.unit, column.unit)
    if not any(point.value is not None for point in points):
        streams.say(f"{node} has no reading of {column.name} since {since}.")
        return
    output.show(output.text(f"{node}  {column.name}  {unit}", "bold"), output.text(curve(points)), _table(points, unit))


def curve(points: Sequence[Point], width: int = CURVE_WIDTH) -> str:
    """A line of bars, the lowest value the lowest bar; a gap where there was no reading."""
    values = [point.value for point in squeezed(points, width)]
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    step = (high - low) / (len(BARS) - 1) or 1.0
    return "".join(" " if value is None else BARS[round((value - low) / step)] for value in values)


def squeezed(points: Sequence[Point], count: int) -> list[Point]:
    """At most `count` points: neighbours are put together, with the mean of their values and their extremes."""
    if len(points) <= count:
        return list(points)
    edges = [len(points) * part // count for part in range(count + 1)]
    return [_together(points[first:end]) for first, end in pairwise(edges)]


def _together(points: Sequence[Point]) -> Point:
    values = [point.value for point in points if point.value is not None]
    if not values:
        return points[0]
    lows = [point.low for point in points if point.low is not None]
    highs = [point.high for point in points if point.high is not None]
    return Point(points[0].time, sum(values) / len(values), min(lows), max(highs))


def _table(points: Sequence[Point], unit: str) -> Any:
    table = output.table("from", "mean", "low", "high", "", right=("mean", "low", "high"))
    for point in squeezed(points, LINES):
        numbers = (rackviews.number(_rounded(value)) for value in (point.value, point.low, point.high))
        table.add_row(output.local(point.time), *numbers, unit)
    return table


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _point_object(point: Point) -> dict[str, Any]:
    return {"time": output.iso(point.time), "value": point.value, "low": point.low, "high": point.high}


def _one_node(text: str) -> str:
    names = site.current().nodes(text)
    if len(names) != 1:
        raise ArgumentError(f"{text!r} is {len(names):,} nodes; a history is of one.")
    return names[0]


def _column(node: str, sensor: str) -> Column:
    columns = {column.name: column for column in records.sensors_of(node)}
    if not columns:
        raise UnknownNode(f"{node}: nothing is stored; `cm-actors rack sensors {node}` reads it.")
    if sensor in columns:
        return columns[sensor]
    folded = {name.casefold(): name for name in columns}
    if sensor.casefold() in folded:
        return columns[folded[sensor.casefold()]]
    near = get_close_matches(sensor.casefold(), folded, 1, 0.5)
    hint = f"did you mean {folded[near[0]]!r}?" if near else f"there are {', '.join(columns)}."
    raise ArgumentError(f"{node} has no sensor {sensor!r}; {hint}")


def _since(text: str) -> datetime:
    try:
        return datetime.fromisoformat(moment_of(text, datetime.now().astimezone()))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None
