"""Launcher: recipes, each a script with parameters, launched on servers.

::

    from cloudmesh_actors import launcher

    launcher.launch.send("slurm", "i[001-004]", {"partition": "batch"})
    launcher.stats()
    launcher.relaunch(job_id)               # the servers on which it failed

What is here is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudmesh_actors.launcher.actors import deploy, launch, settle
    from cloudmesh_actors.launcher.control import abort, relaunch
    from cloudmesh_actors.launcher.records import launches, output, reset, stats

__all__ = ["abort", "deploy", "launch", "launches", "output", "relaunch", "reset", "settle", "stats"]

_PLACES = {"deploy": "actors", "launch": "actors", "settle": "actors", "abort": "control", "relaunch": "control"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'records')}"), name)
