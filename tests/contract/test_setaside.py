"""Messages that were set aside, on every broker: listed, shown, sent again once, dropped; nothing lost, order kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dramatiq
import hostile
import orjson
import pytest
from brokers import RabbitmqServer, Server, ready
from engines import ended, engine, wait_until, working
from sample_actors import lines
from structlog.testing import capture_logs

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs
from cloudmesh_actors.broker import aside, setaside
from cloudmesh_actors.broker.setaside import Selection
from cloudmesh_actors.errors import ArgumentError
from cloudmesh_actors.steps import State


@pytest.fixture(params=["stub", "valkey", "rabbitmq"])
def server(request: pytest.FixtureRequest) -> Server:
    return ready(request.getfixturevalue(f"session_{request.param}"))


@pytest.fixture
def actors(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with engine(server.url, tmp_path / "state", monkeypatch) as found:
        brokers.current().depth("rack")
        yield found


@pytest.fixture
def effects(tmp_path: Path) -> str:
    return str(tmp_path / "effects")


def body(args: Any = (), actor: str = "rack.nobody", **changes: Any) -> bytes:
    message = dramatiq.Message(queue_name="rack", actor_name=actor, args=(), kwargs={}, options={})
    return orjson.dumps({**message.asdict(), "args": args, **changes})


def count() -> int:
    return int(brokers.current().depth("rack")[3])


def set_aside(server: Server, *bodies: bytes) -> None:
    """Have a worker set these aside."""
    before = count()
    for each in bodies:
        server.publish(each)
    with capture_logs(), working():
        wait_until(lambda: count() == before + len(bodies))


@pytest.fixture
def no_note(actors: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Workers that do not know `rack.note`, as before an upgrade."""
    with monkeypatch.context() as patched:
        patched.delitem(brokers.current().actors, "rack.note")
        yield patched


def lost_to_upgrade(no_note: pytest.MonkeyPatch, *messages: dramatiq.Message[Any]) -> None:
    with capture_logs(), working(1):
        for message in messages:
            assert ended(message).error_type == "SetAside"
        wait_until(lambda: count() == len(messages))
    no_note.undo()


class TestListing:
    def test_each_is_listed_with_its_actor_job_time_and_reason(self, actors: Any, server: Server) -> None:
        assert setaside.listing() == []
        set_aside(server, body(["x"]), b"\xff\x00not json", body(args=["one", {}], actor="rack.add"))

        unreadable, unknown, misfit = (
            next(entry for entry in setaside.listing() if entry.actor == actor)
            for actor in (None, "rack.nobody", "rack.add")
        )

        assert (unknown.queue, unknown.reason) == (
            "rack", "It was set aside: this worker knows no actor rack.nobody.",
        )  # fmt: skip
        assert jobs.get(str(unknown.job)).state is State.FAILED
        assert (unreadable.job, unreadable.size, unreadable.trusted) == (None, 10, False)
        assert unreadable.reason
        assert misfit.reason.startswith("rack.add, x: 'one' does not fit")
        assert all(entry.at is not None and entry.at > 1.6e9 for entry in setaside.listing())
        assert len(setaside.listing("rack", limit=2)) == 2
        assert setaside.listing("pbs") == []

    def test_looking_changes_neither_their_number_nor_their_order(self, actors: Any, server: Server) -> None:
        for number in range(5):
            set_aside(server, body([number]))
        first = [entry.id for entry in setaside.listing()]

        assert [setaside.get(name).id for name in first] == first
        assert [entry.id for entry in setaside.listing()] == first
        assert [orjson.loads(setaside.get(name).body)["args"] for name in first] == [[n] for n in range(5)]
        assert count() == 5

    def test_one_is_shown_with_its_secrets_struck_out(self, actors: Any, server: Server) -> None:
        set_aside(server, body(kwargs={"password": "hunter2-hidden", "node": "i001"}), b"\xff{token=abcdefgh} \x1b[31m")
        texts = [setaside.readable(setaside.get(entry.id)) for entry in setaside.listing()]

        assert any('"node": "i001"' in text and '"password": "***"' in text for text in texts)
        assert any("\\xff" in text for text in texts)
        assert not any("hunter2-hidden" in text or "abcdefgh" in text for text in texts)

    def test_an_id_may_be_shortened_as_long_as_it_is_one(self, actors: Any, server: Server) -> None:
        set_aside(server, body(message_id="same-1"), body(message_id="same-2"))

        assert setaside.get("same-1").id == "same-1"
        for name, sentence in (("same", "Several messages' ids"), ("other", "No message 'other'"), ("", "No message")):
            with pytest.raises(ArgumentError, match=sentence):
                setaside.get(name)


class TestSendingAgain:
    def test_the_new_job_does_what_the_old_one_did_not(
        self, actors: Any, no_note: pytest.MonkeyPatch, effects: str
    ) -> None:
        message = actors.note.send_with_options(args=(effects, "x"), max_retries=7)
        lost_to_upgrade(no_note, message)

        done = setaside.requeue(setaside.select(Selection(ids=(message.message_id,))))
        assert (list(done.jobs), done.refused, count()) == ([message.message_id], {}, 0)
        with working():
            job = jobs.wait(done.jobs[message.message_id], 20)

        assert (job.state, job.retry_of, job.result, lines(effects)) == ("done", message.message_id, "x", ["x"])
        assert jobs.get(message.message_id).state == "failed"

    def test_a_crash_between_the_new_ones_coming_and_the_old_ones_going_doubles_nothing(
        self, actors: Any, no_note: pytest.MonkeyPatch, effects: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        message = actors.note.send(effects, "x")
        lost_to_upgrade(no_note, message)
        entries = setaside.listing()
        kept: list[aside.Stored] = []
        brokers.current().sift_aside("rack", lambda stored: kept.append(stored) or aside.Fate.KEPT)
        twin = setaside._again(setaside._see(kept[0]).message, "rack")
        brokers.current().record_queued(twin)
        brokers.current().enqueue(twin)  # and there it died

        done = setaside.requeue(entries)
        assert done.jobs == {message.message_id: twin.message_id}
        with working():
            assert ended(twin).state == "done"
            wait_until(lambda: brokers.current().depth("rack")[:2] == (0, 0))
        assert lines(effects) == ["x"]

    def test_what_fails_again_may_be_sent_again(self, actors: Any, server: Server) -> None:
        set_aside(server, body(message_id="first", actor="rack.add", args=["one", 2]))
        ids = {"first"}
        for _ in range(3):
            [entry] = setaside.listing()
            ids.add(setaside.requeue([entry]).jobs[entry.id])
            assert count() == 0
            with capture_logs(), working(1):
                wait_until(lambda: count() == 1)

        assert len(ids) == 4
        assert len(jobs.latest(state=State.FAILED)) == 4

    def test_those_that_match_and_no_others(self, actors: Any, server: Server) -> None:
        set_aside(server, body(["red"]), body(["blue"]), body(["red"], actor="rack.add"), b"red \xff")
        for selection, expected in (
            (Selection(actor="rack.nobody"), 2),
            (Selection(matching="red"), 3),
            (Selection(matching="knows no actor"), 2),
            (Selection(queue="pbs"), 0),
            (Selection(), 4),
        ):
            assert len(setaside.select(selection)) == expected
        chosen = setaside.select(Selection(matching="red"))
        done = setaside.requeue(chosen)

        assert (len(done.jobs), len(done.refused), count()) == (2, 1, 2)
        assert brokers.current().depth("rack")[0] == 2

    def test_what_is_no_message_is_never_sent_but_dropped(self, actors: Any, server: Server) -> None:
        set_aside(server, b"\xff\x00", body(["stays"]))
        [entry] = [each for each in setaside.listing() if each.actor is None]

        assert setaside.requeue([entry], force=True).refused == {entry.id: entry.reason}
        assert setaside.drop([entry]) == 1
        assert setaside.drop([entry]) == 0
        assert [each.actor for each in setaside.listing()] == ["rack.nobody"]


def test_one_look_right_after_another_misses_none(
    rabbitmq: RabbitmqServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(rabbitmq.url, tmp_path / "state", monkeypatch):
        brokers.current().depth("rack")
        hostile.publish(rabbitmq, [body([n]) for n in range(600)], "rack.XQ")
        wait_until(lambda: count() == 600)
        first = setaside.listing()
        assert [entry.id for entry in setaside.listing()] == [entry.id for entry in first]
        assert len(setaside.requeue(first[:250]).jobs) == 250
        assert setaside.drop(first[250:]) == 350
        assert brokers.current().depth("rack") == (250, 0, None, 0)


def test_a_rabbitmq_that_somebody_else_browses_keeps_the_rest(
    rabbitmq: RabbitmqServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(rabbitmq.url, tmp_path / "state", monkeypatch):
        brokers.current().depth("rack")
        set_aside(rabbitmq, *(body([n]) for n in range(3)))

        def meanwhile(stored: aside.Stored) -> aside.Fate:
            assert setaside.listing() is not None
            raise RuntimeError("the one who looked died")

        with pytest.raises(RuntimeError):
            brokers.current().sift_aside("rack", meanwhile)
        wait_until(lambda: len(setaside.listing()) == 3)
