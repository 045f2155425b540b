"""What is told while a job is waited for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudmesh_actors.cli import waiting
from cloudmesh_actors.cli.waiting import Lines, Watcher, code_of, nobody_serves, summary
from cloudmesh_actors.jobs import Job, State

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


class Told:
    """A display that remembers."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.sentences: list[str] = []

    def show(self, job: Job) -> None:
        self.states.append(job.state)

    def tell(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def close(self) -> None: ...


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def job(state: State = State.QUEUED, **fields: Any) -> Job:
    blank = dict.fromkeys(Job.__dataclass_fields__)
    return Job(**{**blank, "id": "0123456789ab", "actor": "rack.power", "queue": "rack", "state": state,
                  "enqueued_at": NOON, **fields})  # fmt: skip


@pytest.mark.parametrize(
    ("state", "served", "told"),
    [
        (State.QUEUED, False, [nobody_serves("rack")]),
        (State.QUEUED, True, []),
        (State.RUNNING, False, []),
    ],
)
def test_a_queued_job_that_nobody_will_run_is_told_once(state: State, served: bool, told: list[str]) -> None:
    clock, display = Clock(), Told()
    asked: list[str] = []
    watcher = Watcher(display, clock, clock.sleep, lambda queue: asked.append(queue) or served)  # type: ignore[func-returns-value]

    watcher.watch(job(state))
    for _ in range(50):
        watcher.sleep(0.1)

    assert display.sentences == told
    assert asked == (["rack"] if state is State.QUEUED else [])


def test_a_job_that_starts_at_once_makes_nobody_look_for_workers() -> None:
    clock, display = Clock(), Told()
    watcher = Watcher(display, clock, clock.sleep, lambda _queue: pytest.fail("nobody should look"))

    watcher.watch(job())
    watcher.sleep(0.5)
    watcher.watch(job(State.RUNNING))
    watcher.sleep(5)

    assert display.states == ["queued", "running"]


def test_elsewhere_than_on_a_terminal_each_state_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = waiting.bar_or_lines()
    assert isinstance(lines, Lines)

    for state in (State.QUEUED, State.RUNNING, State.RUNNING):
        lines.show(job(state, worker="rack"))

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "rack.power 01234567 is queued.\nrack.power 01234567 is running on rack.\n"


def entry(node: str, ok: bool) -> dict[str, object]:
    return {"node": node, "ok": ok, "error": None if ok else "no"}


@pytest.mark.parametrize(
    ("ended", "words", "code"),
    [
        ({"result": [entry("i001", True)]}, "is done after 2.0 s: 1 node ok.", 0),
        ({"result": [entry("i001", True), entry("i002", False)]}, "is done after 2.0 s: 1 node ok, 1 failed.", 1),
        ({"result": {"ok": False}}, "is done after 2.0 s.", 0),
        ({"result": []}, "is done after 2.0 s.", 0),
        ({"state": State.FAILED, "error": "Too hot."}, "failed after 2.0 s. Too hot.", 1),
        ({"state": State.ABORTED, "error": "By hand."}, "was aborted after 2.0 s. By hand.", 1),
    ],
)
def test_the_end_of_a_job_is_a_sentence_and_an_exit_code(ended: dict[str, Any], words: str, code: int) -> None:
    it = job(**{"state": State.DONE, "ended_at": NOON + timedelta(seconds=2), **ended})

    assert summary(it) == f"rack.power 01234567 {words}"
    assert code_of(it) == code
