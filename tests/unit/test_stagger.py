"""Power-on in groups: who may start when, and what is told of those that wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.errors import JobAborted
from cloudmesh_actors.runs import Run
from cloudmesh_actors.stagger import Groups, PowerOns, Turns, shared


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


class WatchedRun(Run):
    def __init__(self, abort_after: int = 1000) -> None:
        self.notes: list[tuple[int, int, str]] = []
        self._left = abort_after

    def progress(self, done: int, total: int, note: str = "") -> None:
        self.notes.append((done, total, note))

    def checkpoint(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise JobAborted("The job x was aborted.")


@pytest.mark.parametrize(
    ("groups", "delays"),
    [
        (Groups(2, 5.0), [0, 0, 5, 5, 10, 10, 15]),
        (Groups(3, 0.5), [0, 0, 0, 0.5, 0.5, 0.5, 1.0]),
        (Groups(0, 5.0), [0] * 7),
        (Groups(1, 0.0), [0] * 7),
    ],
)
def test_delays_by_place(groups: Groups, delays: list[float]) -> None:
    assert [groups.delay(place) for place in range(7)] == delays


class TestTurns:
    def test_those_who_ask_at_once_start_in_groups(self, clock: Clock) -> None:
        turns = Turns(Groups(2, 5.0), clock)

        assert [turns.reserve() - 100 for _ in range(5)] == [0, 0, 5, 5, 10]

    @given(st.integers(1, 4), st.floats(0.0, 5.0), st.lists(st.floats(0.0, 6.0), max_size=40), st.floats(0.0, 1e6))
    def test_within_any_interval_no_more_than_a_group_starts(
        self, size: int, seconds: float, pauses: list[float], now: float
    ) -> None:
        clock = Clock()
        clock.now = now
        turns = Turns(Groups(size, seconds), clock)

        starts = []
        for pause in pauses:
            starts.append(turns.reserve())
            assert starts[-1] >= clock.now
            clock.now += pause

        assert starts == sorted(starts)
        assert all(later >= earlier + seconds for earlier, later in zip(starts, starts[size:], strict=False))

    def test_nobody_waits_longer_than_needed(self, clock: Clock) -> None:
        turns = Turns(Groups(2, 5.0), clock)

        starts = []
        for now in (100.0, 104.0, 104.5, 104.5, 120.0):
            clock.now = now
            starts.append(turns.reserve())

        assert starts == [100.0, 104.0, 105.0, 109.0, 120.0]

    def test_without_a_limit_everybody_starts_now(self, clock: Clock) -> None:
        turns = Turns(Groups(0, 5.0), clock)

        assert {turns.reserve() for _ in range(50)} == {100.0}

    def test_all_jobs_of_a_process_share_them(self) -> None:
        assert shared(Groups(2, 5.0)) is shared(Groups(2, 5.0))
        assert shared(Groups(2, 5.0)) is not shared(Groups(3, 5.0))


class TestPowerOns:
    def test_one_that_waits_is_told_of_and_goes_on_in_its_turn(self, clock: Clock) -> None:
        run = WatchedRun()
        starts = PowerOns(run, total=3, turns=Turns(Groups(1, 2.0), clock), sleep=clock.sleep)
        first, second = starts.turn(), starts.turn()

        assert first.has_come()
        starts.ended()
        assert not second.has_come()
        second.wait()

        assert second.has_come()
        assert clock.now == 102.0
        assert run.notes[0] == (1, 3, "1 wait for their turn to be powered on (1 every 2 s)")

    def test_one_that_waits_can_be_aborted(self, clock: Clock) -> None:
        starts = PowerOns(WatchedRun(2), total=2, turns=Turns(Groups(1, 60.0), clock), sleep=clock.sleep)
        assert starts.turn().has_come()

        with pytest.raises(JobAborted):
            starts.turn().wait()
        assert clock.now == 101.0

    def test_a_turn_that_is_not_needed_takes_no_place(self, clock: Clock) -> None:
        starts = PowerOns(WatchedRun(), total=2, turns=Turns(Groups(1, 60.0), clock))
        starts.turn()

        assert starts.turn().has_come()
