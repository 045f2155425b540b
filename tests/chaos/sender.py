"""Sends works at a pace, from several threads, and notes what it was told of each."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cloudmesh_actors.errors import BrokerUnavailable, StoreUnavailable

#: Of each kind, its share of the works.
MIX = {"plain": 50, "flaky": 10, "chain": 10, "switch": 15, "leased": 15}

#: How long a task takes, in seconds: long enough for kills to strike it.
TASK_S = (0.02, 0.15)

#: How long a `chaos_long` takes.
LONG_S = (0.5, 6.0)

#: Wait before a refused work is sent again, in seconds.
AGAIN_S = 0.5

#: How long a sender waits for a fleet that does not keep up before it sends one more, in seconds.
ROOM_S = 5.0

THREADS = 2


class Work(NamedTuple):
    """One work: its actor's kind, its name, its arguments beside the name."""

    kind: str
    name: str
    arguments: tuple[Any, ...]


def works(count: int, rng: random.Random, mix: dict[str, int] | None = None) -> Iterator[Work]:
    """So many works of mixed kinds."""
    from chaos.actors import NODES

    mix = mix or MIX
    for number, kind in enumerate(rng.choices([*mix], [*mix.values()], k=count)):
        seconds = round(rng.uniform(*(LONG_S if kind == "long" else TASK_S)), 3)
        node = (f"n{rng.randrange(NODES)}",) if kind == "leased" else ()
        yield Work(kind, f"{kind}-{number}", (seconds, *node))


class Sender:
    """Sends each work until somebody takes it: one that was refused is sent again under another name.

    Args:
        pace: works a second.
        room: whether the fleet keeps up; without it the sender waits, but not for ever.

    Attributes:
        taken: works whose `send()` returned.
        jobs: their jobs' ids.
        refused: works whose `send()` raised BrokerUnavailable or StoreUnavailable.
        unclear: any other exceptions.
        longest: the longest `send()`, in seconds.
    """

    def __init__(
        self,
        to_send: Iterator[Work],
        pace: float,
        room: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._works, self._pace, self._room, self._clock = to_send, pace, room, clock
        self._lock = threading.Lock()
        self._begun_at, self._next = clock(), 0
        self.taken: list[str] = []
        self.jobs: dict[str, str] = {}
        self.refused: list[str] = []
        self.unclear: Counter[str] = Counter()
        self.longest = 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"sender{n}") for n in range(THREADS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        self.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                work = next(self._works, None)
                due = self._begun_at + self._next / self._pace
                self._next += 1
            if work is None:
                return
            self._stop.wait(max(0.0, due - self._clock()))
            self._await_room()
            self._send(work)

    def _await_room(self) -> None:
        until = self._clock() + ROOM_S
        while self._clock() < until and not self._room() and not self._stop.wait(0.1):
            pass

    def _send(self, work: Work) -> None:
        attempt = 0
        while not self._stop.is_set() and not self._taken(work, attempt):
            attempt += 1
            self._stop.wait(AGAIN_S)

    def _taken(self, work: Work, attempt: int) -> bool:
        from chaos import actors

        name = f"{work.name}.{attempt}" if attempt else work.name
        began = self._clock()
        try:
            self.jobs[name] = getattr(actors, f"chaos_{work.kind}").send(name, *work.arguments).message_id
        except (BrokerUnavailable, StoreUnavailable):
            self.refused.append(name)
        except Exception as error:
            self.unclear["".join(traceback.format_exception(error))] += 1
        else:
            self.taken.append(name)
            return True
        finally:
            self.longest = max(self.longest, self._clock() - began)
        return False
