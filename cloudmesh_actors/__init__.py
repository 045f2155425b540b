"""Run a bare-metal or HPC cluster from a message queue.

::

    from cloudmesh_actors import jobs, rack

    message = rack.read_sensors.send("i[001-064]")     # a Dramatiq message; its id is the job's
    job = jobs.wait(message.message_id, timeout=60)

| name | what it has |
|---|---|
| `launcher`, `provisioner`, `pbs`, `rain`, `rack` | the actors of the five families, and what reads their tables |
| `jobs` | a job's life: `get`, `latest`, `wait`, `result`, `abort`, `retry`, outcomes of nodes |
| `leases` | who may change a node |
| `preview` | what an action on nodes would hit |
| `site`, `nodes` | the inventory; sets of nodes |
| `broker`, `settings` | the broker and the settings of this process; pausing queues |
| `actor` | the decorator for actors of one's own |
| `errors` | every error that is raised on purpose |

Each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudmesh_actors import (
        actor,
        broker,
        errors,
        jobs,
        launcher,
        leases,
        nodes,
        pbs,
        preview,
        provisioner,
        rack,
        rain,
        settings,
        site,
    )

__all__ = ["actor", "broker", "errors", "jobs", "launcher", "leases", "nodes", "pbs", "preview", "provisioner", "rack",
           "rain", "settings", "site"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("cloudmesh_actors")
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
