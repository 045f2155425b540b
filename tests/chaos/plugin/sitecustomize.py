"""Teaches the workers of a fleet the actors of chaos: Python imports this at start, from PYTHONPATH.

The fleet itself stays as it is: supervisord starts ``python -P -m workers rack``, and as soon as that has imported its
family's module, it imports `chaos.actors` too.
"""

import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]


class _ActorsAsWell(Loader):
    def __init__(self, inner):
        self._inner = inner

    def create_module(self, spec):
        return self._inner.create_module(spec)

    def exec_module(self, module):
        sys.path.append(str(TESTS))
        _hurry()
        self._inner.exec_module(module)
        import chaos.actors  # noqa: F401


def _hurry():
    """In a short run a dead worker's messages are handed on sooner."""
    if wanted := os.environ.get("CHAOS_HEARTBEAT_TIMEOUT_MS"):
        from cloudmesh_actors.broker import redis

        redis.HEARTBEAT_TIMEOUT_MS = int(wanted)
        redis.HEARTBEAT_EVERY_S = int(wanted) / 7500
        redis.MAINTENANCE_EVERY_S = int(wanted) / 3000


class _Finder(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        if fullname != "workers.rack":
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _ActorsAsWell(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
