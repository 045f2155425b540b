"""The end of a whole conversation, set once and asked at every wait."""

from __future__ import annotations

import time
from collections.abc import Callable

from cloudmesh_actors.errors import DeadlineExceeded


class Deadline:
    """A moment on the monotonic clock. `subject` begins the sentence of the error: "i001: the BMC at 10.0.0.1:623"."""

    def __init__(self, seconds: float, subject: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.subject, self._clock = seconds, subject, clock
        self._at = clock() + seconds

    def left(self) -> float:
        """Seconds that are left; 0.0 when it is over."""
        return max(0.0, self._at - self._clock())

    def check(self, doing: str = "the conversation") -> float:
        """Seconds that are left.

        Raises:
            DeadlineExceeded: there are none.
        """
        left = self.left()
        if not left:
            raise DeadlineExceeded(
                f"{self.subject}: {doing} was not over after {self.seconds:g} s; the BMC is slow or hangs, "
                "and a reset of the BMC may help."
            )
        return left
