"""Peers that go away: waited for, and said once when they go and once when they are back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from cloudmesh_actors import logs
from cloudmesh_actors.errors import StoreError
from cloudmesh_actors.times import waits

#: Waits between tries while the store does not answer, in seconds; the last one repeats.
RETRY_S = (0.05, 0.2, 0.5, 1.0, 2.0)

_T = TypeVar("_T")

log = logs.get_logger()


class Outage:
    """Whether a peer (the broker, the store) is away, as all threads of this process together see it."""

    def __init__(self, peer: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._away, self._back, self._clock = f"{peer}.away", f"{peer}.back", clock
        self._since: float | None = None
        self._lock = threading.Lock()

    def began(self, error: object) -> None:
        """It did not answer; only the first to find out logs it."""
        with self._lock:
            if self._since is None:
                self._since = self._clock()
                log.warning(self._away, error=str(error), advice="nothing is lost; trying on")

    def ended(self) -> None:
        """It answered."""
        if self._since is None:
            return
        with self._lock:
            if self._since is not None:
                log.info(self._back, away_s=round(self._clock() - self._since, 1))
                self._since = None


def patiently(work: Callable[[], _T], outage: Outage, sleep: Callable[[float], None] = time.sleep) -> _T:
    """What `work` gives, as soon as the store lets it."""
    for pause in waits(RETRY_S):
        try:
            result = work()
        except StoreError as error:
            outage.began(error)
            sleep(pause)
        else:
            outage.ended()
            return result
    raise AssertionError("the waits never end")
