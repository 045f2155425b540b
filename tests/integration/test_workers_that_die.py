"""Workers that are killed, and workers that are stopped: nothing is lost, and what is recorded is not done again."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from brokers import Server
from engines import WorkerProcess, ended, engine, state_of, wait_until
from sample_actors import lines

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs, steps, store
from cloudmesh_actors.steps import Death, State

#: So that Redis counts a worker as dead in a time that a test can wait.
IMPATIENT = "heartbeat_timeout_ms=1500"


@pytest.fixture
def actors(main_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with engine(main_server.url, tmp_path / "state", monkeypatch) as found:
        yield found


@pytest.fixture
def worker(actors: Any, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(*options: str) -> WorkerProcess:
        name = f"w{len(started)}"
        started.append(WorkerProcess(name, tmp_path / f"{name}.log", IMPATIENT, *options))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def effects(tmp_path: Path) -> str:
    return str(tmp_path / "effects")


def depth() -> brokers.Depth:
    return brokers.Depth(*brokers.current().depth("rack"))


def test_a_task_that_kills_its_worker_is_run_by_another(actors: Any, worker: Any, effects: str) -> None:
    first = worker("threads=1").await_ready()
    message = actors.die.send(effects, 1)
    first.process.wait(20)

    began = time.monotonic()
    worker().await_ready()
    job = ended(message)

    assert (job.state, len(lines(effects)), job.worker) == ("done", 2, "w1")
    assert time.monotonic() - began < 20


def test_what_a_killed_worker_had_fetched_is_done_by_another(actors: Any, worker: Any, effects: str) -> None:
    first = worker("threads=1", "prefetch=10").await_ready()
    messages = [actors.sleep.send(effects, 0.4), *(actors.note.send(effects, f"m{n}") for n in range(9))]
    wait_until(lambda: lines(effects))
    first.kill()

    worker().await_ready()
    assert [ended(message).state for message in messages] == [State.DONE] * 10
    assert sorted(lines(effects)) == ["begin", "begin", "end", *(f"m{n}" for n in range(9))]


def test_a_worker_that_starts_on_its_host_gets_what_a_killed_one_held_at_once(
    actors: Any, worker: Any, effects: str
) -> None:
    """Long before anybody else could tell that it is dead."""
    never = "heartbeat_timeout_ms=600000"
    first = worker("threads=1", "prefetch=10", never).await_ready()
    messages = [actors.sleep.send(effects, 2), *(actors.note.send(effects, f"m{n}") for n in range(9))]
    wait_until(lambda: lines(effects))
    first.kill()

    worker(never).await_ready()
    assert [ended(message).state for message in messages] == [State.DONE] * 10


def test_what_is_recorded_and_not_acknowledged_is_acknowledged_and_not_run(
    actors: Any, worker: Any, effects: str
) -> None:
    """A worker that dies between the commit and the acknowledgement."""
    first = worker("acknowledges=no", "prefetch=40").await_ready()
    messages = [actors.note.send(effects, f"m{n}") for n in range(30)]
    for message in messages:
        assert ended(message).state == "done"
    first.kill()
    second = worker().await_ready()
    wait_until(lambda: depth()[:3] in ((0, 0, 0), (0, 0, None)) and second.text().count("message.skipped") == 30)

    assert sorted(lines(effects)) == sorted(f"m{n}" for n in range(30))
    assert {jobs.get(message.message_id).runs for message in messages} == {1}


def test_however_often_a_worker_is_killed_no_job_is_lost(actors: Any, worker: Any, effects: str) -> None:
    random, kills, threads = Random(7), 3, 4
    messages = [actors.note.send(effects, f"m{n}") for n in range(300)]
    for _ in range(kills):
        process = worker(f"threads={threads}", "prefetch=16").await_ready()
        time.sleep(random.uniform(0.02, 0.25))
        process.kill()
    worker().await_ready()
    for message in messages:
        assert ended(message).state == "done"
    wait_until(lambda: depth()[:3] in ((0, 0, 0), (0, 0, None)))

    done = Counter(lines(effects))
    assert done.keys() == {f"m{n}" for n in range(300)}
    # a run that was recorded is not repeated: only what one commit had not yet reached can be there twice
    assert sum(done.values()) - 300 <= kills * (threads + 16)


def test_what_changes_hardware_finds_its_mark_in_its_second_run(actors: Any, worker: Any, effects: str) -> None:
    first = worker("threads=1").await_ready()
    message = actors.switch.send(effects, "i001", "after the mark")
    first.process.wait(20)
    assert jobs.get(message.message_id).state == "running"
    assert jobs.get(message.message_id).runs == 1

    worker().await_ready()
    job = ended(message)

    assert (job.state, job.runs) == ("done", 2)
    assert job.result == {"marks": {"i001": "off sent"}, "outcomes": [], "run": 2}


class TestPoison:
    def test_a_task_that_kills_every_worker_is_set_aside_after_three(
        self, actors: Any, worker: Any, effects: str
    ) -> None:
        message = actors.die.send(effects, 99)
        for _ in range(3):
            assert worker("threads=1").process.wait(20) == -signal.SIGKILL
        good = actors.note.send(effects, "good")
        worker("threads=1").await_ready()

        job = ended(message)
        assert (job.state, job.error_type, job.runs) == ("failed", "Poison", 3)
        assert job.error == (
            "It was set aside: 3 of its runs ended with the death of their worker "
            "(w0 in run 1, w1 in run 2, w2 in run 3)."
        )
        assert ended(good).state == "done"
        assert lines(effects) == ["run 1", "run 2", "run 3", "good"]
        expected = (brokers.Depth(0, 0, 0, 1), brokers.Depth(0, 0, None, 1))
        wait_until(lambda: depth() in expected, lambda: str(depth()))

    def test_copies_of_its_message_are_set_aside_once(self, actors: Any, worker: Any, effects: str) -> None:
        """A worker that dies between the copy that waits and the acknowledgement of the original leaves both."""
        message = actors.note.send(effects, "never")
        for _ in range(4):
            brokers.current().publish_again(message, 0)
        deaths = [Death(message.message_id, f"dead{run}", run, time.time()) for run in (1, 2, 3)]
        with store.current().write() as connection:
            steps.bury(connection, store.current(), deaths, time.time(), blameless=False)

        worker("threads=4").await_ready()

        assert ended(message).error_type == "Poison"
        expected = (brokers.Depth(0, 0, 0, 1), brokers.Depth(0, 0, None, 1))
        wait_until(lambda: depth() in expected, lambda: str(depth()))
        assert lines(effects) == []

    def test_who_merely_ran_beside_it_goes_on(self, actors: Any, worker: Any, effects: str, tmp_path: Path) -> None:
        """Two workers: one is killed from outside while it runs a task of its own."""
        opens = tmp_path / "open"
        one = ("threads=1", "prefetch=1")  # each has one of the two
        first, _ = worker(*one).await_ready(), worker(*one).await_ready()
        messages = [actors.gate.send(effects, str(opens), 0) for _ in range(2)]
        wait_until(lambda: len(lines(effects)) == 2 and {*map(state_of, messages)} == {"running"})
        first.kill()
        opens.touch()
        assert [ended(message).state for message in messages] == [State.DONE] * 2
        assert sorted(jobs.get(message.message_id).runs for message in messages) == [1, 2]


class TestACutConnection:
    def test_a_run_whose_connection_was_cut_is_not_begun_by_another_worker(
        self, actors: Any, worker: Any, effects: str, tmp_path: Path, main_server: Server
    ) -> None:
        opens = tmp_path / "open"
        worker("threads=1").await_ready()
        message = actors.gate.send(effects, str(opens), 0)
        wait_until(lambda: lines(effects))
        worker("threads=1").await_ready()
        main_server.stop()
        main_server.start()
        time.sleep(1)
        opens.touch()
        job = ended(message)
        assert (job.state, job.runs) == ("done", 1)
        assert lines(effects) == ["begin"]
        brokers.reset()  # its connection was cut as well
        wait_until(lambda: depth()[:3] in ((0, 0, 0), (0, 0, None)))
        assert lines(effects) == ["begin"]


class TestAStop:
    def test_short_tasks_end_and_what_was_not_begun_is_there_for_others_at_once(
        self, actors: Any, worker: Any, effects: str
    ) -> None:
        first = worker("threads=1", "prefetch=10", "grace=10").await_ready()
        messages = [actors.sleep.send(effects, 1), *(actors.note.send(effects, f"m{n}") for n in range(5))]
        wait_until(lambda: lines(effects))
        assert first.terminate() == 0

        assert state_of(messages[0]) == "done"
        assert lines(effects) == ["begin", "end"]
        assert depth().ready == 5
        worker("threads=1").await_ready()
        assert [ended(message).state for message in messages] == [State.DONE] * 6
        assert lines(effects)[2:] == [f"m{n}" for n in range(5)]  # in their order

    def test_a_long_task_is_handed_back_at_a_safe_point_and_another_worker_goes_on(
        self, actors: Any, worker: Any, effects: str
    ) -> None:
        first = worker("grace=0.3").await_ready()
        message = actors.walk.send(effects, 30, 0.1)
        wait_until(lambda: len(lines(effects)) >= 3)
        assert first.terminate() == 0
        assert "run.handed_back" in first.text()
        assert state_of(message) == "queued"
        assert depth().ready == 1

        worker().await_ready()
        job = ended(message)

        assert (job.state, job.runs, job.worker) == ("done", 2, "w1")
        assert [line.split()[1] for line in lines(effects)] == [str(n) for n in range(30)]
        assert len({line.split()[-1] for line in lines(effects)}) == 2

    def test_a_task_without_safe_points_is_left_and_comes_again(self, actors: Any, worker: Any, effects: str) -> None:
        first = worker("grace=0.2").await_ready()
        message = actors.gate.send(effects, f"{effects}.open", 0)
        wait_until(lambda: lines(effects))
        began = time.monotonic()
        assert first.terminate() == 0
        assert time.monotonic() - began < 15

        worker().await_ready()
        wait_until(lambda: len(lines(effects)) == 2)
        Path(f"{effects}.open").touch()
        assert ended(message).state == "done"

    def test_an_idle_worker_stops_at_once(self, worker: Any) -> None:
        first = worker("grace=30").await_ready()
        began = time.monotonic()

        assert first.terminate() == 0
        assert time.monotonic() - began < 10
