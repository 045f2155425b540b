"""What is done to the fleet, its broker and its store. Each harm runs in a thread beside the senders."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from chaos.told import Hit
from chaos.world import World, say

#: Younger than this, in seconds, a worker counts as failing when it dies; after a few times supervisord gives up.
YOUNG_S = 11.0


class Harm(threading.Thread):
    """Does something now and then until it was done often enough or is stopped. `end` raises what went wrong."""

    def __init__(self, world: World, rng: random.Random, times: int, every_s: float) -> None:
        super().__init__(name=type(self).__name__)
        self.world, self.rng, self.times, self.every_s = world, rng, times, every_s
        self.hits: list[Hit] = []
        self._over = threading.Event()
        self._error: BaseException | None = None

    def do(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        try:
            while len(self.hits) < self.times and not self._over.wait(self.rng.uniform(0.5, 1.5) * self.every_s):
                self.do()
        except BaseException as error:
            self._error = error

    def end(self) -> None:
        """Stop, wait, raise what went wrong."""
        self._over.set()
        self.join()
        if self._error is not None:
            raise self._error


class Signals(Harm):
    """Sends a signal to workers at random, young ones too, but not so often that supervisord gives them up."""

    def __init__(self, world: World, rng: random.Random, times: int, every_s: float, number: signal.Signals) -> None:
        super().__init__(world, rng, times, every_s)
        self.number = number
        self.took: list[float] = []
        self._young: set[str] = set()

    def do(self) -> None:
        now = time.time()
        struck = {hit.pid for hit in self.hits}
        running = {name: worker for name, worker in self.world.workers().items() if worker[1] not in struck}
        old = {name: now - started > YOUNG_S and state == "RUNNING" for name, (state, _, started) in running.items()}
        may = [name for name in running if old[name] or (self.may_be_young() and name not in self._young)]
        if not may:
            time.sleep(0.5)
            return
        name = self.rng.choice(sorted(may))
        self._young.discard(name) if old[name] else self._young.add(name)
        self.hit(name, running[name][1])

    def may_be_young(self) -> bool:
        return self.number is signal.SIGKILL and self.rng.random() < 0.3

    def hit(self, name: str, pid: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            self.hits.append(Hit(name, pid, time.time()))
            process.send_signal(self.number)
            if self.number is signal.SIGTERM:
                threading.Thread(target=self._time, args=(process, time.monotonic())).start()

    def _time(self, process: psutil.Process, began: float) -> None:
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)
        self.took.append(time.monotonic() - began)


class Restarts(Harm):
    """Stops the broker in order, or kills it, and starts it again."""

    def do(self) -> None:
        server, how = self.world.server, self.rng.choice(["stop", "kill"])
        self.hits.append(Hit("broker", 0, time.time()))
        getattr(server, how)()
        self._over.wait(self.rng.uniform(0, 2))
        server.start()


class Away(Harm):
    """For a while the broker or PostgreSQL is stopped, SQLite is locked by another process, or the disk is full."""

    def __init__(self, world: World, rng: random.Random, seconds: float, what: str, after_s: float) -> None:
        super().__init__(world, rng, 1, after_s)
        self.seconds, self.what = seconds, what

    def do(self) -> None:
        say(f"{self.what}: now")
        began = time.time()
        with getattr(self, f"_{self.what}")():
            time.sleep(self.seconds)
        self.hits.append(Hit(self.what, 0, began))
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


def is_mine(pid: int) -> bool:
    """Whether a process is this user's."""
    return psutil.Process(pid).uids().real == os.getuid()
