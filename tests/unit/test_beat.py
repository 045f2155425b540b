"""The scheduler's judgement: what is due, and what has to wait for its predecessor."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from cloudmesh_actors import settings
from cloudmesh_actors.errors import BrokerUnavailable
from workers import beat
from workers.beat import HOUR_S, LOST_AFTER_S, Chore, Pacer

NOON = 1_700_000_000.0


class World:
    """A clock, the states of jobs, and a chore that sends jobs."""

    def __init__(self) -> None:
        self.now = NOON
        self.states: dict[str, str] = {}
        self.sent: list[str] = []

    def send(self) -> str:
        self.sent.append(f"job{len(self.sent) + 1}")
        self.states[self.sent[-1]] = "queued"
        return self.sent[-1]

    def chore(self, do: Callable[[], str | None] | None = None) -> Chore:
        return Chore("read sensors", 300, do or self.send)

    def pacer(self, memory: Path) -> Pacer:
        return Pacer(memory, self.states.get, lambda: self.now)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def pacer(world: World, tmp_path: Path) -> Pacer:
    return world.pacer(tmp_path / "beat.json")


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_chore_waits_while_its_last_job_is_at_work(world: World, pacer: Pacer, state: str) -> None:
    pacer.do(world.chore())
    world.states["job1"] = state

    with capture_logs() as events:
        pacer.do(world.chore())

    assert world.sent == ["job1"]
    assert [event["event"] for event in events] == ["chore.skipped"]


@pytest.mark.parametrize("state", ["done", "failed", "aborted"])
def test_a_chore_is_done_again_when_its_last_job_has_ended(world: World, pacer: Pacer, state: str) -> None:
    pacer.do(world.chore())
    world.states["job1"] = state

    pacer.do(world.chore())

    assert world.sent == ["job1", "job2"]


def test_the_last_job_is_remembered_across_a_restart(world: World, tmp_path: Path) -> None:
    world.pacer(tmp_path / "beat.json").do(world.chore())

    world.pacer(tmp_path / "beat.json").do(world.chore())

    assert world.sent == ["job1"]


def test_a_job_that_the_store_no_longer_knows_holds_nothing_up(world: World, pacer: Pacer) -> None:
    pacer.do(world.chore())
    del world.states["job1"]

    pacer.do(world.chore())

    assert world.sent == ["job1", "job2"]


def test_a_job_that_got_lost_holds_nothing_up_for_ever(world: World, pacer: Pacer) -> None:
    pacer.do(world.chore())

    world.now += LOST_AFTER_S
    pacer.do(world.chore())
    world.now += 1
    pacer.do(world.chore())

    assert world.sent == ["job1", "job2"]


def test_a_chore_without_a_job_never_waits(world: World, pacer: Pacer) -> None:
    done: list[None] = []

    def prune() -> None:
        done.append(None)

    pacer.do(world.chore(prune))
    pacer.do(world.chore(prune))

    assert len(done) == 2


def test_what_goes_wrong_is_a_line_in_the_log_and_the_next_time_is_not_lost(world: World, pacer: Pacer) -> None:
    def fail() -> str:
        raise BrokerUnavailable("nobody answers at redis://broker")

    with capture_logs() as events:
        pacer.do(world.chore(fail))
    pacer.do(world.chore())

    assert events == [
        {"event": "chore.failed", "log_level": "error", "chore": "read sensors",
         "error": "nobody answers at redis://broker"}
    ]  # fmt: skip
    assert world.sent == ["job1"]


def test_a_bug_in_a_chore_does_not_end_the_scheduler(world: World, pacer: Pacer) -> None:
    with capture_logs() as events:
        pacer.do(world.chore(lambda: str(1 // 0)))

    assert [(event["event"], event["exc_info"]) for event in events] == [("chore.failed", True)]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"read sensors": 1}'])
def test_a_damaged_memory_is_begun_afresh(world: World, tmp_path: Path, damage: str) -> None:
    (tmp_path / "beat.json").write_text(damage)

    world.pacer(tmp_path / "beat.json").do(world.chore())

    assert world.sent == ["job1"]


def test_what_was_never_done_is_due_at_once(world: World, pacer: Pacer) -> None:
    assert pacer.due_at(world.chore()) == NOON


def test_after_a_restart_a_chore_is_due_one_interval_after_the_last_time(world: World, pacer: Pacer) -> None:
    pacer.do(world.chore())
    world.now += 100

    assert pacer.due_at(world.chore()) == NOON + 300


def test_what_is_overdue_after_a_restart_is_due_at_once(world: World, pacer: Pacer) -> None:
    pacer.do(world.chore())
    world.now += 1000

    assert pacer.due_at(world.chore()) == world.now


def test_a_clock_that_was_set_back_delays_a_chore_by_one_interval_at_most(world: World, pacer: Pacer) -> None:
    pacer.do(world.chore())
    world.now -= 1_000_000

    assert pacer.due_at(world.chore()) == world.now + 300


def test_the_schedule_has_a_time_for_each_chore(world: World, pacer: Pacer) -> None:
    scheduler = beat.schedule([world.chore()], pacer)
    scheduler.start(paused=True)
    try:
        (job,) = scheduler.get_jobs()
        assert job.next_run_time == datetime.fromtimestamp(NOON, UTC)
        assert job.trigger.interval.total_seconds() == 300
        assert job.coalesce
        assert job.misfire_grace_time is None
    finally:
        scheduler.shutdown()


def test_an_interval_of_zero_means_never(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = beat.chores(settings.current())
    monkeypatch.setenv("CLOUDMESH_SENSORS_INTERVAL", "0")
    monkeypatch.setenv("CLOUDMESH_PBS_INTERVAL", "0")
    settings.reset()
    rest = beat.chores(settings.current())

    intervals = {chore.name: chore.interval for chore in everything}
    assert (intervals["read sensors"], intervals["refresh batch servers"]) == (300, 300)
    assert intervals.keys() - {chore.name for chore in rest} == {"read sensors", "refresh batch servers"}
    assert {chore.interval for chore in rest} == {beat.SWEEP_S, HOUR_S, 24 * HOUR_S}
