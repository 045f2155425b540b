"""What all processes of the fleet do: wait for their peers, tell that they live, end with a code."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from structlog.testing import capture_logs

from cloudmesh_actors import runs
from cloudmesh_actors.errors import SettingsError, StoreUnavailable
from cloudmesh_actors.families import FAMILIES, worker_name
from cloudmesh_actors.runs import StopSignal
from workers import process, reasons
from workers import worker as worker_module
from workers.process import Stopped, Tally, guarded, patiently, watch
from workers.supervisor import Process
from workers.worker import family_of, finish


class Stop:
    """A stop request that comes after so many looks; each look takes a tick of the clock."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.now = 0.0

    def wait(self, timeout_s: float) -> bool:
        self.now += timeout_s
        self.after -= 1
        return self.after < 0

    def clock(self) -> float:
        return self.now


class Entry:
    """A row of the roster that remembers what it was told; some tellings fail."""

    def __init__(self, failures: int = 0) -> None:
        self.told: list[dict[str, Any]] = []
        self.failures = failures

    def beat(self, **what: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the store is away")
        self.told.append(what)


def unavailable(times: int) -> Iterator[Any]:
    """A peer that answers after so many failures."""
    for _ in range(times):
        yield StoreUnavailable("the store is away")
    yield "here"


def asking(answers: Iterator[Any]) -> Any:
    def ask() -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def test_a_worker_waits_until_its_peer_answers_and_says_once_why() -> None:
    with capture_logs() as events:
        answer = patiently(asking(unavailable(3)), Stop(after=9))  # type: ignore[arg-type]

    assert answer == "here"
    assert [(event["event"], event["error"]) for event in events] == [("worker.waiting", "the store is away")]


def test_a_worker_that_waits_can_be_stopped() -> None:
    with pytest.raises(Stopped):
        patiently(asking(unavailable(3)), Stop(after=1))  # type: ignore[arg-type]


def test_other_errors_are_not_waited_out() -> None:
    with pytest.raises(SettingsError):
        patiently(asking(iter([SettingsError("wrong")])), Stop(after=9))  # type: ignore[arg-type]


def test_an_error_of_ours_is_one_line_and_exit_code_1() -> None:
    def fail() -> None:
        raise SettingsError("CLOUDMESH_THREADS is wrong")

    with capture_logs() as events:
        code = guarded(fail)

    assert code == 1
    assert events == [{"event": "worker.failed", "log_level": "error", "error": "CLOUDMESH_THREADS is wrong"}]


def test_a_stop_while_waiting_is_an_end_in_order() -> None:
    def stopped() -> None:
        raise Stopped

    assert guarded(stopped) == 0
    assert guarded(lambda: None) == 0


def test_a_bug_is_not_taken_for_an_end_in_order() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: print(1 // 0))


def test_a_worker_tells_what_is_new_at_once_and_that_it_lives_now_and_then() -> None:
    entry, stop = Entry(), Stop(after=25)
    tallies = iter([Tally(), Tally(), *[Tally(1, 0, "a")] * 50])

    watch(entry, stop, lambda: next(tallies), stop.clock)  # type: ignore[arg-type]

    assert entry.told == [{"done": 1, "failed": 0, "last_job": "a"}] * 3  # at 3 s, then every 10 s


def test_what_could_not_be_told_is_told_later() -> None:
    entry, stop = Entry(failures=1), Stop(after=3)

    with capture_logs() as events:
        watch(entry, stop, lambda: Tally(2, 1, "b"), stop.clock)  # type: ignore[arg-type]

    assert entry.told == [{"done": 2, "failed": 1, "last_job": "b"}]
    assert [event["event"] for event in events] == ["roster.not_renewed"]


def test_a_worker_ends_when_its_supervisor_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([1234, 1234, 1])
    monkeypatch.setenv("SUPERVISOR_ENABLED", "1")
    monkeypatch.setattr(process.os, "getppid", lambda: next(parents))

    with capture_logs() as events:
        watch(Entry(), Stop(after=1_000_000), clock=lambda: 0.0)  # type: ignore[arg-type]

    assert [event["event"] for event in events] == ["worker.orphaned"]


def test_a_task_without_a_safe_point_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "stop_signal", StopSignal())
    monkeypatch.setattr(worker_module, "SAFE_POINT_S", 0.1)
    began, let_go = threading.Event(), threading.Event()
    broker = StubBroker(middleware=[])
    broker.emit_after("process_boot")

    def stubborn() -> None:
        began.set()
        let_go.wait(60)

    dramatiq.actor(stubborn, broker=broker).send()
    running = dramatiq.Worker(broker, worker_threads=1, worker_timeout=10)
    running.start()
    assert began.wait(20)
    with capture_logs() as events:
        finish(running, grace_s=0.1)
    let_go.set()
    running.workers[0].join(20)

    assert [event["count"] for event in events if event["event"] == "worker.abandoned_runs"] == [1]


def test_why_a_process_is_not_ready_is_a_sentence() -> None:
    assert reasons.why(None) == "supervisord does not know it."
    assert reasons.why(Process("rack", "FATAL")) == "it ended each time it was started."
    assert reasons.why(Process("rack", "RUNNING", 12)) == "it runs (pid 12), but has not said that it is ready."
    assert reasons.why(Process("rack", "BACKOFF", spawn_error="can't find command 'x'")) == "can't find command 'x'"
    early = Process("rack", "BACKOFF", spawn_error="Exited too quickly (process log may have details)")
    assert reasons.why(early) == "it ended, and will be started again."


def test_a_line_of_a_log_is_shown_for_people_and_of_a_traceback_its_end() -> None:
    event = '{"level": "critical", "event": "uncaught", "exception": "Trace:\\n x\\nOSError: no"}'

    assert reasons.readable(event).splitlines()[-1].strip(" |") == "OSError: no"
    assert "Trace:" not in reasons.readable(event)
    assert reasons.readable("raw \x1b[31mwords") == "raw words"
    assert reasons.readable("[1]") == "[1]"
    assert reasons.readable("12") == "12"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", [1, 2, 99])
def test_a_workers_name_tells_its_family(family: str, number: int) -> None:
    assert family_of(worker_name(family, number)) == family


@pytest.mark.parametrize("name", ["l", "l0", "l01", "rack1", "x1", "launcher", "beat2", "q", "rack0"])
def test_other_names_tell_none(name: str) -> None:
    assert family_of(name) is None
