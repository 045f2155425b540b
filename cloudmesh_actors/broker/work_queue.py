"""The queue between a worker's consumers and its threads: no thread is woken that would only wait for the interpreter.

Threads of one interpreter take turns. `queue.PriorityQueue` wakes one for each message, and for tasks that do not wait
for anything the turns cost more than the tasks. Here a thread is woken at once only when none is at work; another is
when those at work come back for nothing, or wait for something, which shows in the processor time of the process. It is
how completion ports limit the threads that run.
"""

from __future__ import annotations

import threading
import time
from queue import Empty, PriorityQueue
from typing import Any

#: How long those at work are watched before it is decided whether one more is needed, in seconds: shorter each time
#: that it is, longer each time that it is not.
PATIENCE_S = (0.0005, 0.016)

#: With less of a processor the process waits more than it computes.
AT_WORK = 0.5


class WorkQueue(PriorityQueue[Any]):
    """A PriorityQueue without a limit that gives to few threads what few can do.

    While there is something to take, one of the threads that are not at work watches that it is taken, or was called
    to watch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tick = threading.Condition(self.mutex)  # nobody notifies it
        self._parked = self._taken = 0
        self._called = self._watched = False
        self._patience = PATIENCE_S[0]

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item. It never blocks."""
        with self.mutex:
            self._put(item)
            self.unfinished_tasks += 1
            self._call()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first item. Raises Empty when there is none in time."""
        with self.mutex:
            if block and not self._qsize():
                self._wait(None if timeout is None else time.monotonic() + timeout)
            if not self._qsize():
                raise Empty
            self._taken += 1
            item = self._get()
            self._call()
            return item

    def _call(self) -> None:
        """Have somebody watch, if there is something to take and somebody to watch it."""
        if self._parked and self._qsize() and not self._called and not self._watched:
            self._called = True
            self.not_empty.notify()

    def _wait(self, until: float | None) -> None:
        """Wait until there is something for this thread to take, or for too long."""
        while True:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            if self._watched or not self._qsize():
                self._park(left)
            elif self._is_left_alone():
                return

    def _park(self, seconds: float | None) -> None:
        self._parked += 1
        try:
            self.not_empty.wait(seconds)
        finally:
            self._parked -= 1
            self._called = False

    def _is_left_alone(self) -> bool:
        """Whether those at work leave what there is to take, or could do with one more."""
        if self.unfinished_tasks == self._qsize():  # none is at work
            return True
        taken, began, used = self._taken, time.monotonic(), time.process_time()
        self._watched = True
        try:
            self._tick.wait(self._patience)
        finally:
            self._watched = False
        is_waiting = time.process_time() - used < AT_WORK * (time.monotonic() - began)
        left_alone = is_waiting or self._taken == taken
        shortest, longest = PATIENCE_S
        self._patience = max(shortest, self._patience / 4) if left_alone else min(longest, self._patience * 2)
        return left_alone
