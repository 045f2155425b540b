"""Brokers and stores that go away and come back: senders are told, workers wait, nothing is lost, logs say it once."""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from brokers import PASSWORD, RabbitmqServer, RedisServer, Server, free_port
from engines import WorkerProcess, ended, engine, state_of, wait_until, working
from sample_actors import lines
from structlog.testing import capture_logs

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs, settings
from cloudmesh_actors import store as stores
from cloudmesh_actors.errors import BrokerUnavailable, StoreUnavailable


@pytest.fixture
def effects(tmp_path: Path) -> str:
    return str(tmp_path / "effects")


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(*options: str) -> WorkerProcess:
        started.append(WorkerProcess(f"w{len(started)}", tmp_path / f"w{len(started)}.log", *options))
        return started[-1].await_ready()

    yield start
    for process in started:
        process.kill()


class TestASender:
    @pytest.mark.parametrize(
        "url",
        [
            f"redis://:{PASSWORD}@127.0.0.1:{{port}}/0",
            f"rediss://alice:{PASSWORD}@127.0.0.1:{{port}}/0",
            f"unix://:{PASSWORD}@/tmp/cm-no-such-socket",
            f"amqp://alice:{PASSWORD}@127.0.0.1:{{port}}/%2F",
            f"amqps://alice:{PASSWORD}@127.0.0.1:{{port}}/",
            f"amqp://alice:{PASSWORD}@no-such-host.invalid/",
            f"redis://:{PASSWORD}@no-such-host.invalid/0",
        ],
    )
    def test_is_told_which_broker_is_away_and_what_to_do(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        began = time.monotonic()
        with engine(url.format(port=free_port()), tmp_path / "state", monkeypatch) as actors:
            for _ in range(2):
                with pytest.raises(BrokerUnavailable) as caught:
                    actors.add.send(1, 2)
            for ask in (brokers.depths, brokers.current().ping):
                with pytest.raises(BrokerUnavailable):
                    ask()
            [job, _] = jobs.latest()

        assert time.monotonic() - began < 20
        assert "***@" in str(caught.value)
        assert "does not answer (" in str(caught.value)
        assert "Start it (make workers-up starts the embedded one) or set CLOUDMESH_BROKER_URL." in str(caught.value)
        assert (job.state, job.error) == ("failed", f"It was not sent. {caught.value}")
        assert PASSWORD not in everything_about(caught.value) + repr(job)

    @pytest.mark.parametrize("kind", ["valkey", "rabbitmq"])
    def test_with_a_wrong_password_too(
        self, kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server: Server = request.getfixturevalue(kind)
        url = server.url.replace(PASSWORD, "wrong-password")
        with engine(url, tmp_path / "state", monkeypatch) as actors, pytest.raises(BrokerUnavailable) as caught:
            actors.add.send(1, 2)

        assert any(word in str(caught.value) for word in ("WRONGPASS", "ACCESS_REFUSED", "invalid username-password"))
        assert "wrong-password" not in everything_about(caught.value)

    def test_of_a_full_redis_is_told_so(self, valkey: RedisServer, tmp_path: Path, monkeypatch: Any) -> None:
        with engine(valkey.url, tmp_path / "state", monkeypatch) as actors, valkey.client() as client:
            actors.add.send(1, 2)
            client.config_set("maxmemory", "1kb")
            try:
                with pytest.raises(BrokerUnavailable, match="command not allowed when used memory > 'maxmemory'"):
                    actors.add.send(1, 2)
            finally:
                client.config_set("maxmemory", "0")
            actors.add.send(1, 2)

            assert [str(job.state) for job in jobs.latest()] == ["queued", "failed", "queued"]

    def test_of_a_store_that_is_away_has_sent_nothing(
        self, valkey: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with engine(valkey.url, tmp_path / "state", monkeypatch) as actors:
            actors.add.send(1, 2)
            (tmp_path / "state" / "state" / "store.db").rename(tmp_path / "moved.db")
            with pytest.raises(StoreUnavailable, match="was deleted or replaced"):
                actors.add.send(1, 2)

            assert brokers.current().depth("rack")[0] == 1

    def test_after_a_restart_of_the_broker_notices_nothing(
        self, valkey: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with engine(valkey.url, tmp_path / "state", monkeypatch) as actors:
            actors.add.send(1, 2)
            valkey.kill()
            valkey.start()
            actors.add.send(1, 2)

            assert brokers.current().depth("rack")[0] == 2


def everything_about(error: BaseException) -> str:
    """The error, its causes and their attributes as text."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return " ".join(f"{one!r} {one} {vars(one)} {one.args}" for one in seen)


def test_a_broker_restarts_while_tasks_run_and_wait(
    main_server: Server, worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effects: str
) -> None:
    """All at once: a task ends and one fails while the broker is away, others are delayed, fetched, or in the queue."""
    opens = f"{effects}.opens"
    with engine(main_server.url, tmp_path / "state", monkeypatch) as actors:
        process = worker("threads=2", "prefetch=6")
        ends, fails = actors.gate.send(f"{effects}.ends", opens, 0), actors.gate.send(f"{effects}.fails", opens, 1)
        delayed = [actors.note.send_with_options(args=(effects, f"delayed {n}"), delay=1500) for n in range(3)]
        wait_until(lambda: lines(f"{effects}.ends") and lines(f"{effects}.fails"))
        fetched = [actors.note.send(effects, f"m{n}") for n in range(10)]
        time.sleep(0.5)
        main_server.kill() if isinstance(main_server, RedisServer) else main_server.stop()
        Path(opens).touch()
        time.sleep(4)
        with pytest.raises(BrokerUnavailable):
            actors.note.send(effects, "nobody gets this")
        main_server.start()

        for message in (ends, fails, *delayed, *fetched):
            assert ended(message).state == "done", process.text()
        assert len(lines(f"{effects}.fails")) == 2
        assert each_once(lines(effects)) == {f"delayed {n}" for n in range(3)} | {f"m{n}" for n in range(10)}
        wait_until(lambda: brokers.current().depth("rack")[:2] == (0, 0))
        log = process.text()

    assert log.count('"broker.away"') == log.count('"broker.back"') == 1
    assert "Restarting consumer" not in log
    assert len(log.splitlines()) < 120
    assert PASSWORD not in log


def each_once(texts: list[str]) -> set[str]:
    """The set of texts, each of which is there once."""
    assert len(set(texts)) == len(texts), texts
    return set(texts)


class TestAStoreThatIsAway:
    def test_workers_take_no_more_than_they_may_hold_while_it_is_locked_and_say_it_once(
        self, valkey: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effects: str
    ) -> None:
        monkeypatch.setattr(stores, "BUSY_TIMEOUT_MS", 100)
        with engine(valkey.url, tmp_path / "state", monkeypatch) as actors, capture_logs() as logged:
            messages = [actors.note.send(effects, f"m{n}") for n in range(20)]
            other = sqlite3.connect(tmp_path / "state" / "state" / "store.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with working(threads=4) as worker:
                wait_until(lambda: len(lines(effects)) == worker.queue_prefetch)
                time.sleep(0.7)
                assert len(lines(effects)) == worker.queue_prefetch
                assert state_of(messages[0]) == "queued"
                assert brokers.current().depth("rack")[2] == worker.queue_prefetch  # nothing is acknowledged
                other.close()
                assert {ended(message).state for message in messages} == {"done"}
            assert len(lines(effects)) == 20

        assert [line["event"] for line in logged if line["log_level"] == "warning"] == ["store.away"]

    def test_what_changes_hardware_does_not_begin_while_it_is_locked(
        self, valkey: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effects: str
    ) -> None:
        monkeypatch.setattr(stores, "BUSY_TIMEOUT_MS", 100)
        with engine(valkey.url, tmp_path / "state", monkeypatch) as actors:
            message = actors.switch.send(effects, "i001", "never")
            other = sqlite3.connect(tmp_path / "state" / "state" / "store.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with capture_logs(), working():
                time.sleep(0.5)
                assert lines(effects) == []
                other.close()
                assert ended(message).state == "done"

    def test_a_server_that_ends_all_sessions_again_and_again_loses_nothing(
        self, valkey: Server, postgresql_store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effects: str
    ) -> None:
        stop = threading.Event()
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )

        def harass() -> None:
            enemy = sa.create_engine(postgresql_store_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
            while not stop.wait(0.15):
                with enemy.connect() as connection:
                    connection.execute(sa.text(others))

        with engine(valkey.url, tmp_path / "state", monkeypatch, STORE_URL=postgresql_store_url) as actors:
            messages = [actors.note.send(effects, f"m{n}") for n in range(300)]
            thread = threading.Thread(target=harass)
            with capture_logs(), working():
                thread.start()
                wait_until(lambda: len(set(lines(effects))) == 300)
                time.sleep(0.5)
                stop.set()
                thread.join()
                assert {ended(message).state for message in messages} == {"done"}


class TestForks:
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_fork_sends_over_connections_of_its_own(
        self, main_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with engine(main_server.url, tmp_path / "state", monkeypatch) as actors:
            actors.add.send(1, 2)
            pid = os.fork()
            if pid == 0:
                try:
                    actors.add.send(3, 4)
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            actors.add.send(5, 6)

            with working():
                wait_until(lambda: [str(job.state) for job in jobs.latest()] == ["done"] * 3)
            assert sorted(jobs.get(job.id).result for job in jobs.latest()) == [3, 7, 11]


class TestRabbitmq:
    def test_queues_are_quorum_queues_by_setting(
        self, rabbitmq: RabbitmqServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with engine(rabbitmq.url, tmp_path / "state", monkeypatch, QUORUM_QUEUES="true") as actors, working():
            assert ended(actors.fail.send(str(tmp_path / "effects"), 1)).state == "done"

        with engine(rabbitmq.url, tmp_path / "state", monkeypatch) as actors:
            monkeypatch.delenv("CLOUDMESH_QUORUM_QUEUES")
            settings.reset()
            with pytest.raises(BrokerUnavailable, match=r"x-queue-type.*set CLOUDMESH_QUORUM_QUEUES as it was"):
                actors.add.send(1, 2)

    def test_a_queue_that_was_deleted_is_made_anew(
        self, rabbitmq: RabbitmqServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with engine(rabbitmq.url, tmp_path / "state", monkeypatch) as actors:
            actors.add.send(1, 2)
            rabbitmq.wipe()
            actors.add.send(1, 2)  # confirmed: it is in a queue

            assert brokers.current().depth("rack")[0] == 1

    def test_a_connection_that_was_cut_while_it_was_idle_is_opened_anew(
        self, rabbitmq: RabbitmqServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with engine(rabbitmq.url, tmp_path / "state", monkeypatch) as actors:
            actors.add.send(1, 2)
            brokers.current().connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)
            actors.add.send(1, 2)

            assert brokers.current().depth("rack")[0] == 2

    def test_an_acknowledgement_after_a_reconnect_does_not_hit_another_message(
        self, rabbitmq: RabbitmqServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with engine(rabbitmq.url, tmp_path / "state", monkeypatch) as actors:
            first, second = actors.echo.send("first"), actors.echo.send("second")
            broker = brokers.current()
            before = broker.consume("rack", prefetch=1, timeout=2000)
            old = next(before)
            before._inner._inner.connection.close()
            after = broker.consume("rack", prefetch=2, timeout=2000)
            again, other = next(after), next(after)
            assert {again.message_id, other.message_id} == {first.message_id, second.message_id}

            after.ack(old)  # its tag is 1, as that of a message which is not done
            after.close()
            assert broker.depth("rack")[0] == 2
