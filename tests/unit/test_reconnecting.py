"""Connecting again without a storm."""

from __future__ import annotations

from cloudmesh_actors.broker.reconnecting import FIRST_WAIT_S, LONGEST_WAIT_S, Reconnection


def test_the_first_try_comes_at_once_and_the_next_ones_ever_later() -> None:
    limits: list[float] = []
    slept: list[float] = []

    def longest(low: float, high: float) -> float:
        limits.append(high)
        return high

    reconnection = Reconnection(uniform=longest, sleep=slept.append, stopping=lambda: False)
    reconnection.wait()
    for _ in range(20):
        reconnection.failed()
        reconnection.wait()

    assert limits[:3] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert limits[-1] == LONGEST_WAIT_S
    assert abs(sum(slept) - sum(limits)) < 0.01
    reconnection.connected()
    slept.clear()
    reconnection.wait()
    assert slept == []


def test_the_waits_of_many_workers_are_spread_out() -> None:
    waits: list[float] = []
    for _ in range(50):
        reconnection = Reconnection(sleep=waits.append, stopping=lambda: False)
        for _ in range(5):
            reconnection.failed()
        before = len(waits)
        reconnection.wait()
        waits[before:] = [sum(waits[before:])]

    assert len({round(wait, 3) for wait in waits}) > 40


def test_a_worker_that_stops_does_not_wait() -> None:
    slept: list[float] = []
    reconnection = Reconnection(uniform=lambda low, high: 5.0, sleep=slept.append, stopping=lambda: len(slept) >= 2)
    reconnection.failed()
    reconnection.wait()

    assert len(slept) == 2
