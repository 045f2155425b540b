"""A run as its actor sees it: progress, safe points, outcomes; and what it does while the store is away."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from engines import wait_until
from structlog.testing import capture_logs

from cloudmesh_actors import runs, steps
from cloudmesh_actors import store as stores
from cloudmesh_actors.errors import JobAborted, StoreUnavailable
from cloudmesh_actors.runs import HandedBack, RecordedRun, Run, StopSignal
from cloudmesh_actors.steps import Queued
from cloudmesh_actors.store import Store


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stores, "BUSY_TIMEOUT_MS", 50)
    opened = Store(f"sqlite:///{tmp_path}/store.db")
    with opened.write() as connection:
        steps.insert(connection, opened, [Queued("s", "s", None, None, "a", "q", "{}", "", 1.0, None)])
    yield opened
    opened.close()


@pytest.fixture
def run(store: Store, clock: Clock) -> RecordedRun:
    return RecordedRun(store, job_id="s", step_id="s", number=1, stopping=StopSignal(clock), clock=clock)


def row(store: Store) -> sa.Row:
    with store.read() as connection:
        return connection.execute(sa.select(steps.steps)).one()


def recorded(store: Store) -> dict[str, bool | None]:
    return {name: outcome.ok for name, outcome in runs.recorded_outcomes(store, "s").items()}


@pytest.fixture
def locked(tmp_path: Path, store: Store):
    """The store while another process writes for longer than anybody waits."""
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


class TestProgressAndOutcomes:
    def test_they_are_written_at_most_every_quarter_second(self, run: RecordedRun, store: Store, clock: Clock) -> None:
        run.progress(1, 10, "n1")
        run.outcome("n1", ok=True)
        assert (row(store).progress_done, recorded(store)) == (None, {})

        clock.now += runs.WRITE_EVERY_S
        run.progress(2, 10, "n2")
        assert (row(store).progress_done, row(store).progress_note, recorded(store)) == (2, "n2", {"n1": True})

        run.outcome("n2", ok=False)
        assert recorded(store) == {"n1": True}
        run.flush()
        assert recorded(store) == {"n1": True, "n2": False}

    def test_what_cannot_be_written_now_is_held_back_and_the_task_goes_on(
        self, run: RecordedRun, store: Store, clock: Clock, locked: sqlite3.Connection
    ) -> None:
        clock.now += 1
        with capture_logs() as logged:
            run.outcome("n1", ok=True)
            clock.now += 1
            run.progress(1, 2)
        assert [line["event"] for line in logged] == ["progress.held_back"] * 2
        with pytest.raises(StoreUnavailable):
            run.flush()

        locked.execute("COMMIT")
        run.flush()
        assert (recorded(store), row(store).progress_done) == ({"n1": True}, 1)

    def test_what_comes_while_others_are_written_is_not_forgotten(
        self, run: RecordedRun, store: Store, locked: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run.outcome("n1", ok=False)
        run.outcome("n2", ok=False)
        write = run._write

        def write_and_be_interrupted(*arguments: object) -> None:
            write(*arguments)
            run.outcome("n1", ok=True)
            run.progress(2, 2)

        monkeypatch.setattr(run, "_write", write_and_be_interrupted)
        locked.execute("COMMIT")
        run.flush()
        monkeypatch.undo()

        assert recorded(store) == {"n1": False, "n2": False}
        run.flush()
        assert (recorded(store), row(store).progress_done) == ({"n1": True, "n2": False}, 2)

    def test_threads_may_tell_of_their_nodes_at_once(self, run: RecordedRun, store: Store, clock: Clock) -> None:
        def tell(thread: int) -> None:
            for number in range(50):
                clock.now += 0.1
                run.outcome(f"{thread}-{number}", ok=True)
                run.progress(thread * 50 + number, 200)

        threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        run.progress(200, 200)
        run.flush()

        assert len(recorded(store)) == 200
        assert row(store).progress_done == 200

    def test_a_secret_in_an_error_is_not_written(self, run: RecordedRun, store: Store) -> None:
        from cloudmesh_actors import secret

        secret.remember("hunter2-hunter2")
        run.outcome("n1", ok=False, error="login with hunter2-hunter2 failed")
        run.progress(1, 1, "hunter2-hunter2")
        run.flush()

        assert "hunter2" not in str(runs.recorded_outcomes(store, "s")) + str(row(store))


class TestSafePoints:
    def test_nobody_asked_so_it_goes_on(self, run: RecordedRun, clock: Clock) -> None:
        for _ in range(3):
            clock.now += 1
            run.checkpoint()

    def test_an_abort_is_noticed_within_half_a_second(self, run: RecordedRun, store: Store, clock: Clock) -> None:
        with store.write() as connection:
            steps.start(connection, [steps.Started("s", "w", 1.0)])
            steps.abort(connection, "s", 2.0)
        run.checkpoint()
        clock.now += runs.LOOK_FOR_ABORT_EVERY_S

        for _ in range(2):  # and then at each safe point
            with pytest.raises(JobAborted, match="The job s was aborted"):
                run.checkpoint()

    def test_a_store_that_is_away_does_not_stop_it(
        self, run: RecordedRun, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "store.db").rename(tmp_path / "away.db")
        clock.now += 1

        run.checkpoint()

    def test_in_the_grace_time_it_goes_on_and_after_it_it_stops(self, store: Store, clock: Clock) -> None:
        stopping = StopSignal(clock)
        run = RecordedRun(store, job_id="s", step_id="s", number=1, stopping=stopping, clock=clock)
        stopping.stop(grace_s=30)
        assert stopping.stopping()
        clock.now += 29
        run.checkpoint()
        clock.now += 1

        with pytest.raises(HandedBack):
            run.checkpoint()


class TestOutsideAWorker:
    def test_there_is_a_run_that_records_nothing(self) -> None:
        run = runs.current()

        assert type(run) is Run
        run.progress(1, 2)
        run.outcome("n1", ok=True)
        run.mark("n1", "off sent")
        run.checkpoint()
        assert (run.outcomes(), run.marks(), run.number, run.job_id) == ({}, {}, 1, "")

    def test_each_thread_has_its_own(self, run: RecordedRun) -> None:
        seen: list[Run] = []
        runs.enter(run)
        thread = threading.Thread(target=lambda: seen.append(runs.current()))
        thread.start()
        thread.join()

        assert runs.current() is run
        assert type(seen[0]) is Run
        runs.leave()
        assert type(runs.current()) is Run


class TestWhatHardwareWaitsFor:
    """A mark is written before its command is sent: while the store is away neither happens."""

    @pytest.fixture
    def locked(self, store: Store) -> Iterator[sqlite3.Connection]:
        holder = sqlite3.connect(str(store.url.database), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        yield holder
        holder.close()

    def test_a_mark_is_written_as_soon_as_the_store_answers(self, run: RecordedRun, locked: sqlite3.Connection) -> None:
        with capture_logs() as lines:
            marking = threading.Thread(target=run.mark, args=("i001", "off sent"))
            marking.start()
            wait_until(lambda: lines)
            assert run.marks() == {}
            locked.execute("ROLLBACK")
            marking.join(20)
        assert run.marks() == {"i001": "off sent"}
        assert {line["event"] for line in lines} == {"run.waits_for_store"}

    def test_a_worker_that_stops_does_not_wait_for_ever(
        self, store: Store, clock: Clock, locked: sqlite3.Connection
    ) -> None:
        stopping = StopSignal(clock)
        stopping.stop(0)
        run = RecordedRun(store, job_id="s", step_id="s", number=1, stopping=stopping, clock=clock)
        with pytest.raises(HandedBack):
            run.mark("i001", "off sent")
        locked.execute("ROLLBACK")
        assert run.marks() == {}
