"""Results of the family rack as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from cloudmesh_actors.cli import output
from cloudmesh_actors.cli.nodeviews import Entry, alike, error_lines

#: What units are called in tables.
UNITS: Mapping[str, str] = {"C": "°C", "F": "°F"}

#: What stands for a value that was not measured; never a number.
NO_VALUE = "-"


def sensors(entries: Sequence[Entry]) -> list[Any]:
    """Every reading of every node; nodes that read exactly the same are one."""
    table = _table("node", "sensor", "value", "unit", "state", right=("value",))
    for nodes, entry in alike(_good(entries), "readings"):
        for number, reading in enumerate(entry["readings"]):
            table.add_row(output.text("" if number else nodes, "bold"), *_reading(reading))
        if not entry["readings"]:
            table.add_row(output.text(nodes, "bold"), output.text("no sensors", "dim"))
    return _with_errors(table, entries)


def temperature(entries: Sequence[Entry]) -> list[Any]:
    """The hottest sensor of every node."""
    table = _table("node", "sensor", "value", "unit", "state", right=("value",))
    for nodes, entry in alike(_good(entries), "sensor", "value", "unit", "state"):
        table.add_row(output.text(nodes, "bold"), *_reading({**entry, "name": entry["sensor"]}))
    return _with_errors(table, entries)


def power(entries: Sequence[Entry]) -> list[Any]:
    """The power of every node, and how it came so."""
    noted = any(entry.get("note") for entry in entries)
    table = _table("node", "power", *(["note"] if noted else []))
    for nodes, entry in alike(_good(entries), "power", "note"):
        note = [output.text(entry.get("note") or "")] if noted else []
        table.add_row(output.text(nodes, "bold"), output.state(entry.get("power") or NO_VALUE), *note)
    return _with_errors(table, entries)


def events(entries: Sequence[Entry]) -> list[Any]:
    """The event log of every node, by the BMC's own clock."""
    table = _table("node", "BMC's time", "severity", "sensor", "event")
    for nodes, entry in alike(_good(entries), "events"):
        for number, event in enumerate(entry["events"]):
            table.add_row(output.text("" if number else nodes, "bold"), *_event(event))
        if not entry["events"]:
            table.add_row(output.text(nodes, "bold"), output.text("no events", "dim"))
    return _with_errors(table, entries)


def outcomes(entries: Sequence[Entry]) -> list[Any]:
    """Just how every node ended, of an actor without a table of its own."""
    keys = sorted({key for entry in entries for key in entry} - {"node", "error", "error_kind"})
    lines = [
        Text.assemble(
            output.text(nodes, "bold"),
            "  ",
            *(output.text(f"{key}={entry.get(key)} ") for key in keys if entry.get(key) is not None),
        )
        for nodes, entry in alike(_good(entries), *keys)
    ]
    return [*lines, *error_lines(entries)]


#: How the results of actors are shown.
VIEWS: Mapping[str, Callable[[Sequence[Entry]], list[Any]]] = {
    "rack.read_sensors": sensors,
    "rack.temperature": temperature,
    "rack.power_status": power,
    "rack.power": power,
    "rack.events": events,
}


def view(actor: str, result: Sequence[Entry]) -> list[Any]:
    """A result with an entry per node, as what is printed of it."""
    return VIEWS.get(actor, outcomes)(result)


def _table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    made = output.table(*columns, right=right)
    made.columns[0].no_wrap = False
    made.columns[0].overflow = "fold"
    made.columns[0].max_width = 24
    made.columns[-1].no_wrap = False
    return made


def _with_errors(table: Table, entries: Sequence[Entry]) -> list[Any]:
    return [*([table] if table.row_count else []), *error_lines(entries)]


def _good(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry["ok"]]


def _reading(reading: Entry) -> list[Text]:
    unit = str(reading["unit"])
    return [
        output.text(reading["name"]),
        output.text(number(reading["value"])),
        output.text(UNITS.get(unit, unit) if reading["value"] is not None else ""),
        output.state(str(reading["state"])),
    ]


def number(value: float | None) -> str:
    """A measured value in as many digits as a sensor has."""
    return NO_VALUE if value is None else f"{value:.7g}"


def _event(event: Entry) -> list[Text]:
    moment = str(event["time"] or NO_VALUE)[:19].replace("T", " ")
    what = str(event["text"]) + ("" if event["asserted"] else " (over)")
    return [output.text(moment), output.state(str(event["severity"])), output.text(event["sensor"]), output.text(what)]
