"""What is made of a node's readings: JSON, and the hottest sensor. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from cloudmesh_actors.clients.ipmi.model import Reading
from cloudmesh_actors.rack.model import Hottest, TemperatureUnit


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


def hottest(readings: Iterable[Reading], unit: TemperatureUnit = "C") -> Hottest | None:
    """The temperature sensor with the highest value, the first of equal ones; None when none gives a reading."""
    measured = [(r.value, r) for r in readings if r.kind == "temperature" and r.value is not None]
    if not measured:
        return None
    value, reading = max(measured, key=lambda pair: pair[0])
    return Hottest(reading.name, in_unit(value, unit), unit, reading.state)


def hottest_as_json(sensor: Hottest) -> dict[str, Any]:
    """`{sensor, value, unit, state}`."""
    return asdict(sensor)


def in_unit(celsius: float, unit: TemperatureUnit) -> float:
    """A temperature in C or F."""
    return celsius if unit == "C" else round(celsius * 1.8 + 32, 2)
