"""What is done to the fleet, its broker and its store. Each harm runs in a thread beside the senders."""

from __future__ import annotations

import bisect
import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from fleets import is_alive

from chaos.told import Hit
from chaos.world import World, say
from cloudmesh_actors.errors import FleetError

#: Younger than this, in seconds, a worker counts as failing when it dies; after a few times supervisord gives up.
YOUNG_S = 11.0

#: How often is looked whether a hit is due, and anybody may be hit, in seconds.
LOOK_S = 0.1


class Harm(threading.Thread):
    """Does something so often, spread over the run; `end` raises what went wrong.

    Args:
        times: how often.
        progress: how far the run has come, from 0 to 1.
    """

    #: The part of the run in which it strikes.
    when = (0.03, 0.95)

    def __init__(self, world: World, rng: random.Random, times: int, progress: Callable[[], float]) -> None:
        super().__init__(name=type(self).__name__)
        self.world, self.rng, self.times, self.progress = world, rng, times, progress
        self.hits: list[Hit] = []
        self._dues = sorted(rng.uniform(*self.when) for _ in range(times))
        self._over = threading.Event()
        self._error: BaseException | None = None

    def do(self) -> None:
        raise NotImplementedError

    def behind(self) -> int:
        """How many hits are due and have not been made."""
        return bisect.bisect(self._dues, self.progress()) - len(self.hits)

    def run(self) -> None:
        try:
            while len(self.hits) < self.times and not self._over.wait(LOOK_S):
                if self.behind() > 0:
                    self._try()
        except BaseException as error:
            self._error = error

    def look(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Stop, wait, raise what went wrong."""
        self._over.set()
        self.join()
        self.look()

    def _try(self) -> None:
        try:
            self.do()
        except FleetError as error:  # a busy machine: supervisord is late with its answer
            say(f"{self.name}: {error}")


class Signals(Harm):
    """Sends signals to workers at random, young ones too, but not so often that supervisord gives them up.

    Args:
        numbers: the signals, in turns.
        young: how often in a row a worker may be hit that has just begun.
    """

    def __init__(
        self,
        world: World,
        rng: random.Random,
        times: int,
        progress: Callable[[], float],
        *numbers: signal.Signals,
        young: int = 1,
    ) -> None:
        super().__init__(world, rng, times, progress)
        self.took: list[float] = []
        self._numbers, self._most_young = numbers, young
        self._young: Counter[str] = Counter()

    def do(self) -> None:
        struck = {hit.pid for hit in self.hits}
        running = {name: worker for name, worker in self.world.workers().items() if worker.pid not in struck}
        old = {name for name, worker in running.items() if worker.state == "RUNNING" and worker.age > YOUNG_S}
        number = self._numbers[len(self.hits) % len(self._numbers)]
        may = [name for name in running if name in old or self._young[name] < self._most_young]
        if number is signal.SIGTERM:  # Python itself, before it has read our first line, ends at once
            may = [name for name in may if self.world.has_begun(name, running[name].pid)]
        if not may or not self.world.is_able():
            return
        name = self.rng.choice(sorted(may))
        self._young[name] = 0 if name in old else self._young[name] + 1
        self.hit(name, running[name].pid, number)

    def hit(self, name: str, pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            self.hits.append(Hit(name, pid, time.time(), number.name))
            process.send_signal(number)
            if number is signal.SIGTERM:
                threading.Thread(target=self._time, args=(process, time.monotonic())).start()

    def _time(self, process: psutil.Process, began: float) -> None:
        await_end(process)
        self.took.append(time.monotonic() - began)


def await_end(process: psutil.Process) -> None:
    """Until a process has ended, be it that nobody has taken note of it."""
    while is_alive(process):
        time.sleep(0.02)


def idle_stops(world: World) -> list[float]:
    """How long workers take to stop that have nothing to do, in seconds: each is stopped once."""
    took = []
    for name, worker in world.workers().items():
        if world.has_begun(name, worker.pid):
            process, began = psutil.Process(worker.pid), time.monotonic()
            process.terminate()
            await_end(process)
            took.append(time.monotonic() - began)
    return took


class Restarts(Harm):
    """Stops the broker in order, or kills it, and starts it again."""

    def do(self) -> None:
        server, how = self.world.server, self.rng.choice(["stop", "kill"])
        self.hits.append(Hit("broker", 0, time.time(), how))
        getattr(server, how)()
        self._over.wait(self.rng.uniform(0, 2))
        server.start()


class Away(Harm):
    """For a while the broker or PostgreSQL is stopped, SQLite is locked by another process, or the disk is full."""

    when = (0.15, 0.25)

    def __init__(
        self, world: World, rng: random.Random, progress: Callable[[], float], what: str, seconds: float
    ) -> None:
        super().__init__(world, rng, 1, progress)
        self.seconds, self.what = seconds, what

    def do(self) -> None:
        say(f"{self.what}: now")
        began = time.time()
        with getattr(self, f"_{self.what}")():
            time.sleep(self.seconds)
        self.hits.append(Hit(self.what, 0, began, "away"))
        say(f"{self.what}: over")

    @contextlib.contextmanager
    def _broker(self) -> Iterator[None]:
        self.world.server.stop()
        yield
        self.world.server.start()

    @contextlib.contextmanager
    def _store(self) -> Iterator[None]:
        if self.world.store is None:
            with locked(self.world.fleet.log_dir / "state" / "store.db"):
                yield
            return
        self.world.store.stop()
        yield
        self.world.store.start()

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        ballast = self.world.fleet.log_dir / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:  # until there is no room left; and keep at it
                file.write(b"x" * 4096)
                file.flush()
        yield
        ballast.unlink()


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process has an exclusive transaction open."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None); "
        "c.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdin
        assert other.stdout.readline() == b"locked\n", f"{sqlite3.sqlite_version} could not lock {database}"
        yield
        other.stdin.close()
