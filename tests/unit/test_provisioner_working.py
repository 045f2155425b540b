"""A provisioning step by step on a clock of the test's own: its states, its troubles, and what is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from provision_world import add_job, end_job, run_of

from cloudmesh_actors import leases, settings, store
from cloudmesh_actors.errors import JobAborted, LeaseLost, NodeError, NotFound, OutcomeUnknown, Unreachable
from cloudmesh_actors.provisioner import records, stepping
from cloudmesh_actors.provisioner.model import Progress, Provisioning, Sent
from cloudmesh_actors.provisioner.provisioning import LONGEST_WAIT_S, Aborted, Working
from cloudmesh_actors.provisioner.records import Overtaken
from cloudmesh_actors.provisioner.states import Event, State
from cloudmesh_actors.provisioner.tasks import Deadlines, PowerState, Preparation, Task
from cloudmesh_actors.stagger import Groups

NODE, JOB = "d001", "0123456789abcdef"
DEADLINES = Deadlines(initiating=100, preparing_image=200, booting=1000, available=300, power=60)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class FakeNode:
    """A `Driver` whose node does what the test says; it counts what is done to it."""

    def __init__(self) -> None:
        self.is_on, self.armed, self.installed, self.there = True, False, False, True
        self.follows = True
        self.errors: dict[str, NodeError] = {}
        self.sent_state = Sent("complete")
        self.done: list[str] = []

    def check(self) -> None:
        self._fault("check")

    def preparation(self) -> Preparation:
        self._fault("preparation")
        return "done" if self.armed else "none"

    def prepare(self) -> None:
        self._do("prepare")
        self.armed = True

    def put_back(self) -> None:
        self._do("put back")
        self.armed = False

    def power(self) -> PowerState:
        self._fault("power")
        return "on" if self.is_on else "off"

    def switch(self, command: PowerState) -> str:
        self._do(command)
        if self.follows:
            self.is_on = command == "on"
        return command

    def sent(self, reference: str) -> Sent:
        return self.sent_state

    def before(self) -> dict[str, Any]:
        return {"seen": "off"}

    def progress(self, before: Mapping[str, Any]) -> Progress:
        self._fault("progress")
        assert before == {"seen": "off"}
        return "installed" if self.installed else "installing"

    def answers(self) -> bool:
        return self.there

    def _do(self, what: str) -> None:
        self._fault(what)
        self.done.append(what)

    def _fault(self, what: str) -> None:
        if what in self.errors:
            raise self.errors[what]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Bench:
    """One provisioning, and everything around it."""

    def __init__(self) -> None:
        self.clock, self.node = Clock(), FakeNode()
        self.check: Callable[[], None] = lambda: None
        self.checkpoint: Callable[[], None] = lambda: None
        self.groups = Groups(0, 0)
        add_job(JOB)
        now = self.clock.now
        records.begin([Provisioning(
            job_id=JOB, node=NODE, image="hpc", driver="simulator", requested_at=now, state_at=now, task_at=now,
        )])  # fmt: skip

    @property
    def it(self) -> Provisioning:
        found = records.get(JOB, NODE)
        assert found is not None
        return found

    def change(self, it: Provisioning, **changes: Any) -> Provisioning:
        return records.change(it, **changes)

    def enter(
        self, it: Provisioning, event: Event, now: float, reason: str | None = None, **changes: Any
    ) -> Provisioning:
        return records.enter(it, event, now, reason, **changes)

    def take_turn(self, it: Provisioning, now: float) -> Provisioning:
        return records.take_turn(it, self.groups, now)

    def step(self, wait: float = 0.0) -> float | None:
        """One message, `wait` seconds later."""
        self.clock.now += wait
        working = Working(
            self.it, lambda: self.node, check=lambda: self.check(), checkpoint=lambda: self.checkpoint(),
            keeper=self, deadlines=DEADLINES, clock=self.clock,
        )  # fmt: skip
        return working.go_on()

    def until(self, task: Task | None) -> None:
        """Steps until a task has begun."""
        for _ in range(50):
            if self.it.task is task:
                return
            self.step(1)
        raise AssertionError(self.it)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path))
    settings.reset()
    yield Bench()
    store.reset()


def test_a_good_course_does_everything_once_and_keeps_its_history(bench: Bench) -> None:
    bench.until(Task.INSTALL)
    bench.node.armed, bench.node.installed = False, True
    assert bench.step(600) is None

    assert bench.it.state is State.SUCCESS
    assert bench.node.done == ["prepare", "off", "on"]
    assert [each.after for each in records.history(NODE)] == [state for state in State if state is not State.ERROR]
    assert [each.event for each in records.history(NODE)][1:] == ["accepted", "prepared", "installed", "confirmed"]


def test_what_the_installer_left_armed_is_taken_back(bench: Bench) -> None:
    bench.until(Task.INSTALL)
    bench.node.installed = True
    bench.step(1)

    assert bench.it.state is State.SUCCESS
    assert bench.node.done[-1] == "put back"


def test_no_wait_is_longer_than_minutes(bench: Bench) -> None:
    waits = [bench.step(wait) for wait in [1.0] * 3 + [30.0] * 20]

    assert all(wait is not None and 0 < wait <= LONGEST_WAIT_S for wait in waits)


def test_an_image_that_is_not_known_changes_nothing(bench: Bench) -> None:
    bench.node.errors["check"] = NotFound("d001: no such image")

    assert bench.step() is None

    it = bench.it
    assert (it.state, it.error, it.error_kind, it.failed_in) == (
        State.ERROR, "d001: no such image", "not_found", State.INITIATING,
    )  # fmt: skip
    assert bench.node.done == []


def test_a_deadline_ends_a_state_and_what_was_armed_is_put_back(bench: Bench) -> None:
    bench.until(Task.INSTALL)
    assert bench.step(900) is not None
    assert bench.step(200) is None

    it = bench.it
    assert (it.state, it.failed_in, it.error_kind) == (State.ERROR, State.BOOTING, "deadline")
    assert "BOOTING took longer than 1000 s" in str(it.error)
    assert bench.node.done == ["prepare", "off", "on", "put back"]
    assert not it.armed


def test_a_trouble_that_passes_is_shown_and_forgotten(bench: Bench) -> None:
    bench.until(Task.INSTALL)
    bench.node.errors["progress"] = Unreachable("d001: it is restarted")
    bench.step(5)
    assert bench.it.trouble == "d001: it is restarted"

    bench.node.errors.clear()
    bench.step(5)
    assert bench.it.trouble is None


def test_what_cannot_be_put_back_is_tried_until_its_deadline_and_then_told(bench: Bench) -> None:
    bench.until(Task.INSTALL)
    bench.node.errors["put back"] = Unreachable("d001: the server is away.")
    assert bench.step(2000) is not None
    assert (bench.it.state, bench.it.task) == (State.BOOTING, Task.PUT_BACK)
    assert bench.step(100) is not None
    assert bench.step(200) is None

    assert bench.it.state is State.ERROR
    assert "could not be put back, so the node may install itself: d001: the server is away." in str(bench.it.error)
    assert bench.it.armed


def test_a_node_that_does_not_follow_fails_and_is_not_told_again(bench: Bench) -> None:
    bench.node.follows = False
    bench.step()
    bench.step(59)
    assert bench.step(10) is None

    assert bench.it.state is State.ERROR
    assert "power 'off' did not come to pass within 60 s (it was sent); the node is on" in str(bench.it.error)
    assert bench.node.done == ["prepare", "off", "put back"]


def test_a_command_that_may_have_been_sent_is_looked_for_before_it_is_repeated(bench: Bench) -> None:
    bench.node.errors["off"] = OutcomeUnknown("d001: no answer")
    bench.step()
    bench.node.errors.clear()
    bench.step(20)
    assert bench.node.done == ["prepare"]
    bench.step(20)  # more than half of the deadline: nobody knows of it
    assert bench.node.done == ["prepare", "off"]
    bench.step(1)
    assert bench.it.task is not Task.SWITCH_OFF


def test_a_command_that_was_sent_by_one_who_died_is_seen(bench: Bench) -> None:
    bench.node.errors["off"] = OutcomeUnknown("d001: the mark is there, and no more")
    bench.step()
    bench.node.errors.clear()
    bench.node.is_on = False  # it was sent
    bench.step(1)

    assert "off" not in bench.node.done
    assert bench.it.task in {Task.SWITCH_ON, Task.INSTALL}


def test_nothing_is_sent_without_the_lease(bench: Bench) -> None:
    def lost() -> None:
        raise LeaseLost("d001: another job has it")

    bench.check = lost
    bench.step()
    bench.step(1)

    assert bench.node.done == []
    assert bench.it.state is State.PREPARING_IMAGE


def test_a_run_that_was_overtaken_changes_nothing(bench: Bench) -> None:
    bench.until(Task.SWITCH_OFF)
    old = bench.it
    records.change(old, looks=7)

    with pytest.raises(Overtaken):
        records.change(old, looks=8)
    with pytest.raises(Overtaken):
        records.enter(old, Event.FAILED, 0.0)
    assert bench.it.looks == 7


def test_an_abort_of_the_node_puts_back_and_says_so(bench: Bench) -> None:
    def aborted() -> None:
        raise Aborted("d001: somebody asked to stop it.")

    bench.until(Task.INSTALL)
    bench.checkpoint = aborted
    assert bench.step(1) is None

    assert (bench.it.state, bench.it.error_kind) == (State.ERROR, "aborted")
    assert records.history(NODE)[-1].event is Event.ABORTED
    assert bench.node.done[-1] == "put back"


def test_an_abort_of_the_job_puts_back_too(bench: Bench) -> None:
    def aborted() -> None:
        raise JobAborted("aborted")

    bench.until(Task.SWITCH_OFF)
    bench.checkpoint = aborted
    assert bench.step(1) is None

    assert bench.it.error == "d001: the job was aborted."
    assert bench.node.done == ["prepare", "off", "put back"]


def test_turns_to_be_powered_on_are_kept_by_all_together(bench: Bench) -> None:
    add_job("other")
    now = bench.clock.now
    many = [
        Provisioning(job_id="other", node=f"e{n:03}", image="hpc", driver="simulator", requested_at=now)
        for n in range(1, 6)
    ]
    records.begin(many)

    turns = [records.take_turn(it, Groups(2, 10.0), now).turn_at for it in many]

    assert turns == [now, now, now + 10, now + 10, now + 20]


def test_a_node_waits_for_its_turn(bench: Bench) -> None:
    bench.groups = Groups(1, 50.0)
    add_job("other")
    [other] = [Provisioning(job_id="other", node="e001", image="x", driver="ipmi", requested_at=0.0)]
    records.begin([other])
    records.take_turn(other, bench.groups, bench.clock.now)
    bench.until(Task.SWITCH_ON)
    wait = bench.step(1)

    assert wait is not None
    assert wait > 30
    assert "on" not in bench.node.done
    bench.step(wait)
    bench.step(1)
    assert bench.node.done[-1] == "on"


class TestASecondRequest:
    def test_is_refused_with_the_holder(self, bench: Bench) -> None:
        leases.take([NODE], job_id="holder-of-it", actor="rack.power", ttl=60)
        run = run_of(JOB, NODE)

        assert stepping.step(run, NODE) is None

        assert (bench.it.state, bench.it.error_kind) == (State.ERROR, "lease_held")
        assert str(bench.it.error).startswith("d001: held by job holder-o (rack.power) since")

    def test_waits_when_it_shall(self, bench: Bench) -> None:
        leases.take([NODE], job_id="holder-of-it", actor="rack.power", ttl=60)
        add_job("patient")
        run = run_of("patient", NODE)
        stepping.request(run, (NODE,), "hpc", "simulator", 600)

        assert stepping.step(run, NODE) == stepping.TRY_LEASE_EVERY_S
        leases.release([NODE], job_id="holder-of-it")
        stepping.step(run, NODE)

        found = records.get("patient", NODE)
        assert found is not None
        assert found.state is not State.INITIATING
        assert [lease.job_id for lease in leases.holders()] == ["patient"]


def test_what_an_aborted_job_has_armed_is_put_back_by_another(bench: Bench, tmp_path: Path) -> None:
    add_job("aborted-one")
    run = run_of("aborted-one", NODE)
    stepping.request(run, (NODE,), "hpc", "simulator", 0)
    stepping.step(run, NODE)
    found = records.get("aborted-one", NODE)
    assert found is not None
    assert found.armed
    end_job("aborted-one")
    end_job(JOB)
    add_job("beat")

    assert stepping.put_back(run_of("beat", NODE), NODE) == "what was armed is put back"

    ended = records.get("aborted-one", NODE)
    assert ended is not None
    assert (ended.state, ended.error_kind) == (State.ERROR, "aborted")
    assert records.left_behind() == []


def test_a_node_is_asked_to_abort_without_disturbing_the_step_that_runs(bench: Bench) -> None:
    bench.until(Task.INSTALL)
    before = bench.it

    assert [it.node for it in records.ask_to_abort([NODE], 5.0)] == [NODE]

    records.change(before, looks=3)
    assert bench.it.abort_at == 5.0
    assert records.was_asked_to_abort(bench.it)
