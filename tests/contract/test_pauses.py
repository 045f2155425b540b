"""Paused queues, on every broker: what runs ends, nothing begins, nothing is lost; workers and brokers come and go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import RedisServer, Server, ready
from engines import WorkerProcess, ended, engine, state_of, wait_until, working
from sample_actors import lines

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs, store
from cloudmesh_actors.broker import pauses
from cloudmesh_actors.broker.pauses import Watch
from cloudmesh_actors.errors import ArgumentError, StoreUnavailable
from cloudmesh_actors.steps import State

#: Workers look so often in these tests, in seconds.
LOOK_EVERY_S = 0.2


@pytest.fixture(params=["stub", "valkey", "rabbitmq"])
def server(request: pytest.FixtureRequest) -> Server:
    return ready(request.getfixturevalue(f"session_{request.param}"))


@pytest.fixture
def actors(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(pauses, "LOOK_EVERY_S", LOOK_EVERY_S)
    with engine(server.url, tmp_path / "state", monkeypatch) as found:
        brokers.current().depth("rack")
        yield found


@pytest.fixture
def effects(tmp_path: Path) -> str:
    return str(tmp_path / "effects")


def ready_messages() -> int:
    return int(brokers.current().depth("rack")[0])


class TestPausing:
    def test_what_runs_ends_and_what_was_fetched_goes_back_in_its_order(
        self, actors: Any, effects: str, tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        first = actors.gate.send(effects, str(gate), 0)
        with working(threads=1):
            wait_until(lambda: state_of(first) == "running")
            rest = [actors.note.send(effects, str(number)) for number in range(10)]
            brokers.pause("rack", "disks")
            time.sleep(2 * LOOK_EVERY_S)
            gate.touch()
            assert ended(first).state == "done"
            wait_until(lambda: ready_messages() == 10)
            assert {state_of(message) for message in rest} == {"queued"}
            assert lines(effects) == ["begin"]

            assert brokers.resume("rack")
            assert {ended(message).state for message in rest} == {"done"}

        assert sorted(lines(effects)[1:], key=int) == [str(number) for number in range(10)]
        assert {jobs.get(message.message_id).runs for message in rest} == {1}
        assert brokers.current().depth("rack")[:2] == (0, 0)

    def test_it_outlives_the_worker_and_delayed_messages_wait_with_the_others(self, actors: Any, effects: str) -> None:
        brokers.pause("rack")
        messages = [actors.note.send(effects, "now"), actors.note.send_with_options(args=(effects, "later"), delay=100)]
        for _ in range(2):
            with working():
                wait_until(lambda: brokers.current().depth("rack")[:2] in ((2, 0), (1, 1)))
                time.sleep(2 * LOOK_EVERY_S)
        assert lines(effects) == []

        with working():
            wait_until(lambda: brokers.current().depth("rack")[:2] == (2, 0))
            brokers.resume("rack")
            assert {ended(message).state for message in messages} == {"done"}
        assert sorted(lines(effects)) == ["later", "now"]

    def test_another_process_sees_it(
        self, main_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effects: str
    ) -> None:
        with engine(main_server.url, tmp_path / "state", monkeypatch) as actors:
            worker = WorkerProcess("rack", tmp_path / "log", "threads=2").await_ready()
            ended(actors.add.send(1, 2))
            brokers.pause("rack")
            wait_until(lambda: "queue.paused" in worker.text(), worker.text)
            messages = [actors.note.send(effects, str(number)) for number in range(20)]
            time.sleep(1)
            assert lines(effects) == []
            if isinstance(main_server, RedisServer):  # the other one takes ten seconds
                main_server.kill()
                main_server.start()
            brokers.resume("rack")
            assert {ended(message).state for message in messages} == {"done"}
            assert sorted(lines(effects), key=int) == [str(number) for number in range(20)]
            assert worker.terminate() == 0

    def test_a_worker_of_a_paused_queue_stops_in_order(self, actors: Any, effects: str) -> None:
        with working(threads=1):
            first = actors.sleep.send(effects, 1.0)
            wait_until(lambda: state_of(first) == "running")
            for number in range(5):
                actors.note.send(effects, str(number))
            brokers.pause("rack")
            time.sleep(0.3)

        assert state_of(first) == "done"
        wait_until(lambda: ready_messages() == 5)
        assert len(jobs.latest(state=State.QUEUED)) == 5


class TestWhatIsKnownOfPauses:
    @pytest.fixture
    def server(self, session_stub: Server) -> Server:
        return session_stub

    def test_who_when_and_why(self, actors: Any) -> None:
        assert brokers.paused() == {}
        made = brokers.pause("rack", "disks")
        assert brokers.paused() == {"rack": made}
        assert "@" in made.by
        assert abs(made.at - time.time()) < 60

        again = brokers.pause("rack", "password: hunter2-no")
        assert brokers.paused()["rack"].reason == again.reason == "password: ***"
        assert (brokers.resume("rack"), brokers.resume("rack")) == (True, False)
        with pytest.raises(ArgumentError, match="There is no queue 'rak'"):
            brokers.pause("rak")

    def test_while_the_store_is_away_the_last_answer_holds(self, actors: Any) -> None:
        now, away = [0.0], [True]

        def get() -> Any:
            if away[0]:
                raise StoreUnavailable("away")
            return store.current()

        watch = Watch(get, clock=lambda: now[0])
        assert watch.is_paused("rack")
        for is_away, moment, known in ((False, 0.1, True), (False, 1.0, False), (True, 3.0, False)):
            away[0], now[0] = is_away, moment
            assert watch.is_paused("rack") is known
