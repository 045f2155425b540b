"""Every broker gives the same jobs: in memory, on Valkey, Redis and RabbitMQ."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dramatiq
import orjson
import pytest
from brokers import Server
from dramatiq.results import ResultFailure, ResultMissing, ResultTimeout
from engines import ended, engine, state_of, wait_until, working
from sample_actors import lines
from structlog.testing import capture_logs

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs
from cloudmesh_actors.errors import JobAborted, JobError, JobFailed, JobTimeout
from cloudmesh_actors.steps import State


@pytest.fixture
def actors(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with engine(server.url, tmp_path / "state", monkeypatch) as found:
        brokers.be_worker("rack")
        yield found


@pytest.fixture
def effects(tmp_path: Path) -> str:
    return str(tmp_path / "effects")


def depth() -> brokers.Depth:
    return brokers.Depth(*brokers.current().depth("rack"))


def body(actor: str = "rack.add", args: Any = (1, 2), **changes: Any) -> bytes:
    """A message as another program would make it."""
    message = dramatiq.Message(queue_name="rack", actor_name=actor, args=(), kwargs={}, options={})
    return orjson.dumps({**message.asdict(), "args": args, **changes})


class TestAJob:
    def test_it_is_queued_before_anybody_takes_it_and_done_at_the_end(self, actors: Any) -> None:
        message = actors.add.send(1, y=2)
        job = jobs.get(message.message_id)
        assert (job.state, job.runs, job.actor, job.args, job.kwargs) == ("queued", 0, "rack.add", [1, 2], {})
        assert depth().ready == 1
        with pytest.raises(ResultMissing):
            message.get_result()

        with working():
            job = jobs.wait(message.message_id, 20)

        assert (job.state, job.result, job.runs, job.worker, job.error) == ("done", 3, 1, "rack", None)
        assert job.enqueued_at <= job.started_at <= job.ended_at
        assert message.get_result() == 3
        assert jobs.result(job.id) == 3

    def test_everything_is_acknowledged(self, actors: Any) -> None:
        messages = [actors.add.send(number, 1) for number in range(100)]
        with working():
            assert [message.get_result(block=True, timeout=20_000) for message in messages] == list(range(1, 101))

        assert depth()._replace(running=0) == (0, 0, 0, 0)
        assert depth().running in (0, None)

    @pytest.mark.parametrize("value", [None, {"a": [1, None, "ü"]}, [], 0, ""])
    def test_a_result_is_any_json(self, actors: Any, value: Any) -> None:
        message = actors.echo.send(value)
        with working():
            assert message.get_result(block=True, timeout=20_000) == value
        assert (ended(message).state, ended(message).result) == ("done", value)

    def test_a_result_that_is_no_json_is_a_failure_with_a_sentence(self, actors: Any) -> None:
        message = actors.unspeakable.send()
        with working():
            job = ended(message)

        assert job.state == "failed"
        assert job.error == "TypeError: the result is not JSON: Type is not JSON serializable: object"
        with pytest.raises(JobFailed, match="the result is not JSON"):
            jobs.result(job.id)
        with pytest.raises(ResultFailure, match="actor raised TypeError: the result is not JSON"):
            message.get_result()

    def test_waiting_ends_in_time_and_the_job_goes_on(self, actors: Any) -> None:
        message = actors.add.send(1, 2)
        with pytest.raises(JobTimeout, match=r"is still queued after 0\.05 s; it goes on"):
            jobs.wait(message.message_id, 0.05)
        with pytest.raises(ResultTimeout):
            message.get_result(block=True, timeout=150)

        with working():
            assert jobs.wait(message.message_id[:8], 20).state == "done"

    def test_who_waits_sees_its_progress(self, actors: Any, effects: str) -> None:
        message = actors.walk.send(effects, 4, 0.3)
        seen: list[Any] = []
        with working():
            jobs.wait(message.message_id, 30, watch=lambda job: seen.append((job.state, job.progress)))

        assert seen[0][0] in ("queued", "running")
        assert len({progress.done for _, progress in seen if progress}) >= 2
        assert jobs.get(message.message_id).progress == jobs.Progress(4, 4, "n3")
        assert [outcome.node for outcome in jobs.node_outcomes(message.message_id)] == ["n0", "n1", "n2", "n3"]

    def test_a_delayed_one_does_not_run_before_it_is_due(self, actors: Any) -> None:
        later = actors.echo.send_with_options(args=("later",), delay=800)
        sooner = actors.echo.send_with_options(args=("sooner",), delay=300)
        assert jobs.get(later.message_id).due_at is not None
        assert depth().delayed == 2
        with working():
            at_once = ended(actors.echo.send("at once"))
            assert ended(later).started_at.timestamp() >= jobs.get(later.message_id).enqueued_at.timestamp() + 0.8

        order = sorted((ended(message).started_at, ended(message).result) for message in (later, sooner))
        assert [name for _, name in order] == ["sooner", "later"]
        assert at_once.started_at <= order[0][0]
        assert depth().delayed == 0

    def test_it_can_be_retried_as_a_new_one(self, actors: Any, effects: str) -> None:
        message = actors.note.send(effects, "x")
        with pytest.raises(JobError, match="is queued: it can be retried when it has ended"):
            jobs.retry(message.message_id)
        with working():
            first = ended(message)
            again = jobs.wait(jobs.retry(first.id), 20)

        assert (again.retry_of, again.args, again.state) == (first.id, first.args, "done")
        assert again.id != first.id
        assert lines(effects) == ["x", "x"]


class TestFailures:
    def test_it_is_tried_again_with_growing_waits(self, actors: Any, effects: str) -> None:
        message = actors.fail.send(effects, 3)
        with working():
            job = ended(message)

        assert (job.state, job.result, job.runs, job.error) == ("done", "well", 4, None)
        assert [line.split()[1] for line in lines(effects)] == ["1", "2", "3", "4"]
        times = [float(line.split()[-1]) for line in lines(effects)]
        assert times[1] - times[0] >= 0.05
        assert times[3] - times[2] >= 0.1

    def test_until_it_is_enough(self, actors: Any, effects: str) -> None:
        message = actors.fail.send_with_options(args=(effects, 9), max_retries=2)
        with working():
            wait_until(lambda: jobs.get(message.message_id).error)
            job = ended(message)

        assert (job.state, job.runs) == ("failed", 3)
        assert job.error == "RuntimeError: bad luck\N{REPLACEMENT CHARACTER}3?"
        assert 'raise RuntimeError(f"bad luck' in job.traceback
        assert depth()[:2] == (0, 0)

    @pytest.mark.parametrize("name", ["throw", "misuse"])
    def test_what_is_expected_or_hopeless_is_not_tried_again(self, actors: Any, name: str) -> None:
        message = getattr(actors, name).send()
        with working():
            job = ended(message)

        assert (job.state, job.runs) == ("failed", 1)
        assert job.error_type in ("Expected", "ArgumentError", "UnknownNode")

    def test_what_changes_hardware_is_not_tried_again(self, actors: Any, effects: str) -> None:
        message = actors.switch.send(effects, "i001", "fails")
        with working():
            job = ended(message)

        assert (job.state, job.runs, job.error) == ("failed", 1, "RuntimeError: the hardware says no")
        assert len(lines(effects)) == 1

    def test_a_task_that_takes_too_long_is_stopped(self, actors: Any) -> None:
        message = actors.spin.send_with_options(args=(30,), time_limit=200, max_retries=0)
        with working(threads=1):
            job = ended(message)
            assert ended(actors.add.send(1, 2)).result == 3  # the thread lives on

        assert (job.state, job.error_type) == ("failed", "TimeLimitExceeded")
        assert job.error == "It took longer than its time limit (CLOUDMESH_TIME_LIMITS)."
        assert (job.ended_at - job.started_at).total_seconds() < 15

    def test_or_tried_again_as_other_failures_are(self, actors: Any) -> None:
        message = actors.spin.send_with_options(args=(30,), time_limit=100, max_retries=1)
        with working():
            assert (ended(message).state, ended(message).runs) == ("failed", 2)


class TestAborts:
    def test_a_queued_one_never_runs(self, actors: Any, effects: str) -> None:
        message, delayed = actors.note.send(effects, "x"), actors.note.send_with_options(args=(effects, "y"), delay=100)
        for one in (message, delayed):
            job = jobs.abort(one.message_id)
            assert (job.state, job.error) == ("aborted", "It was aborted before it began.")
        with working():
            time.sleep(0.2)
            ended(actors.add.send(1, 2))
            wait_until(lambda: depth()[:2] == (0, 0))

        assert lines(effects) == []
        with pytest.raises(JobAborted, match="before it began"):
            jobs.result(message.message_id)
        with pytest.raises(ResultFailure, match="JobAborted"):
            message.get_result()

    def test_a_running_one_stops_at_its_next_safe_point(self, actors: Any, effects: str) -> None:
        message = actors.walk.send(effects, 400, 0.05)
        with working():
            wait_until(lambda: lines(effects) and state_of(message) == "running")
            assert jobs.abort(message.message_id).state == "running"
            job = ended(message)

        assert (job.state, job.error) == ("aborted", "It was aborted while it ran, at a safe point.")
        assert len(lines(effects)) < 200

    def test_one_that_fails_after_it_was_aborted_is_not_tried_again(self, actors: Any, effects: str) -> None:
        message = actors.sleep.send_with_options(args=("/nowhere/effects", 0.5), min_backoff=60_000)
        with working():
            wait_until(lambda: [(job.state, job.runs) for job in [jobs.get(message.message_id)]] == [("queued", 1)])
            jobs.abort(message.message_id)
            assert ended(message).state == "aborted"

    def test_an_ended_one_stays_as_it_is(self, actors: Any) -> None:
        message = actors.add.send(1, 2)
        with working():
            ended(message)

        assert jobs.abort(message.message_id).state == "done"


class TestManyMessages:
    def test_a_group_is_many_jobs(self, actors: Any) -> None:
        group = dramatiq.group([actors.add.message(number, 1) for number in range(5)]).run()
        with working():
            assert list(group.get_results(block=True, timeout=20_000)) == [1, 2, 3, 4, 5]

        assert len(jobs.latest()) == 5

    def test_a_pipeline_is_one_job_of_many_steps(self, actors: Any) -> None:
        pipe = (actors.add.message(1, 2) | actors.add.message(10) | actors.add.message(100)).run()
        with working():
            assert pipe.get_result(block=True, timeout=20_000) == 113
            assert list(pipe.get_results()) == [3, 13, 113]
            [job] = jobs.latest()
            assert jobs.wait(job.id, 20).state == "done"

        assert job.id == pipe.messages[0].message_id

    def test_steps_that_a_task_sends_are_its_jobs(self, actors: Any, effects: str) -> None:
        message = actors.parent.send(3, 0, effects)
        with working():
            job = ended(message)

        assert (job.state, sorted(lines(effects))) == ("done", ["child 0", "child 1", "child 2"])
        assert [found.id for found in jobs.latest()] == [job.id]

    def test_one_that_fails_makes_the_job_failed_with_its_error(self, actors: Any, effects: str) -> None:
        message = actors.parent.send(1, 1, effects)
        with working():
            job = ended(message)

        assert (job.state, job.error) == ("failed", "RuntimeError: bad luck\N{REPLACEMENT CHARACTER}1?")

    def test_an_abort_reaches_the_steps_that_wait_and_those_still_to_come(self, actors: Any, effects: str) -> None:
        message = actors.parent.send(3, 0, effects, pause=1, late=2)
        with working(threads=1):  # so the children wait for their parent
            wait_until(lambda: state_of(message) == "running" and depth().ready + (depth().running or 3) >= 3)
            time.sleep(0.2)
            jobs.abort(message.message_id)
            job = ended(message)

        assert (job.state, lines(effects)) == ("aborted", [])

    def test_callbacks_are_steps_of_the_same_job(self, actors: Any, effects: str) -> None:
        message = actors.add.send_with_options(args=(1, 2), on_success=actors.echo_result)
        with working():
            job = ended(message)
            assert job.state == "done"

        assert [found.id for found in jobs.latest()] == [job.id]

    def test_a_message_that_comes_twice_runs_once(self, actors: Any, server: Server, effects: str) -> None:
        message = actors.note.send(effects, "once")
        with working():
            ended(message)
            for _ in range(3):
                brokers.current().enqueue(message)
            wait_until(lambda: depth()[:3] in ((0, 0, 0), (0, 0, None)))

        assert lines(effects) == ["once"]
        assert jobs.get(message.message_id).runs == 1


class TestStrangersMessages:
    def test_a_good_one_becomes_a_job(self, actors: Any, server: Server) -> None:
        brokers.current().depth("rack")  # the queue exists
        server.publish(body(args=[20, 22]))
        with working():
            wait_until(lambda: jobs.latest(state=State.DONE))

        [job] = jobs.latest()
        assert (jobs.get(job.id).result, job.sender, job.runs) == (42, "unknown", 1)

    def test_one_of_an_actor_that_nobody_knows_is_a_failed_job(self, actors: Any, server: Server) -> None:
        brokers.current().depth("rack")
        server.publish(body("rack.nobody"))
        with capture_logs() as logged, working():
            wait_until(lambda: jobs.latest(state=State.FAILED))
            wait_until(lambda: depth().set_aside == 1)

        [job] = jobs.latest()
        assert job.error == "It was set aside: this worker knows no actor rack.nobody."
        assert [line["actor"] for line in logged if line["event"] == "message.set_aside"] == ["rack.nobody"]

    def test_the_job_of_a_known_sender_too(self, actors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        message = actors.echo.send("x")
        with monkeypatch.context() as patched:
            patched.delitem(brokers.current().actors, "rack.echo")
            with working():
                job = ended(message)

        assert (job.state, job.error_type) == ("failed", "SetAside")
        assert depth().set_aside == 1

    def test_one_with_wrong_arguments_is_a_failed_job_and_set_aside(self, actors: Any, server: Server) -> None:
        brokers.current().depth("rack")
        server.publish(body(args=["one", {}]))
        with working():
            wait_until(lambda: depth().set_aside == 1)

        [job] = jobs.latest()
        assert (job.state, job.runs, job.error_type) == ("failed", 1, "ArgumentError")
        assert job.error.startswith("rack.add, x: 'one' does not fit: ")

    def test_what_is_none_is_set_aside_and_harms_nobody(self, actors: Any, server: Server) -> None:
        bad = [
            b"", b"\xff\xfe\x00", b"{", b"[]", b"null", b'{"args": []}', b"x" * 2_000_000, b"[" * 100_000,
            body(options=[]), body(options={"eta": "soon"}), body(args={}), body(kwargs=[1]), body(message_id=None),
            body(message_id="x" * 100), body(actor_name="a" * 200), body(more=1), body(options={"root": {"$ne": 1}}),
            body(queue_name=7), body(message_timestamp="yesterday"),
        ]  # fmt: skip
        brokers.current().depth("rack")
        good = []
        for data in bad:
            server.publish(data)
            good.append(actors.add.send(1, 1))
        with capture_logs() as logged, working():
            assert [ended(message).result for message in good] == [2] * len(good)
            wait_until(lambda: depth().set_aside == len(bad), lambda: str(depth()))

        assert len([line for line in logged if line["event"] == "message.set_aside"]) == len(bad)
        assert depth()[:3] in ((0, 0, 0), (0, 0, None))

    def test_options_that_make_no_sense_harm_nobody(self, actors: Any, server: Server) -> None:
        brokers.current().depth("rack")
        for options in (
            {"pipe_target": 7}, {"on_success": "nobody"}, {"throws": "x"}, {"on_failure": []}, {"max_retries": -1},
            {"recorded": True, "root": "nobody"}, {"store_results": "maybe"}, {"notify_shutdown": 5},
        ):  # fmt: skip
            server.publish(body(options=options))
        with capture_logs(), working():
            wait_until(lambda: len(jobs.latest(state=State.DONE)) == 8, lambda: str(jobs.latest()))

        assert depth().set_aside == 0
