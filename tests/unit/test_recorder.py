"""The recorder commits in batches and in order, acknowledges only then, and survives a store that refuses."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from cloudmesh_actors import steps
from cloudmesh_actors import store as stores
from cloudmesh_actors.broker import recorder as module
from cloudmesh_actors.broker.recorder import Entry, Recorder
from cloudmesh_actors.steps import Ended, Queued, Started, State
from cloudmesh_actors.store import Store


def queued(step_id: str) -> Queued:
    return Queued(step_id, step_id, None, None, "a", "q", "{}", "", 1.0, None)


def done(step_id: str) -> Ended:
    return Ended(step_id, step_id, State.DONE, 3.0, result="1")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(stores, "BUSY_TIMEOUT_MS", 50)
    opened = Store(f"sqlite:///{tmp_path}/store.db")
    yield opened
    opened.close()


@pytest.fixture
def recorder(store: Store) -> Iterator[Recorder]:
    recorder = Recorder(store, sleep=lambda seconds: threading.Event().wait(0.01))
    yield recorder
    recorder.close(20)


class Acknowledged:
    """What was acknowledged, and the states of those steps at that moment."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.batches: list[list[Any]] = []
        self.states: list[str] = []

    def __call__(self, messages: list[Any]) -> None:
        with self.store.read() as connection:
            self.states += [state(connection, message) for message in messages]
        self.batches.append(messages)


def state(connection: sa.Connection, step_id: str) -> str:
    return str(connection.scalar(sa.select(steps.steps.c.state).where(steps.steps.c.id == step_id)))


def states(store: Store) -> dict[str, str]:
    with store.read() as connection:
        return {row.id: row.state for row in connection.execute(sa.select(steps.steps.c.id, steps.steps.c.state))}


def test_nothing_is_acknowledged_before_its_outcome_is_committed(recorder: Recorder, store: Store) -> None:
    acknowledge = Acknowledged(store)
    names = [f"s{n}" for n in range(300)]
    for name in names:
        recorder.submit(Entry(queued(name)))
        recorder.submit(Entry(Started(name, "w", 2.0)))
        recorder.submit(Entry(done(name), message=name, acknowledge=acknowledge))
    assert recorder.drain(20)

    assert acknowledge.states == ["done"] * 300
    assert [name for batch in acknowledge.batches for name in batch] == names


def test_what_comes_during_a_commit_is_one_batch(recorder: Recorder, store: Store) -> None:
    acknowledge = Acknowledged(store)
    with store.write():  # the recorder has to wait
        for number in range(100):
            recorder.submit(Entry(queued(f"s{number}"), message=f"s{number}", acknowledge=acknowledge))
    assert recorder.drain(20)

    assert len(acknowledge.batches) <= 2


def test_a_worker_that_may_hold_few_messages_does_not_wait_for_many(
    recorder: Recorder, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER_S", 60.0)
    recorder.serves(4)
    with store.write():  # so that the next commit finds much to do
        for number in range(8):
            recorder.submit(Entry(queued(f"s{number}")))
    assert recorder.drain(20)

    for number in range(4):
        recorder.submit(Entry(done(f"s{number}")))
    assert recorder.drain(20)


def test_record_returns_when_it_is_committed(recorder: Recorder, store: Store) -> None:
    recorder.record(queued("a"))
    assert states(store) == {"a": "queued"}
    recorder.record(done("a"), durable=True)
    assert states(store) == {"a": "done"}


def test_a_store_that_is_away_is_waited_for_and_said_once(tmp_path: Path, recorder: Recorder, store: Store) -> None:
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    acknowledge = Acknowledged(store)
    with capture_logs() as logged:
        for number in range(20):
            recorder.submit(Entry(queued(f"s{number}"), message=f"s{number}", acknowledge=acknowledge))
            assert not recorder.drain(0.02)
        other.close()
        assert recorder.drain(20)

    assert [line["event"] for line in logged if line["log_level"] == "warning"] == ["store.away"]
    assert len(states(store)) == len(acknowledge.states) == 20


def test_when_too_many_wait_those_who_bring_more_wait_too(tmp_path: Path, store: Store) -> None:
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    recorder = Recorder(store, capacity=5)
    brought: list[int] = []

    def bring() -> None:
        for number in range(30):
            recorder.submit(Entry(queued(f"s{number}")))
            brought.append(number)

    thread = threading.Thread(target=bring)
    thread.start()
    thread.join(0.5)
    assert len(brought) <= 10  # a batch that is tried, and five that wait
    other.close()
    thread.join(20)
    assert recorder.close(20)
    assert len(states(store)) == 30


def test_a_row_that_the_database_refuses_does_not_take_the_others_with_it(recorder: Recorder, store: Store) -> None:
    acknowledge = Acknowledged(store)
    with capture_logs() as logged, store.write():
        for name in ("a", "b", "c"):
            recorder.submit(Entry(queued(name)))
            text = "half a character \ud800" if name == "b" else None
            ended = Ended(name, name, State.FAILED, 3.0, error=text)
            recorder.submit(Entry(ended, message=name, acknowledge=acknowledge))
    with capture_logs() as logged:
        assert recorder.drain(20)

    assert acknowledge.states == ["failed"] * 3
    with store.read() as connection:
        error = connection.scalar(sa.select(steps.steps.c.error).where(steps.steps.c.id == "b"))
    assert error == "Its outcome could not be recorded (UnicodeEncodeError); the worker's log has the reason."
    assert {line["event"] for line in logged} <= {"event.not_recorded"}


def test_who_waits_for_a_row_that_is_refused_is_told(recorder: Recorder) -> None:
    with capture_logs(), pytest.raises(UnicodeEncodeError):
        recorder.record(queued("a")._replace(actor="\ud800"))

    recorder.record(queued("b"))


def test_an_acknowledgement_that_fails_does_not_keep_others_waiting(recorder: Recorder, store: Store) -> None:
    def fail(messages: list[Any]) -> None:
        raise ConnectionError("cut")

    acknowledge = Acknowledged(store)
    with capture_logs() as logged:
        recorder.submit(Entry(queued("a"), message="a", acknowledge=fail))
        recorder.submit(Entry(queued("b"), message="b", acknowledge=acknowledge))
        assert recorder.drain(20)

    assert acknowledge.states == ["queued"]
    assert [line["event"] for line in logged] == ["messages.not_acknowledged"]


def test_a_closed_recorder_takes_nothing_more(store: Store) -> None:
    recorder = Recorder(store)
    recorder.submit(Entry(queued("a")))
    assert recorder.close(20)

    assert states(store) == {"a": "queued"}
    with pytest.raises(RuntimeError, match="the recorder is closed"):
        recorder.submit(Entry(queued("b")))


def test_one_that_cannot_drain_says_so(tmp_path: Path, store: Store) -> None:
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    recorder = Recorder(store)
    recorder.submit(Entry(queued("a")))

    assert not recorder.close(0.2)
    other.close()
