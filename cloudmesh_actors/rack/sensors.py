"""What is made of a node's readings: JSON, and the hottest sensor. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from cloudmesh_actors.clients.ipmi.model import Reading
from cloudmesh_actors.errors import Unsupported
from cloudmesh_actors.rack.model import Hottest, NodeResult, TemperatureUnit

#: What a node without a hottest sensor has in its place.
NO_SENSOR = {"sensor": None, "value": None, "state": None}


def reading_as_json(reading: Reading) -> dict[str, Any]:
    """`{name, kind, value, unit, state, thresholds}`; `value` is null exactly when `state` is "no reading"."""
    return {
        "name": reading.name,
        "kind": reading.kind,
        "value": reading.value,
        "unit": reading.unit,
        "state": reading.state,
        "thresholds": reading.thresholds.known(),
    }


def hottest(readings: Iterable[Mapping[str, Any]], unit: TemperatureUnit = "C") -> Hottest | None:
    """The temperature sensor with the highest value, the first of equal ones; None when none gives a reading.

    `readings` are as `reading_as_json` makes them, in C.
    """
    measured = [r for r in readings if r["kind"] == "temperature" and r["value"] is not None]
    if not measured:
        return None
    reading = max(measured, key=lambda r: r["value"])
    return Hottest(reading["name"], in_unit(reading["value"], unit), unit, reading["state"])


def hottest_entry(result: NodeResult, unit: TemperatureUnit) -> NodeResult:
    """A node's entry of readings as one of its hottest sensor: `{node, time, ok, …, sensor, value, unit, state}`."""
    entry = {name: value for name, value in result.items() if name != "readings"} | NO_SENSOR | {"unit": unit}
    if not result["ok"]:
        return entry
    found = hottest(result["readings"], unit)
    if found is None:
        text = f"{result['node']}: no temperature sensor gives a reading; `rack.read_sensors` shows what it has."
        return entry | {"ok": False, "error": text, "error_kind": Unsupported.kind}
    return entry | asdict(found)


def in_unit(celsius: float, unit: TemperatureUnit) -> float:
    """A temperature in C or F."""
    return celsius if unit == "C" else round(celsius * 1.8 + 32, 2)
