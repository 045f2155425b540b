"""Hostile messages among good ones, on every broker: they are set aside, and the good ones are all done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest
from brokers import Server, ready
from engines import WorkerProcess, engine, wait_until, working
from structlog.testing import capture_logs

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs
from cloudmesh_actors.broker import setaside
from cloudmesh_actors.errors import ArgumentError
from cloudmesh_actors.steps import State

#: benchmarks/bench_hostile.py does ten thousand.
COUNT = 26 * len(hostile.KINDS)


@pytest.fixture(params=["stub", "valkey", "rabbitmq"])
def server(request: pytest.FixtureRequest) -> Server:
    return ready(request.getfixturevalue(f"session_{request.param}"))


@pytest.fixture
def actors(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    key = tmp_path / "key"
    key.write_text(hostile.KEY)
    key.chmod(0o600)
    signing = {"SIGNING_KEY_FILE": str(key), "MESSAGE_MAX_BYTES": str(hostile.MAX_BYTES)}
    with engine(server.url, tmp_path / "state", monkeypatch, **signing) as found:
        brokers.current().depth("rack")
        yield found


def test_the_good_ones_are_all_done_and_the_others_set_aside(actors: Any, server: Server) -> None:
    bad = hostile.bodies(COUNT, seed=3)
    good = []
    for first in range(0, COUNT, 13):
        hostile.publish(server, bad[first : first + 13])
        good.append(actors.add.send_with_options(args=(first, 1), delay=100 if first % 2 else None))
    with capture_logs() as logged, working():
        wait_until(lambda: brokers.current().depth("rack")[3] == COUNT, lambda: str(brokers.current().depth("rack")))
        assert [jobs.wait(message.message_id, 20).result for message in good] == [n + 1 for n in range(0, COUNT, 13)]

    assert brokers.current().depth("rack")[:2] == (0, 0)
    told = [line for line in logged if line["event"] == "message.set_aside"]
    assert len(told) == COUNT
    assert all(line["reason"] for line in told)
    assert {job.actor for job in jobs.latest(1000, state=State.FAILED)} == {"rack.nobody", "rack.add"}
    reasons = [entry.reason for entry in setaside.listing()]
    for words in (
        "it is not signed",
        "its signature is wrong",
        "bytes are too many",
        "it was sent to the queue 'rain'",
    ):
        assert [reason for reason in reasons if words in reason], words


def test_one_that_was_tampered_with_is_only_sent_again_by_who_vouches_for_it(actors: Any, server: Server) -> None:
    genuine = actors.add.send(1, 2)
    hostile.publish(server, [hostile.orjson.dumps(hostile.fields(hostile.random, message_id=genuine.message_id))])
    with capture_logs(), working():
        wait_until(lambda: brokers.current().depth("rack")[3] == 1)
        [entry] = setaside.listing()
        assert (entry.trusted, entry.reason, entry.job) == (False, "it is not signed", None)
        assert entry.id != genuine.message_id
        assert setaside.requeue([entry]).refused == {entry.id: "it is not signed"}
        done = setaside.requeue([entry], force=True)
        assert jobs.wait(done.jobs[entry.id], 20).result == 3


def test_an_oversize_message_is_refused_where_it_is_sent(actors: Any) -> None:
    with pytest.raises(ArgumentError, match="at most"):
        actors.echo.send("x" * hostile.MAX_BYTES)
    assert jobs.latest() == []


def test_a_whole_process_lives_through_it_too(valkey: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(valkey.url, tmp_path / "state", monkeypatch) as actors:
        brokers.current().depth("rack")
        worker = WorkerProcess("rack", tmp_path / "log").await_ready()
        hostile.publish(valkey, [hostile.moved(hostile.random.Random(n)) for n in range(60)])
        hostile.publish(valkey, [os.urandom(50) for _ in range(60)])
        assert jobs.wait(actors.add.send(1, 2).message_id, 30).result == 3
        wait_until(lambda: brokers.current().depth("rack")[3] == 120)
        assert worker.terminate() == 0
        assert "Traceback" not in worker.text()
