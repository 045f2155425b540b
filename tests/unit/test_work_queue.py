"""The queue between a worker's consumers and its threads: nothing is left lying, and few threads do what few can."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any

import pytest
from dramatiq.common import iter_queue
from engines import wait_until

from cloudmesh_actors.broker import work_queue as module
from cloudmesh_actors.broker.work_queue import WorkQueue


@contextmanager
def threads(queue: WorkQueue, count: int, task: Callable[[Any], object], timeout: float | None = 60) -> Iterator[None]:
    """Threads that do as Dramatiq's: take, do, and say that it is done."""

    def work() -> None:
        while True:
            try:
                item = queue.get(timeout=timeout)
            except Empty:
                continue
            if item[1] is None:
                return
            task(item[1])
            queue.task_done()

    running = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in running:
        thread.start()
    wait_until(lambda: queue._parked == count)
    yield
    for _ in running:
        queue.put((1_000_000, None))
    for thread in running:
        thread.join(20)
        assert not thread.is_alive()


def test_it_gives_by_priority_and_knows_what_is_unfinished() -> None:
    queue = WorkQueue()
    for item in (3, 1, 2):
        queue.put(item)

    assert [queue.get() for _ in range(3)] == [1, 2, 3]
    assert queue.unfinished_tasks == 3
    for _ in range(3):
        queue.task_done()
    queue.join()


def test_who_finds_nothing_in_time_is_told_so() -> None:
    queue = WorkQueue()
    with pytest.raises(Empty):
        queue.get(block=False)
    began = time.monotonic()
    with pytest.raises(Empty):
        queue.get(timeout=0.1)
    assert 0.1 <= time.monotonic() - began < 5


def test_what_nobody_has_taken_can_be_handed_back() -> None:
    queue = WorkQueue()
    for item in (2, 1):
        queue.put(item)
    assert list(iter_queue(queue)) == [1, 2]


def test_a_thread_that_comes_back_in_time_takes_the_next_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", (2.0, 2.0))
    queue, who, go_on = WorkQueue(), list[threading.Thread](), threading.Semaphore(0)

    def task(_number: int) -> None:
        who.append(threading.current_thread())
        assert go_on.acquire(timeout=20)

    with threads(queue, 4, task):
        queue.put((1, 1))
        wait_until(lambda: len(who) == 1)
        for number in (2, 3, 4):
            queue.put((number, number))
        wait_until(lambda: queue._watched)
        for begun in (2, 3, 4):
            go_on.release()
            wait_until(lambda begun=begun: len(who) == begun)
        queue._patience = 0.001
        monkeypatch.setattr(module, "PATIENCE_S", (0.001, 0.001))
        go_on.release()
    assert len({*who}) == 1


def test_who_watches_loses_patience_when_those_at_work_do_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", (0.001, 1.0))
    queue, opened = WorkQueue(), threading.Event()
    queue._patience = 0.256

    with threads(queue, 4, lambda _: opened.wait(20)):
        for number in range(4):
            queue.put((number, number))
        wait_until(lambda: not queue.qsize())
        assert queue._patience < 0.256 / 4**2
        opened.set()


def test_when_those_at_work_wait_for_something_the_others_are_given_the_rest() -> None:
    """All of them at once, although nobody finishes, and without one more message that would wake somebody."""
    queue, begun, opened = WorkQueue(), [], threading.Event()

    def task(number: int) -> None:
        begun.append(number)
        assert opened.wait(20)

    with threads(queue, 8, task, timeout=None):
        for number in range(8):
            queue.put((number, number))
        wait_until(lambda: len(begun) == 8)
        opened.set()
        queue.join()


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_left_lying_or_taken_twice(seed: int) -> None:
    """No thread wakes by itself here: a message that nobody is called for would stay."""
    rng = random.Random(seed)
    queue, taken = WorkQueue(), []
    naps = [rng.choice((0.0, 0.0, 0.0, 0.0005, 0.003)) for _ in range(600)]

    def task(number: int) -> None:
        taken.append(number)
        if naps[number]:
            time.sleep(naps[number])

    def send(numbers: range) -> None:
        for number in numbers:
            queue.put((rng.random(), number))
            if rng.random() < 0.1:
                time.sleep(rng.random() * 0.005)

    with threads(queue, 6, task, timeout=None):
        senders = [threading.Thread(target=send, args=(range(first, 600, 3),)) for first in range(3)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        joined = threading.Thread(target=queue.join, daemon=True)
        joined.start()
        joined.join(20)
        assert not joined.is_alive()
    assert sorted(taken) == list(range(600))
