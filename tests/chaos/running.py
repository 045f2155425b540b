"""Runs a scenario, and counts what became of what was sent."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections import Counter
from pathlib import Path

from brokers import Server

from chaos import memory
from chaos.found import Found
from chaos.harm import Harm, Signals, idle_stops
from chaos.scenarios import Scenario
from chaos.sender import Sender, works
from chaos.told import Hit, Told, is_once
from chaos.world import World, say, world

#: States of steps that have not ended.
OPEN = ("queued", "running")

#: A line of progress so often, in seconds.
PROGRESS_S = 10.0

#: Works that may be under way before the sender waits, and hits that may be overdue.
UNDER_WAY, OVERDUE = 400, 3

#: What a store's and a broker's outage are called in logs.
AWAY_EVENTS = ("broker.away", "store.away")

#: A process may grow by so many megabytes per 10,000 jobs.
MOST_MB = 1.0

#: Descriptors that come and go: pools of connections, a log that is rotated.
SPARE_DESCRIPTORS = 4


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
        it.fleet.run("down", check=False)
        found.orphans = len(it.processes())
        found.stale += len([*it.fleet.log_dir.glob("*.pid")])
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
    found.left = sum(n for (state, _), n in steps.items() if state in OPEN)
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
        for harm in harms:
            harm.look()
        if it.up_again():
            found.helped += 1
        until = time.monotonic() + PROGRESS_S
        while time.monotonic() < until and (sender.running() or any(harm.is_alive() for harm in harms)):
            time.sleep(0.2)


def _count(it: World, sender: Sender, harms: list[Harm], scenario: Scenario, found: Found) -> None:
    told, steps = it.told(), it.steps()
    hits = [hit for harm in harms for hit in harm.hits]
    found.taken, found.refused, found.unclear = len(sender.taken), len(sender.refused), sender.unclear.total()
    without = told.lost(sender.taken)
    found.not_sent = sum(_was_told(work, sender.jobs[work]) for work in without)
    found.lost = len(without) - found.not_sent
    found.doubled = told.again(sender.taken, once=True) + told.forbidden()
    found.twice = told.again(sender.taken, once=False)
    found.refused_ran = sum(told.effects(work) > 0 for work in sender.refused)
    found.left = sum(n for (state, _), n in steps.items() if state in OPEN)
    found.set_aside, found.stale = it.depth()[3], len(it.stale_pid_files())
    found.back = told.recoveries([hit for hit in hits if hit.how == "SIGKILL"])
    found.workers_back, found.longest_send = it.ready_at(hits), sender.longest
    found.harm = _harm(hits)
    outages = scenario.outages or sum(hit.name == "broker" for hit in hits)
    found.said = max(it.lines(*AWAY_EVENTS).values(), default=0) / max(1, outages)
    _tell(it, told, sender, found)
    _look_at_stops(it, harms, hits, found)


def _was_told(work: str, job_id: str) -> bool:
    """Whether a job that changes hardware ended as failed because the store was away: then nothing may be sent."""
    from cloudmesh_actors import jobs

    job = jobs.get(job_id)
    return is_once(work) and job.state == "failed" and job.error_type == "StoreUnavailable"


def _tell(it: World, told: Told, sender: Sender, found: Found) -> None:
    """What helps to find the cause when something is wrong."""
    if found.lost:
        say(f"lost: {[(work, told.by_work[work]) for work in told.lost(sender.taken)[:10]]}; depth {it.depth()}")
    if found.doubled:
        doubled = [work for work in sender.taken if is_once(work) and told.effects(work) > 1]
        say(f"doubled: {[(work, told.by_work[work]) for work in doubled[:5]]}; two at a node: {told.forbidden()}")
    if found.unclear:
        say("unclear: " + "\n".join(sender.unclear))
    say(f"steps: {dict(it.steps())}; exits: {dict(it.exits())}; outages said: {dict(it.lines(*AWAY_EVENTS))}")


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
    must_be_none = ("lost", "doubled", "refused_ran", "left", "set_aside", "orphans", "stale", "unclear")
    found.wrong += [f"{getattr(found, name)} {name.replace('_', ' ')}" for name in must_be_none if getattr(found, name)]
