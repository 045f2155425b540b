"""The scenarios: what is sent, what is broken meanwhile, and what was found in the end."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import SIGKILL, SIGTERM

from brokers import Server

from chaos import memory
from chaos.harm import Away, Harm, Restarts, Signals, idle_stops
from chaos.sender import MIX, Sender, works
from chaos.told import Hit, is_once
from chaos.world import World, say, world

#: A line of progress so often, in seconds.
PROGRESS_S = 10.0

#: How far a run has come, from 0 to 1.
Progress = Callable[[], float]

#: Works that may be under way before the sender waits, and hits that may be overdue.
UNDER_WAY, OVERDUE = 400, 3

#: What a store's and a broker's outage are called in logs.
AWAY_EVENTS = ("broker.away", "store.away")


#: A process may grow by so many megabytes per 10,000 jobs.
MOST_MB = 1.0

#: Descriptors that come and go: pools of connections, a log that is rotated.
SPARE_DESCRIPTORS = 4


@dataclass(slots=True)
class Found:
    """What a scenario came to. Times are in seconds."""

    scenario: str
    broker: str
    store: str = "SQLite"
    seed: int = 0
    taken: int = 0
    harm: str = ""
    refused: int = 0
    unclear: int = 0
    lost: int = 0
    doubled: int = 0
    twice: int = 0
    left: int = 0
    set_aside: int = 0
    orphans: int = 0
    stale: int = 0
    failed: int = 0
    said: float = 0.0
    back: list[float] = field(default_factory=list)
    workers_back: list[float] = field(default_factory=list)
    longest_send: float = 0.0
    seconds: float = 0.0
    load: float = 0.0
    helped: int = 0
    note: str = ""
    wrong: list[str] = field(default_factory=list)

    @property
    def counts(self) -> str:
        """What was sent, and what was done to it."""
        return f"{self.taken:,} / {self.harm}"

    @property
    def is_well(self) -> bool:
        """Whether all holds that must."""
        return not self.wrong


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


def run(name: str, scenario: Scenario, broker: str | Server, seed: int, log_dir: Path | None = None) -> Found:
    """Run a scenario on a broker. What does not hold is in `Found.wrong`."""
    rng = random.Random(f"{seed}-{name}-{broker}")
    found = Found(
        name,
        broker if isinstance(broker, str) else type(broker).__name__,
        "PostgreSQL" if scenario.postgresql else "SQLite",
        seed,
    )
    began = time.monotonic()
    say(f"{name} on {broker}: {scenario.messages} messages, seed {seed}")
    with world(
        broker, workers=scenario.workers, postgresql=scenario.postgresql, log_dir=log_dir, **scenario.settings
    ) as it:
        it.await_ready()
        (_many_jobs if scenario.measures_memory else _work)(it, scenario, rng, found)
        left = it.processes()
        it.fleet.run("down", check=False)
        found.orphans = sum(process.is_running() and process.status() != "zombie" for process in left)
        found.stale = len([*it.fleet.log_dir.glob("*.pid")]) + found.stale
    found.seconds, found.load = time.monotonic() - began, os.getloadavg()[0]
    _judge(found)
    say(f"{name} on {broker}: {'well' if found.is_well else 'WRONG: ' + '; '.join(found.wrong)}")
    return found


def _work(it: World, scenario: Scenario, rng: random.Random, found: Found) -> None:
    harms: list[Harm] = []

    def room() -> bool:
        under_way = len(sender.taken) - it.effects()
        return under_way < UNDER_WAY and all(harm.behind() < OVERDUE for harm in harms)

    to_send = works(scenario.messages, random.Random(rng.random()), scenario.mix)
    sender = Sender(to_send, scenario.pace, room)
    harms += scenario.harms(
        it, random.Random(rng.random()), scenario.times, lambda: len(sender.taken) / max(1, scenario.messages)
    )
    try:
        sender.start()
        for harm in harms:
            harm.start()
        _watch(it, sender, harms, scenario, found)
    finally:
        sender.stop()
        for harm in harms:
            harm.end()
    it.await_ready()
    it.await_settled()
    _count(it, sender, harms, scenario, found)


def _many_jobs(it: World, scenario: Scenario, rng: random.Random, found: Found) -> None:
    began = time.monotonic()
    seen = memory.watch(it, scenario.messages)
    rate = scenario.messages / (time.monotonic() - began)
    it.await_settled()
    steps = it.steps()
    found.taken, found.harm = sum(steps.values()), "none"
    found.lost = scenario.messages - steps["done", ""]
    found.left = sum(n for (state, _), n in steps.items() if state in ("queued", "running"))
    grown = {process.name: process.megabytes_per_10_000(scenario.messages) for process in seen}
    more = {process.name: n for process in seen if (n := process.more_descriptors(scenario.messages)) > 0}
    say(f"MB per 10,000 jobs: {grown}; descriptors more: {more}")
    worst = max(grown, key=lambda name: grown[name])
    found.note = (
        f"{grown[worst]:.2f} MB per 10,000 jobs at most ({worst}), {sum(more.values())} descriptors more, "
        f"{rate:.0f} jobs/s"
    )
    found.wrong += [f"{name} grows by {mb:.1f} MB per 10,000 jobs" for name, mb in grown.items() if mb > MOST_MB]
    found.wrong += [f"{name} has {n} descriptors more" for name, n in more.items() if n > SPARE_DESCRIPTORS]


def _watch(it: World, sender: Sender, harms: list[Harm], scenario: Scenario, found: Found) -> None:
    """Until all is sent and broken, telling how far it has come."""
    while sender.running() or any(harm.is_alive() for harm in harms):
        hits = sum(len(harm.hits) for harm in harms)
        say(f"{len(sender.taken)} of {scenario.messages} taken, {len(sender.refused)} refused, {hits} hits")
        if it.up_again():
            found.helped += 1
        until = time.monotonic() + PROGRESS_S
        while time.monotonic() < until and (sender.running() or any(harm.is_alive() for harm in harms)):
            time.sleep(0.2)


def _count(it: World, sender: Sender, harms: list[Harm], scenario: Scenario, found: Found) -> None:
    told, steps = it.told(), it.steps()
    hits = [hit for harm in harms for hit in harm.hits]
    killed = [hit for hit in hits if hit.how == "SIGKILL"]
    found.taken, found.refused, found.unclear = len(sender.taken), len(sender.refused), sender.unclear.total()
    lost = told.lost(sender.taken)
    found.lost = len(lost)
    found.doubled = told.again(sender.taken, once=True) + told.forbidden()
    found.twice = told.again(sender.taken, once=False)
    found.left = sum(n for (state, _), n in steps.items() if state in ("queued", "running"))
    found.set_aside = it.depth()[3]
    found.failed = sum(n for (state, kind), n in steps.items() if state == "failed")
    found.stale = len(it.stale_pid_files())
    found.back, found.workers_back = told.recoveries(killed), it.ready_at(hits)
    found.harm = _harm(hits)
    found.longest_send = sender.longest
    outages = scenario.outages or sum(hit.name == "broker" for hit in hits)
    found.said = max(it.lines(*AWAY_EVENTS).values(), default=0) / max(1, outages)
    ran_refused = [work for work in sender.refused if told.effects(work)]
    if lost:
        say(f"lost: {[(work, told.by_work[work]) for work in lost[:10]]}; depth {it.depth()}")
    if found.doubled:
        doubled = [work for work in sender.taken if is_once(work) and told.effects(work) > 1]
        say(f"doubled: {[(work, told.by_work[work]) for work in doubled[:5]]}; two at a node: {told.forbidden()}")
    if sender.unclear:
        say("unclear: " + "\n".join(sender.unclear))
    say(f"steps: {dict(steps)}; exits: {dict(it.exits())}; refused and run all the same: {len(ran_refused)}")
    _look_at_stops(it, harms, hits, found)
    say(f"lines of workers: {dict(it.lines(*AWAY_EVENTS))}")


def _look_at_stops(it: World, harms: list[Harm], hits: list[Hit], found: Found) -> None:
    """What became of the workers that were asked to stop: all end with 0, and none dies in a run."""
    asked, killed = (sum(hit.how == how for hit in hits) for how in ("SIGTERM", "SIGKILL"))
    if not asked:
        return
    exits = it.exits()
    well = exits["exit status 0"]
    if others := exits.total() - well - min(killed, exits["terminated by SIGKILL"]):
        found.wrong.append(f"{others} of the workers that were to stop ended otherwise: {dict(exits)}")
    if not killed and (died := it.lines("run.died").total()):
        found.wrong.append(f"{died} runs died in a stop")
    took = max((seconds for harm in harms if isinstance(harm, Signals) for seconds in harm.took), default=0.0)
    handed_back = it.lines("run.handed_back").total()
    idle = statistics.median(idle_stops(it))
    found.note = (
        f"{well} times exit 0, {handed_back} runs handed back, stops took {took:.1f} s at the longest, "
        f"of idle workers {idle:.1f} s"
    )


def _harm(hits: list[Hit]) -> str:
    counts = Counter(hit.how for hit in hits)
    words = {"SIGKILL": "kills", "SIGTERM": "stops", "stop": "broker stops", "kill": "broker kills", "away": "outage"}
    return ", ".join(f"{counts[how]} {word}" for how, word in words.items() if counts[how]) or "none"


def _judge(found: Found) -> None:
    must_be_none = ("lost", "doubled", "left", "set_aside", "orphans", "stale", "unclear")
    found.wrong += [f"{getattr(found, name)} {name}" for name in must_be_none if getattr(found, name)]
