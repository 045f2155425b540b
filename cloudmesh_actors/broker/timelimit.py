"""Time limits that strike the task they are for, or nobody.

Dramatiq looks who is late, lets go of its lock, and then raises in those threads: by then one of them may have ended
its task and be recording the outcome, where the exception would lose it. Here the raising is under the lock, and a
task that has ended is out of reach at once.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

from dramatiq.middleware.threading import raise_thread_exception
from dramatiq.middleware.time_limit import TimeLimit, TimeLimitExceeded, _CtypesTimeoutManager

from cloudmesh_actors import logs

log = logs.get_logger()


class PreciseTimeLimit(TimeLimit):
    """Dramatiq's time limits with a manager of ours."""

    def __init__(self, *, interval: int = 1000) -> None:
        super().__init__(interval=interval)
        self.manager = _manager = _PreciseManager(interval, logger=self.logger)
        _managers.append(_manager)


class _PreciseManager(_CtypesTimeoutManager):
    deadlines: dict[int, float | None]

    def _handle_deadlines(self) -> None:
        now = monotonic()
        with self.mu:
            late = [thread for thread, deadline in self.deadlines.items() if deadline and now >= deadline]
            for thread in late:
                del self.deadlines[thread]
                raise_thread_exception(thread, TimeLimitExceeded)
        if late:
            log.warning("run.time_limit_exceeded", runs=len(late))

    def remove_timeout(self, thread_id: Any) -> None:
        with self.mu:
            self.deadlines.pop(thread_id, None)


_managers: list[_PreciseManager] = []


def task_ended() -> None:
    """The limit of this thread's task is no longer to strike."""
    for manager in _managers:
        manager.remove_timeout(threading.get_ident())


def forget() -> None:
    """Forget the managers of brokers that are closed."""
    _managers.clear()
