"""Counts that look at every row: made in the background, and never for each request anew."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from cloudmesh_actors import jobs, logs
from cloudmesh_actors.errors import CloudmeshError
from cloudmesh_actors.launcher import records
from cloudmesh_actors.launcher.model import LaunchState, Stat

#: A count is at least this fresh when somebody asks again and again, in seconds ...
FRESH_S = 1.0

#: ... unless it took so long that counting would be more than this part of the time.
SHARE = 0.05

#: A value that nobody has asked for in so many seconds is made anew while the caller waits.
STALE_S = 15.0

T = TypeVar("T")
log = logs.get_logger()


class Cached(Generic[T]):
    """A value that is dear. The first caller waits for it; later ones get the last one, and have a new one made."""

    def __init__(self, make: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._make, self._clock = make, clock
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._value: list[T] = []
        self._made_at, self._cost = 0.0, 0.0

    def get(self) -> T:
        """The value, `STALE_S` seconds old at most; less if it is asked for often."""
        with self._lock:
            if not self._value or self._clock() - self._made_at > STALE_S + self._cost / SHARE:
                self._refresh()
            value = self._value[0]
        if self._is_stale() and self._making.acquire(blocking=False):
            threading.Thread(target=self._refresh_behind, daemon=True).start()
        return value

    def forget(self) -> None:
        """Have the next caller wait for a new value: something was done that it must show."""
        with self._lock:
            self._value = []

    def _is_stale(self) -> bool:
        return self._clock() - self._made_at > max(FRESH_S, self._cost / SHARE)

    def _refresh(self) -> None:
        began = self._clock()
        value = self._make()
        self._made_at, self._cost = self._clock(), self._clock() - began
        self._value = [value]

    def _refresh_behind(self) -> None:
        try:
            self._refresh()
        except CloudmeshError as error:
            log.warning("counts.not_renewed", error=str(error))
        finally:
            self._making.release()


def of_jobs() -> dict[str, int]:
    """How many jobs are in each state, and `all`."""
    counted = {str(state): count for state, count in jobs.counts().items()}
    return {"all": sum(counted.values()), **{str(state): counted.get(str(state), 0) for state in jobs.State}}


@dataclass(frozen=True, slots=True)
class RecipeCounts:
    """Launches of one recipe: how many are in each state, and the mean seconds of those that became active."""

    recipe: str
    states: dict[str, int]
    mean: float | None
    latest: datetime


@dataclass(frozen=True, slots=True)
class LaunchCounts:
    """All launches: how many are in each state, and `all`; and the same of each recipe."""

    states: dict[str, int]
    recipes: list[RecipeCounts]


def of_launches() -> LaunchCounts:
    """Counts of all launches."""
    by_recipe: dict[str, list[Stat]] = defaultdict(list)
    for stat in records.stats():
        by_recipe[stat.recipe].append(stat)
    recipes = [_of_recipe(name, found) for name, found in sorted(by_recipe.items())]
    total = {name: sum(each.states[name] for each in recipes) for name in ("all", *map(str, LaunchState))}
    return LaunchCounts(total, recipes)


def _of_recipe(name: str, found: list[Stat]) -> RecipeCounts:
    states = dict.fromkeys(map(str, LaunchState), 0)
    for stat in found:
        states[str(stat.state)] += stat.count
    active = [stat for stat in found if stat.state == LaunchState.ACTIVE and stat.mean is not None]
    launches = sum(stat.count for stat in active)
    mean = sum((stat.mean or 0.0) * stat.count for stat in active) / launches if launches else None
    return RecipeCounts(name, {"all": sum(states.values()), **states}, mean, max(stat.latest for stat in found))
