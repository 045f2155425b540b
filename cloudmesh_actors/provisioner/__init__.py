"""Provisioner: images put on nodes, by Cobbler, by their BMCs, or only in a simulation.

::

    from cloudmesh_actors import provisioner

    provisioner.provision.send("i[001-016]", "hpc")
    provisioner.status.send("i[001-016]")
    provisioner.abort.send("i001")

The actors are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudmesh_actors.provisioner.actors import abort, history, images, provision, status

__all__ = ["abort", "history", "images", "provision", "status"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cloudmesh_actors.provisioner import actors

    return getattr(actors, name)
