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
from contextlib import contextmanager
from dataclasses import dataclass, field

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


@dataclass
class Proxy:
    """Where to send to instead of the BMC. The counts are datagrams that came in, each way."""

    address: str
    port: int
    fate: Fate
    requests: int = 0
    answers: int = 0
    answers_to_lose: int = 0
    requests_to_lose: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)


@contextmanager
def proxy(address: str, port: int, fate: Fate = whole, seed: int = 1) -> Iterator[Proxy]:
    """Stand between clients and the server at an address, on another port of the same address."""
    front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    front.bind((address, 0))
    shared = Proxy(address, front.getsockname()[1], fate)
    relay = threading.Thread(target=_relay, args=(front, (address, port), shared, random.Random(seed)), daemon=True)
    relay.start()
    try:
        yield shared
    finally:
        shared.stopped.set()
        relay.join()
        front.close()


def _relay(front: socket.socket, server: tuple[str, int], shared: Proxy, chance: random.Random) -> None:
    backs: dict[tuple[str, int], socket.socket] = {}
    queue: list[tuple[float, int, Callable[[], object]]] = []
    numbers = itertools.count()

    def pass_on(deliver: Callable[[], object]) -> None:
        for delay in shared.fate(chance):
            heapq.heappush(queue, (time.monotonic() + delay, next(numbers), deliver))

    with selectors.DefaultSelector() as selector:
        selector.register(front, selectors.EVENT_READ)
        while not shared.stopped.is_set():
            for key, _ in selector.select(_patience(queue)):
                data, sender = _receive(key.fileobj)
                if data is None:
                    continue
                if key.fileobj is front:
                    if sender not in backs:
                        back = backs[sender] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                        back.connect(server)
                        selector.register(back, selectors.EVENT_READ, sender)
                    shared.requests += 1
                    if shared.requests_to_lose:
                        shared.requests_to_lose -= 1
                    else:
                        pass_on(lambda back=backs[sender], data=data: back.send(data))
                else:
                    shared.answers += 1
                    if shared.answers_to_lose:
                        shared.answers_to_lose -= 1
                    else:
                        pass_on(lambda to=key.data, data=data: front.sendto(data, to))
            while queue and queue[0][0] <= time.monotonic():
                _deliver(heapq.heappop(queue)[2])
    for back in backs.values():
        back.close()


def _patience(queue: list[tuple[float, int, Callable[[], object]]]) -> float:
    return min(0.02, max(0.0, queue[0][0] - time.monotonic())) if queue else 0.02


def _receive(channel: socket.socket) -> tuple[bytes | None, tuple[str, int]]:
    try:
        return channel.recvfrom(4096)
    except OSError:  # the server is away
        return None, ("", 0)


def _deliver(deliver: Callable[[], object]) -> None:
    try:
        deliver()
    except OSError:  # the server is away
        pass
