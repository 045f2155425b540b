"""The family pbs: the state of all batch jobs, queues and nodes of the site's batch servers.

What the store has is read with `pbs.jobs()`, `pbs.queues()`, `pbs.nodes()`, `pbs.users()`, `pbs.servers()`,
`pbs.attributes()` and `pbs.history()`; the actors that bring it are in `pbs.actors`. Imports are lazy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudmesh_actors.pbs.records import attributes, history, jobs, nodes, queues, reading, servers, users

__all__ = ["attributes", "history", "jobs", "nodes", "queues", "reading", "servers", "users"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cloudmesh_actors.pbs import records

    return getattr(records, name)
