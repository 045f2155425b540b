"""When datagrams are sent again, told by a clock of the test's own."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cloudmesh_actors.clients.ipmi.retransmission import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    SHORTEST_WAIT_S,
    SILENCE_S,
    Retransmission,
)


@pytest.fixture
def timer() -> Retransmission:
    return Retransmission(spread=lambda: 1.0)


def sendings_until_given_up(timer: Retransmission, now: float = 0.0) -> list[float]:
    timer.first(now)
    times = [now]
    while not timer.gives_up(timer.due):
        times.append(timer.due)
        timer.again(timer.due)
    return times


def test_waits_grow_until_the_bmc_is_given_up(timer: Retransmission) -> None:
    times = sendings_until_given_up(timer)

    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[0] == FIRST_WAIT_S
    assert waits == sorted(waits)
    assert max(waits) <= LONGEST_WAIT_S
    assert SILENCE_S <= timer.due <= SILENCE_S + LONGEST_WAIT_S
    assert len(times) >= 5


def test_a_bmc_that_answers_quickly_is_asked_again_sooner(timer: Retransmission) -> None:
    for turn in range(20):
        timer.first(turn)
        timer.answered(turn + 0.002)

    times = sendings_until_given_up(timer, 100.0)

    assert times[1] - times[0] == pytest.approx(SHORTEST_WAIT_S)
    assert len(times) > len(sendings_until_given_up(Retransmission(lambda: 1.0)))


def test_a_bmc_that_answers_slowly_is_not_asked_again_too_soon(timer: Retransmission) -> None:
    for turn in range(20):
        timer.first(turn * 10)
        timer.answered(turn * 10 + 0.8)

    timer.first(1000.0)
    assert 0.8 < timer.due - 1000.0 <= LONGEST_WAIT_S


def test_an_answer_after_a_repetition_teaches_no_round_trip(timer: Retransmission) -> None:
    timer.first(0.0)
    timer.again(timer.due)
    longer = timer.due - FIRST_WAIT_S
    timer.answered(timer.due)

    timer.first(10.0)

    assert timer.due - 10.0 == pytest.approx(longer)


def test_the_next_request_answers_the_one_before(timer: Retransmission) -> None:
    timer.first(0.0)
    timer.first(0.01)

    assert timer.sendings == 1
    assert timer.due == pytest.approx(0.01 + SHORTEST_WAIT_S)


def test_many_sessions_do_not_repeat_in_step() -> None:
    dues = set()
    for _ in range(10):
        timer = Retransmission()
        timer.first(0.0)
        dues.add(timer.due)

    assert len(dues) == 10
