"""The scenarios: what is sent, and what is broken meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from signal import SIGKILL, SIGTERM

from chaos.harm import Away, Harm, Restarts, Signals
from chaos.sender import MIX
from chaos.world import World

#: How far a run has come, from 0 to 1.
Progress = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What to do.

    Attributes:
        pace: works a second.
        harms: makes what breaks things.
        times: how often things break, by default.
        settings: of the fleet.
    """

    title: str
    messages: int
    pace: float
    harms: Callable[[World, random.Random, int, Progress], list[Harm]]
    times: int = 0
    mix: dict[str, int] = field(default_factory=lambda: MIX)
    workers: int = 6
    settings: dict[str, object] = field(default_factory=dict)
    postgresql: bool = False
    on_small_disk: bool = False
    outages: int = 0
    measures_memory: bool = False

    def scaled(self, messages: int | None, times: int | None, workers: int | None = None) -> Scenario:
        """With other counts."""
        return replace(
            self,
            messages=self.messages if messages is None else messages,
            times=self.times if times is None else times,
            workers=workers or self.workers,
        )


def kills(world: World, rng: random.Random, times: int, progress: Progress) -> list[Harm]:
    return [Signals(world, rng, times, progress, SIGKILL)]


def restarts(world: World, rng: random.Random, times: int, progress: Progress) -> list[Harm]:
    return [Restarts(world, rng, times, progress), Signals(world, rng, times, progress, SIGKILL)]


def terms(world: World, rng: random.Random, times: int, progress: Progress) -> list[Harm]:
    return [Signals(world, rng, times, progress, SIGTERM)]


def a_bit_of_all(world: World, rng: random.Random, times: int, progress: Progress) -> list[Harm]:
    return [Restarts(world, rng, 1, progress), Signals(world, rng, times, progress, SIGKILL, SIGTERM, young=2)]


def broker_away(world: World, rng: random.Random, times: int, progress: Progress) -> list[Harm]:
    return [Away(world, rng, progress, "broker", 60)]


def store_away(world: World, rng: random.Random, times: int, progress: Progress) -> list[Harm]:
    return [Away(world, rng, progress, "store", 30)]


def store_locked(world: World, rng: random.Random, times: int, progress: Progress) -> list[Harm]:
    return [Away(world, rng, progress, "store", 40)]  # SQLite itself waits for 30 s


def disk_full(world: World, rng: random.Random, times: int, progress: Progress) -> list[Harm]:
    return [Away(world, rng, progress, "disk", 30)]


SCENARIOS = {
    "kills": Scenario("kill -9 of workers at random", 20_000, 65, kills, 100),
    "restarts": Scenario("broker restarted (stopped, or kill -9), and workers killed", 20_000, 65, restarts, 20),
    "broker-away": Scenario("broker away for 60 s", 3_000, 40, broker_away, outages=1),
    "store-locked": Scenario("store locked for 40 s", 2_000, 40, store_locked, outages=1),
    "store-away": Scenario("PostgreSQL away for 30 s", 2_000, 40, store_away, outages=1, postgresql=True),
    "disk-full": Scenario("disk full for 30 s", 2_000, 40, disk_full, outages=1, on_small_disk=True),
    "sigterm": Scenario(
        "SIGTERM to workers under load", 10_000, 45, terms, 100, mix={**MIX, "long": 4}, settings={"GRACE": "3"}
    ),
    "short": Scenario("a bit of all", 300, 40, a_bit_of_all, 6, workers=3),
    "memory": Scenario("nothing; memory is watched", 200_000, 1, kills, 0, workers=2, measures_memory=True),
}
