"""A UDP proxy for tests that loses, delays and doubles datagrams, as networks do."""

from __future__ import annotations

import heapq
import itertools
import random
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

#: What happens to one datagram: the seconds after which each copy of it goes on; none when it is lost.
Fate = Callable[[random.Random], tuple[float, ...]]


def whole(_: random.Random) -> tuple[float, ...]:
    """Every datagram arrives at once."""
    return (0.0,)


def losing(share: float) -> Fate:
    """So many of the datagrams are lost, each way."""
    return lambda chance: () if chance.random() < share else (0.0,)


def delaying(seconds: float) -> Fate:
    """Every datagram is late."""
    return lambda chance: (seconds,)


def doubling(latest: float) -> Fate:
    """Every datagram arrives, and a copy of it some time later."""
    return lambda chance: (0.0, chance.uniform(0.0, latest))


def rough(chance: random.Random) -> tuple[float, ...]:
    """Some are lost, some doubled, all are late by different times, so that they overtake each other."""
    copies = chance.choice((0, 1, 1, 1, 1, 1, 1, 2, 2, 3))
    return tuple(chance.uniform(0.0, 0.03) for _ in range(copies))


class Proxy:
    """Stands between clients and a server. Counts what came in each way; a test may have the next ones lost."""

    def __init__(self, server: tuple[str, int], fate: Fate, seed: int, place: tuple[str, int] | None = None) -> None:
        self.fate = fate
        self.requests = self.answers = 0
        self.requests_to_lose = self.answers_to_lose = 0
        self._server, self._chance = server, random.Random(seed)
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(place or (server[0], 0))
        self.address, self.port = self._front.getsockname()
        self._backs: dict[tuple[str, int], socket.socket] = {}
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._front, selectors.EVENT_READ)
        self._wakes, self._waker = socket.socketpair()
        self._selector.register(self._wakes, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._waker.close()
        self._thread.join()
        for channel in (self._front, self._wakes, *self._backs.values()):
            channel.close()
        self._selector.close()

    def _relay(self) -> None:
        while True:
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj is self._wakes:
                    return
                with suppress(OSError):  # the server is away
                    self._take(key.fileobj, key.data)
            while self._queue and self._queue[0][0] <= time.monotonic():
                with suppress(OSError):
                    heapq.heappop(self._queue)[2]()

    def _patience(self) -> float | None:
        return max(0.0, self._queue[0][0] - time.monotonic()) if self._queue else None

    def _take(self, channel: Any, client: tuple[str, int] | None) -> None:
        data, sender = channel.recvfrom(4096)
        if client is None:
            self.requests += 1
            back = self._back(sender)
            self._pass_on(lambda: back.send(data), "requests_to_lose")
        else:
            self.answers += 1
            self._pass_on(lambda: self._front.sendto(data, client), "answers_to_lose")

    def _back(self, client: tuple[str, int]) -> socket.socket:
        if client not in self._backs:
            back = self._backs[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            back.connect(self._server)
            self._selector.register(back, selectors.EVENT_READ, client)
        return self._backs[client]

    def _pass_on(self, deliver: Callable[[], object], counter: str) -> None:
        if getattr(self, counter):
            setattr(self, counter, getattr(self, counter) - 1)
            return
        for delay in self.fate(self._chance):
            heapq.heappush(self._queue, (time.monotonic() + delay, next(self._numbers), deliver))


@contextmanager
def proxy(address: str, port: int, fate: Fate = whole, seed: int = 1) -> Iterator[Proxy]:
    """A proxy to the server at an address, on another port of the same address."""
    stands_between = Proxy((address, port), fate, seed)
    try:
        yield stands_between
    finally:
        stands_between.close()
