"""The family pbs: the state of all batch jobs, queues and nodes of the site's batch servers.

::

    from cloudmesh_actors import pbs

    pbs.refresh.send()                                  # the actors see to it that the store is fresh
    pbs.qstat.send("india")
    pbs.jobs("india", user="alice", state="running")    # what the store has is read without asking anybody

Actors: `refresh`, `qinfo`, `qstat`, `pbsnodes`. Reading: `jobs`, `queues`, `nodes`, `users`, `servers`, `attributes`,
`history`, and `reading` for several as of one moment. All are imported when they are first used.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudmesh_actors.pbs.actors import pbsnodes, qinfo, refresh
    from cloudmesh_actors.pbs.records import attributes, history, jobs, nodes, queues, reading, servers, users

__all__ = ["attributes", "history", "jobs", "nodes", "pbsnodes", "qinfo", "queues", "reading", "refresh", "servers",
           "users"]  # fmt: skip

_ACTORS = frozenset({"pbsnodes", "qinfo", "refresh"})


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cloudmesh_actors.pbs import actors, records

    return getattr(actors if name in _ACTORS else records, name)


class _Package(ModuleType):
    """A package whose `qstat` is the actor, though the parsers of qstat's output live in a module of that name."""

    @property
    def qstat(self) -> Any:
        from cloudmesh_actors.pbs import actors

        return actors.qstat

    @qstat.setter
    def qstat(self, module: ModuleType) -> None:
        """The import system offers the module; `from cloudmesh_actors.pbs.qstat import …` finds it without."""


sys.modules[__name__].__class__ = _Package
