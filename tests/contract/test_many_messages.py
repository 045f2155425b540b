"""`send_many`: many messages at once, on every broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import Server
from engines import ended, engine, working
from sample_actors import lines

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs
from cloudmesh_actors.errors import ArgumentError, BrokerUnavailable
from cloudmesh_actors.steps import State


@pytest.fixture
def actors(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with engine(server.url, tmp_path / "state", monkeypatch) as found:
        yield found


def test_each_is_a_job_of_its_own_and_runs_once(actors: Any, tmp_path: Path) -> None:
    effects = str(tmp_path / "effects")
    messages = actors.note.send_many((effects, f"m{number}") for number in range(700))
    assert {jobs.get(message.message_id).state for message in messages[::100]} == {State.QUEUED}

    with working():
        assert {ended(message).state for message in messages} == {State.DONE}
    assert sorted(lines(effects)) == sorted(f"m{number}" for number in range(700))


def test_arguments_may_have_names_and_options_count(actors: Any) -> None:
    messages = actors.add.send_many([{"x": 1, "y": 2}, (3, 4)], max_retries=0)
    with working():
        assert [jobs.result(message.message_id, 20) for message in messages] == [3, 7]
    assert {message.options["max_retries"] for message in messages} == {0}


def test_one_wrong_argument_and_nothing_is_sent(actors: Any) -> None:
    with pytest.raises(ArgumentError, match="add"):
        actors.add.send_many([(1, 2), (1, "two")])
    assert jobs.latest() == []
    assert brokers.current().depth("rack")[0] == 0


def test_none_at_all_is_no_error(actors: Any) -> None:
    assert actors.add.send_many([]) == []


@pytest.mark.parametrize("url", ["amqp://guest:guest@127.0.0.1:1/", "redis://127.0.0.1:1/0"])
def test_when_the_broker_is_away_none_of_them_stays_queued(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(url, tmp_path / "state", monkeypatch) as actors:
        with pytest.raises(BrokerUnavailable, match="does not answer"):
            actors.add.send_many([(1, 2), (3, 4)])
        assert {(job.state, job.error_type) for job in jobs.latest()} == {(State.FAILED, "Unavailable")}
        assert len(jobs.latest()) == 2
