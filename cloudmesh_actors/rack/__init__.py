"""Racks: sensors, temperatures, power and event logs of nodes, through their BMCs.

::

    from cloudmesh_actors import rack

    rack.read_sensors.send("i[001-064]")
    rack.temperature.send("@rack:r1", unit="F")
    rack.power.send("i001", "cycle")

The actors are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudmesh_actors.rack.actors import events, power, power_status, read_sensors, temperature

__all__ = ["events", "power", "power_status", "read_sensors", "temperature"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cloudmesh_actors.rack import actors

    return getattr(actors, name)
