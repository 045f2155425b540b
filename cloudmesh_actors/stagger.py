"""Power-on in groups: machines that start all at once draw more than their circuits give.

The settings `power_on_group` and `power_on_interval` say how many may start at once, and how long after each group the
next one may. Two ways to keep to them::

    Groups.current().delay(position)        # seconds from now, for a message per node

    starts = PowerOns(run, total=len(nodes))        # in one run, for all its nodes
    turn = starts.turn()
    if not turn.has_come():
        turn.wait()                         # may stop: the job is aborted, the worker stops
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from cloudmesh_actors import settings
from cloudmesh_actors.runs import Run

#: How often one that waits looks whether it is to stop, in seconds.
LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Groups:
    """So many machines at once, the next ones so many seconds later. A size of 0 is no limit."""

    size: int
    seconds: float

    @classmethod
    def current(cls) -> Groups:
        """As the settings say."""
        config = settings.current()
        return cls(config.power_on_group, config.power_on_interval)

    def delay(self, position: int) -> float:
        """How long after the first one the machine at this place (from 0) may start, in seconds."""
        return position // self.size * self.seconds if self.size else 0.0

    def __str__(self) -> str:
        return f"{self.size} every {self.seconds:g} s"


#: No groups.
AT_ONCE = Groups(0, 0.0)


class Turns:
    """Gives each who asks the time at which it may start. All jobs of a process share them: so do their circuits."""

    def __init__(self, groups: Groups, clock: Callable[[], float] = time.monotonic) -> None:
        self.groups, self.clock = groups, clock
        self._lock = threading.Lock()
        self._starts = deque[float](maxlen=groups.size)

    def reserve(self) -> float:
        """The earliest start, by `clock`, that leaves no more than a group within any interval of its length."""
        with self._lock:
            start = self.clock()
            if self.groups.size and len(self._starts) == self.groups.size:
                start = max(start, self._starts[0] + self.groups.seconds)
            self._starts.append(start)
            return start


@cache
def shared(groups: Groups) -> Turns:
    """The turns of this process."""
    return Turns(groups)


class PowerOns:
    """The power-ons of one run: their turns, and a progress that tells how many wait for theirs.

    Args:
        total: nodes of the run; `ended` is called as each of them has ended.
    """

    def __init__(
        self, run: Run, *, total: int, turns: Turns | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._run, self._total, self._sleep = run, total, sleep
        self.turns = turns or shared(Groups.current())
        self._lock = threading.Lock()
        self._ended = self._waiting = 0

    def turn(self) -> Turn:
        """The turn of one node."""
        return Turn(self)

    def ended(self) -> None:
        """A node has ended, in whatever way."""
        with self._lock:
            self._ended += 1

    def wait(self, until: float) -> None:
        """Wait, by the turns' clock.

        Raises:
            JobAborted, HandedBack: the run was to stop meanwhile.
        """
        self._count(1)
        try:
            while (left := until - self.turns.clock()) > 0:
                self._run.checkpoint()
                self._run.progress(self._ended, self._total, self._note())
                self._sleep(min(left, LOOK_EVERY_S))
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self._waiting += more

    def _note(self) -> str:
        return f"{self._waiting} wait for their turn to be powered on ({self.turns.groups})"


class Turn:
    """When one node may be powered on. Its place is reserved when it is first asked for: not all nodes need one."""

    def __init__(self, power_ons: PowerOns) -> None:
        self._power_ons = power_ons
        self._at: float | None = None

    def has_come(self) -> bool:
        """Whether the node may be powered on now."""
        return self._power_ons.turns.clock() >= self._reserved()

    def wait(self) -> None:
        """Wait for it. Raises JobAborted, HandedBack."""
        self._power_ons.wait(self._reserved())

    def _reserved(self) -> float:
        if self._at is None:
            self._at = self._power_ons.turns.reserve()
        return self._at
