"""Time limits strike the task that they are for, or nobody."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from dramatiq.middleware import TimeLimitExceeded

from cloudmesh_actors.broker import timelimit
from cloudmesh_actors.broker.timelimit import PreciseTimeLimit


@pytest.fixture
def limit() -> PreciseTimeLimit:
    timelimit.forget()
    return PreciseTimeLimit(interval=10)


def begin(limit: PreciseTimeLimit, milliseconds: float) -> None:
    actor = SimpleNamespace(options={"time_limit": milliseconds})
    message: Any = SimpleNamespace(actor_name="a", options={})
    limit.before_process_message(SimpleNamespace(get_actor=lambda name: actor), message)


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_task_that_is_late_is_struck(limit: PreciseTimeLimit) -> None:
    begin(limit, 1)
    time.sleep(0.01)

    with pytest.raises(TimeLimitExceeded):
        limit.manager._handle_deadlines()
        spin(1)
    limit.manager._handle_deadlines()  # once
    spin(0.01)


def test_one_that_ended_in_time_is_not_even_if_nobody_looked_before(limit: PreciseTimeLimit) -> None:
    begin(limit, 1)
    time.sleep(0.01)
    timelimit.task_ended()
    limit.manager._handle_deadlines()
    spin(0.01)


def test_after_its_end_a_task_is_never_struck_however_close_it_was(limit: PreciseTimeLimit) -> None:
    """A thread that ends its tasks just as their limits are up, with somebody who strikes all the time."""
    stop = threading.Event()
    struck_late: list[int] = []
    struck = 0

    def strike() -> None:
        while not stop.is_set():
            limit.manager._handle_deadlines()

    striker = threading.Thread(target=strike)
    striker.start()
    try:
        for number in range(400):
            try:
                begin(limit, 1)
                try:
                    spin(0.001)
                finally:
                    timelimit.task_ended()
            except TimeLimitExceeded:
                struck += 1
            try:
                spin(0.0005)
            except TimeLimitExceeded:
                struck_late.append(number)
    finally:
        stop.set()
        striker.join()

    assert struck_late == []


def test_a_closed_brokers_limits_are_forgotten(limit: PreciseTimeLimit) -> None:
    timelimit.forget()
    timelimit.task_ended()
    assert timelimit._managers == []
