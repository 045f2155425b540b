"""Connecting again: soon after a cut, then ever more rarely, and never all workers at the same moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from cloudmesh_actors import runs

#: The longest wait after the first failed try to connect, and after any, in seconds. Each time it doubles.
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 5.0

#: While it waits, a process looks so often whether it is to stop, in seconds.
LOOK_S = 0.1


class Reconnection:
    """How often connecting has failed in a row, and what to do about it: wait a random time, up to a growing limit."""

    def __init__(
        self,
        uniform: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], None] = time.sleep,
        stopping: Callable[[], bool] = runs.stop_signal.stopping,
    ) -> None:
        self._uniform, self._sleep, self._stopping = uniform, sleep, stopping
        self._failures = 0

    def wait(self) -> None:
        """Before a try; returns at once when none has failed, or the worker stops."""
        left = self._uniform(0, self.limit()) if self._failures else 0.0
        while left > 0 and not self._stopping():
            self._sleep(min(LOOK_S, left))
            left -= LOOK_S

    def limit(self) -> float:
        """The longest wait before the next try, in seconds."""
        return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self._failures - 1, 10))

    def failed(self) -> None:
        """The try was in vain."""
        self._failures += 1

    def connected(self) -> None:
        """It worked."""
        self._failures = 0
