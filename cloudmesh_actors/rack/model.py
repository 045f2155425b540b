"""The values of the family rack that cross a boundary."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from cloudmesh_actors.clients.ipmi.model import Kind, State

PowerAction = Literal["on", "off", "cycle", "soft"]
TemperatureUnit = Literal["C", "F"]

#: One node of a result: `{node, ok, error, error_kind, …}`.
NodeResult = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Hottest:
    """A node's hottest sensor; `value` is in `unit`."""

    sensor: str
    value: float
    unit: TemperatureUnit
    state: State


@dataclass(frozen=True, slots=True)
class Column:
    """What a stored number measures."""

    name: str
    kind: Kind
    unit: str


@dataclass(frozen=True, slots=True)
class Point:
    """A sensor at one time: a reading, where `low` and `high` equal `value`; or an hour, where `value` is its mean.

    All three are None when the sensor gave no reading.
    """

    time: datetime
    value: float | None
    low: float | None
    high: float | None
