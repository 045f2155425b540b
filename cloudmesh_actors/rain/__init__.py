"""Rain: nodes installed and powered by Cobbler servers.

::

    from cloudmesh_actors import rain

    rain.deploy_system.send("i[001-016]", "ubuntu22-x86_64")
    rain.power_system.send("i001", True)
    rain.list_profiles.send()

The actors are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudmesh_actors.rain.actors import (
        add_system,
        deploy_system,
        list_distros,
        list_profiles,
        list_systems,
        power_system,
        remove_system,
        sync,
    )

__all__ = ["add_system", "deploy_system", "list_distros", "list_profiles", "list_systems", "power_system",
           "remove_system", "sync"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cloudmesh_actors.rain import actors

    return getattr(actors, name)
