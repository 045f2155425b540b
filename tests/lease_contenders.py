"""Two processes that contend for leases, and stop still (SIGSTOP) while they hold them, for longer than these last.

The nodes keep a record, as a BMC's event log does: each command that arrived, with the fence of its sender.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cloudmesh_actors import leases, logs
from cloudmesh_actors.errors import LeaseHeld, LeaseLost
from cloudmesh_actors.leases.records import Leases
from cloudmesh_actors.runs import Run
from cloudmesh_actors.store import Store

NAMES = ("one", "two")

#: Where a holder stops: before it asks whether it may act, and when it has the answer but not looked at the clock yet.
POINTS = ("before the check", "within the check")

#: A process that stops while its thread renews holds the store's lock, too: it is woken after this long, in seconds.
STUCK_S = 2.0


class Clock:
    """A process's clock, at which it can be stopped."""

    def __init__(self) -> None:
        self.stop_at_look = 0

    def __call__(self) -> float:
        if self.stop_at_look:
            self.stop_at_look -= 1
            if not self.stop_at_look:
                stop()
        return time.monotonic()


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


class Contender:
    """One of the two, in its own process."""

    def __init__(self, url: str, name: str, record: Path, ttl: float) -> None:
        self._clock, self._ttl = Clock(), ttl
        self._leases = Leases(Store(url), clock=self._clock)
        self._run = Run()
        self._run.job_id = name
        self._name, self._record = name, os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._held = ExitStack()
        self._guards: dict[str, leases.Guard] = {}

    def take(self, nodes: Sequence[str], wait: float) -> list[str]:
        """Take each lease that is to be had; gives their nodes."""
        return [node for node in nodes if self._take(node, wait)]

    def act(self, nodes: Sequence[str]) -> Counter[str]:
        """Send a command to each node, if the lease allows; what became of it, counted."""
        return Counter(self._act(node) for node in nodes)

    def pause_and_act(self, nodes: Sequence[str], point: str) -> Counter[str]:
        """Stop still at that point; then act, as if nothing had happened."""
        if point == POINTS[0]:
            stop()
        else:
            self._clock.stop_at_look = 2
        return self.act(nodes)

    def give_back(self) -> None:
        self._held.close()
        self._guards.clear()

    def _take(self, node: str, wait: float) -> bool:
        holding = leases.hold(
            node, run=self._run, wait=wait, ttl=self._ttl, of=self._leases, sleep=lambda _: time.sleep(0.002)
        )
        try:
            self._guards[node] = self._held.enter_context(holding)
        except LeaseHeld:
            return False
        return True

    def _act(self, node: str) -> str:
        guard = self._guards[node]
        assert guard.lease is not None
        try:
            guard.check()
        except LeaseLost:
            return "refused"
        os.write(self._record, f"{node} {guard.lease.fence} {self._name}\n".encode())
        return "acted"


def contend(url: str, name: str, record: Path, ttl: float, orders: Connection) -> None:
    logs.configure(level="error")
    contender = Contender(url, name, record, ttl)
    while True:
        method, *arguments = orders.recv()
        orders.send(getattr(contender, method)(*arguments))


@dataclass
class Process:
    """A contender as the referee sees it."""

    name: str
    process: Any
    orders: Connection

    def order(self, method: str, *arguments: object) -> None:
        self.orders.send((method, *arguments))

    def answer(self) -> Any:
        return self.orders.recv()

    def ask(self, method: str, *arguments: object) -> Any:
        self.order(method, *arguments)
        return self.answer()

    def await_stop(self) -> None:
        _, status = os.waitpid(self.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    def wake(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def contenders(url: str, record: Path, ttl: float) -> Iterator[list[Process]]:
    context = multiprocessing.get_context("spawn")
    both = []
    try:
        for name in NAMES:
            here, there = context.Pipe()
            process = context.Process(target=contend, args=(url, name, record, ttl, there), daemon=True)
            process.start()
            both.append(Process(name, process, here))
        yield both
    finally:
        for each in both:
            each.process.kill()
            each.process.join()


@dataclass
class Tally:
    """What happened: `paused` leases were held by a process that stood still until they had expired.

    On a machine that is short of time, leases expire without a pause: then both win a race, one after the other, and
    a good one is refused.
    """

    races: int = 0
    won_by_none: int = 0
    won_by_both: int = 0
    paused: int = 0
    taken_over: int = 0
    stale_refused: int = 0
    stale_acted: int = 0
    good_refused: int = 0
    stuck_in_the_store: int = 0
    out_of_order: list[str] = field(default_factory=list)
    commands: int = 0

    @property
    def is_safe(self) -> bool:
        """Whether never two could act, and somebody always could."""
        bad = (self.won_by_none, self.stale_acted, self.out_of_order)
        return not any(bad) and self.stale_refused == self.paused == self.taken_over


def trial(url: str, folder: Path, *, trials: int, nodes: int, ttl: float, seed: int) -> Tally:
    """Rounds over so many nodes, until so many leases were held by a process that stood still.

    In a round both contend for all nodes; each in turn stops still with what it holds until the other has it.
    """
    tally, chance, record = Tally(), random.Random(seed), folder / "record"
    with contenders(url, record, ttl) as both:
        for number in count():
            if tally.paused >= trials:
                break
            names = [f"n{number % 7}-{node}" for node in range(nodes)]
            won = race(both, names, tally)
            pause(both[0], both[1], won[0], chance.choice(POINTS), tally)
            pause(both[1], both[0], names, chance.choice(POINTS), tally)
            for each in both:
                each.ask("give_back")
    tally.out_of_order = disorder(record.read_text().splitlines())
    tally.commands = len(record.read_text().splitlines())
    return tally


def race(both: Sequence[Process], names: Sequence[str], tally: Tally) -> list[list[str]]:
    """Both take what they get, and act on it."""
    for each in both:
        each.order("take", names, 0.0)
    won = [each.answer() for each in both]
    winners = Counter(node for nodes in won for node in nodes)
    tally.races += len(names)
    tally.won_by_none += sum(winners[node] == 0 for node in names)
    tally.won_by_both += sum(winners[node] > 1 for node in names)
    for each, nodes in zip(both, won, strict=True):
        tally.good_refused += each.ask("act", nodes)["refused"]
    return won


def pause(holder: Process, other: Process, names: Sequence[str], point: str, tally: Tally) -> None:
    """The holder stops; the other takes over when the leases have expired, and acts; the holder wakes and wants to."""
    if not names:
        return
    holder.order("pause_and_act", names, point)
    holder.await_stop()
    other.order("take", names, 60.0)
    if not other.orders.poll(STUCK_S):
        tally.stuck_in_the_store += 1
        holder.wake()
    taken = other.answer()
    tally.good_refused += other.ask("act", taken)["refused"]
    holder.wake()
    woken = holder.answer()
    tally.paused += len(names)
    tally.taken_over += len(taken)
    tally.stale_refused += woken["refused"]
    tally.stale_acted += woken["acted"]


def disorder(record: Sequence[str]) -> list[str]:
    """Commands that arrived after one with a higher fence, and fences that two have used."""
    highest: defaultdict[str, int] = defaultdict(int)
    owner: dict[tuple[str, int], str] = {}
    wrong = []
    for line in record:
        node, fence, name = line.split()
        if int(fence) < highest[node] or owner.setdefault((node, int(fence)), name) != name:
            wrong.append(line)
        highest[node] = max(highest[node], int(fence))
    return wrong
