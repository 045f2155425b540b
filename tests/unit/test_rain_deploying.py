"""The deploy of a node on a simulated Cobbler, by a clock of the test: killed at every point, aborted, in trouble."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cloudmesh_actors import site
from cloudmesh_actors.clients.cobbler.model import Cobbler, Installation
from cloudmesh_actors.clients.cobbler.simulator import SimulatedCobbler
from cloudmesh_actors.errors import (
    AuthenticationFailed,
    HostKeyError,
    JobAborted,
    LeaseLost,
    OutcomeUnknown,
    ProtocolError,
    Unreachable,
)
from cloudmesh_actors.rain.deploying import Deploying
from cloudmesh_actors.rain.model import Deploy
from cloudmesh_actors.rain.records import Overtaken
from cloudmesh_actors.rain.stages import Deadlines, Stage

NODE, PROFILE = "i001", "rocky9-x86_64"
DEADLINES = Deadlines(prepare=30.0, power=20.0, start=60.0, install=120.0)


class Killed(BaseException):
    """The worker's end."""


@dataclass
class Machine:
    """A site of one node: its Cobbler, its store, and a clock. `point` is called before and after whatever happens."""

    folder: Path
    fault: str | None = None
    now: float = 1_000.0
    stored: Deploy = field(default_factory=lambda: fresh(1_000.0))
    point: Callable[[str], None] = lambda name: None
    check: Callable[[], None] = lambda: None
    checkpoint: Callable[[], None] = lambda: None
    stages: list[Stage] = field(default_factory=list)

    @property
    def cobbler(self) -> SimulatedCobbler:
        described = site.Cobbler("main", "", systems=(NODE,), driver="simulator", fault=self.fault)  # type: ignore[arg-type]
        return SimulatedCobbler(described, 30.0, self.folder, clock=lambda: self.now, sleep=lambda seconds: None)

    def keep(self, deploy: Deploy, **changes: Any) -> Deploy:
        self.point("commit")
        if self.stored.version != deploy.version:
            raise Overtaken
        self.stored = replace(deploy, version=deploy.version + 1, **changes)
        self.stages += [self.stored.stage] if self.stored.stage is not deploy.stage else []
        self.point("committed")
        return self.stored

    def step(self) -> float | None:
        """One step, as a worker does it that knows nothing but the store."""
        client: Any = Observed(self.cobbler, self.point)
        deploying = Deploying(
            self.stored, lambda: client, check=lambda: self.check(), checkpoint=lambda: self.checkpoint(),
            keep=self.keep, deadlines=DEADLINES, clock=lambda: self.now,
        )  # fmt: skip
        return deploying.go_on()

    def run(self, until: float = 5_000.0) -> Deploy:
        """Steps until the end; a step that was killed is made again."""
        while not self.stored.ended:
            assert self.now < until, self.stored
            try:
                wait = self.step()
            except Killed:
                wait = 15.0
            self.now += wait or 0.0
        return self.stored

    @property
    def commands(self) -> list[str]:
        return [command for _, command in self.cobbler.commands()]


class Observed:
    """A conversation in which `point` is told before and after each method."""

    def __init__(self, inner: Cobbler, point: Callable[[str], None]) -> None:
        self._inner, self._point = inner, point

    def __enter__(self) -> Observed:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self._point(f"{name} {' '.join(map(str, args[1:]))}".strip())
            answer = getattr(self._inner, name)(*args)
            self._point(f"after {name}")
            return answer

        return call


def fresh(now: float) -> Deploy:
    return Deploy(job_id="a-job", node=NODE, profile=PROFILE, requested_at=now, stage_at=now)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def raising(error: BaseException, *at: str) -> Callable[[str], None]:
    def point(name: str) -> None:
        if name in at:
            raise error

    return point


def test_a_deploy_goes_through_all_stages_and_ends_with_the_node_installed(machine: Machine) -> None:
    ended = machine.run()

    assert machine.stages == [
        Stage.PREPARED,
        Stage.SWITCHED_OFF,
        Stage.POWER_CYCLED,
        Stage.INSTALLING,
        Stage.INSTALLED,
    ]
    assert machine.commands == ["off", "on"]
    assert ended.error is None
    assert machine.cobbler.system(NODE).profile == PROFILE
    assert not machine.cobbler.netboot(NODE)


def test_killed_at_any_point_it_goes_on_and_sends_nothing_twice(tmp_path: Path) -> None:
    points: list[str] = []
    Machine(tmp_path / "whole", point=points.append).run()
    assert len(points) > 50

    for number in range(len(points)):
        machine = Machine(tmp_path / str(number))
        left = iter([*[False] * number, True])

        def kill(name: str, left: Any = left) -> None:
            if next(left, False):
                raise Killed

        machine.point = kill
        assert machine.run().stage is Stage.INSTALLED, points[number]
        assert machine.commands == ["off", "on"], points[number]
        assert not machine.cobbler.netboot(NODE), points[number]


def test_a_node_that_is_off_is_only_switched_on(machine: Machine) -> None:
    machine.cobbler.power(NODE, "off")
    machine.now += 5

    assert machine.run().stage is Stage.INSTALLED
    assert machine.commands == ["off", "on"]


def test_an_installation_before_the_request_is_not_taken_for_ours(machine: Machine) -> None:
    machine.run()
    first = machine.cobbler.installation(NODE)
    machine.stored = fresh(machine.now)

    machine.run()

    assert machine.stored.before == first
    assert machine.cobbler.installation(NODE).is_newer_than(first)
    assert machine.commands == ["off", "on"] * 2


@pytest.mark.parametrize(
    ("fault", "begins", "commands"),
    [
        ("away", "the Cobbler main .* cannot be reached", []),
        ("denied", "the Cobbler main .* refuses the login", []),
        ("power-stuck", f"{NODE}: power 'off' did not come to pass within 20 s", ["off"]),
        ("power-fails", f"{NODE}: the Cobbler main .* fence agent fails", []),
        ("install-never-starts", f"{NODE}: no installer has begun within 60 s; the node is on", ["off", "on"]),
        ("install-never-ends", f"{NODE}: its installer has begun and has not ended within 120 s", ["off", "on"]),
    ],
)
def test_each_trouble_ends_within_its_deadline_in_a_sentence_and_netboot_is_put_back(
    machine: Machine, fault: str, begins: str, commands: list[str]
) -> None:
    machine.fault = fault

    ended = machine.run()

    assert ended.stage is Stage.FAILED
    assert ended.error is not None
    assert re.match(begins, ended.error), ended.error
    assert machine.now - 1_000.0 < sum((30, 30, 20, 20, 60, 120, 60))
    machine.fault = None
    assert machine.commands == commands
    assert not machine.cobbler.netboot(NODE)


def test_a_cobbler_that_is_restarted_costs_nothing_but_time(machine: Machine) -> None:
    """It loses its events, and with them what it was doing."""
    down = {"until": 0.0}

    def point(name: str) -> None:
        if name == "after power" and not down["until"]:
            machine.cobbler.lose_events()
            down["until"] = machine.now + 8
        if machine.now < down["until"] and not name.startswith(("commit", "after")):
            raise Unreachable("the Cobbler main cannot be reached: Connection refused.")

    machine.point = point

    assert machine.run().stage is Stage.INSTALLED
    assert machine.commands == ["off", "on"]


def test_trouble_that_passes_is_told_while_it_lasts(machine: Machine) -> None:
    machine.fault = "away"
    machine.step()
    assert machine.stored.trouble is not None
    assert "cannot be reached" in machine.stored.trouble
    machine.fault = None

    machine.step()

    assert machine.stored.trouble is None
    assert machine.run().stage is Stage.INSTALLED


def test_a_command_that_cobbler_may_have_taken_is_not_sent_again_if_the_node_follows(machine: Machine) -> None:
    machine.point = raising(OutcomeUnknown("it broke off"), "after power")

    assert machine.run().stage is Stage.INSTALLED
    assert machine.commands == ["off", "on"]


def test_a_command_that_cobbler_never_got_is_sent_again_once(machine: Machine) -> None:
    machine.point = raising(OutcomeUnknown("it broke off"), "power off")
    sent: list[float] = []
    before = machine.point

    def point(name: str) -> None:
        sent.extend([machine.now] if name == "power off" else [])
        before(name)

    machine.point = point
    ended = machine.run()

    assert len(sent) == 2
    assert ended.stage is Stage.FAILED
    assert "power 'off' did not come to pass" in str(ended.error)


def test_a_command_that_was_surely_not_sent_leaves_no_mark(machine: Machine) -> None:
    machine.point = raising(Unreachable("nobody listens"), "power off")
    machine.step()
    assert machine.stored.sent_at is None
    machine.point = lambda name: None

    assert machine.run().stage is Stage.INSTALLED
    assert machine.commands == ["off", "on"]


def test_an_aborted_deploy_puts_netboot_back_at_once(machine: Machine) -> None:
    machine.step()
    assert machine.cobbler.netboot(NODE)

    def aborted() -> None:
        raise JobAborted("it was")

    machine.checkpoint = aborted
    machine.step()

    assert machine.stored.stage is Stage.FAILED
    assert machine.stored.error_kind == "aborted"
    assert not machine.cobbler.netboot(NODE)


def test_nothing_is_sent_without_the_lease(machine: Machine) -> None:
    def lost() -> None:
        raise LeaseLost(f"{NODE}: its lease was lost")

    machine.check = lost
    for _ in range(3):
        machine.now += machine.step() or 0.0

    assert machine.stored.stage is Stage.REQUESTED
    assert machine.commands == []
    assert not machine.cobbler.netboot(NODE)


def test_who_was_overtaken_does_nothing_more(machine: Machine) -> None:
    machine.point = lambda name: setattr(machine, "stored", replace(machine.stored, version=99))

    with pytest.raises(Overtaken):
        machine.step()

    assert machine.commands == []


@pytest.mark.parametrize("error", [AuthenticationFailed("no"), HostKeyError("no")])
def test_what_does_not_pass_fails_at_once(machine: Machine, error: Exception) -> None:
    machine.step()
    began = machine.now
    machine.point = raising(error, "power_status")

    ended = machine.run()

    assert ended.error == "no"
    assert machine.now == began
    assert not machine.cobbler.netboot(NODE)


def test_netboot_that_cannot_be_put_back_is_told(machine: Machine) -> None:
    machine.fault = "install-never-starts"
    machine.point = raising(ProtocolError("it answers 502."), "set_netboot False")

    ended = machine.run()

    assert ended.stage is Stage.FAILED
    assert "no installer has begun" in str(ended.error)
    assert "Netboot could not be put back, so it may install itself at its next boot: it answers 502." in str(
        ended.error
    )


def test_netboot_that_cobbler_leaves_on_is_switched_off(machine: Machine) -> None:
    while machine.stored.stage is not Stage.INSTALLING:
        machine.now += machine.step() or 0.0
    machine.now += 60
    machine.cobbler.netboot(NODE)  # the installation ends
    machine.cobbler.set_netboot(NODE, True)  # as one does whose `pxe_just_once` is off

    machine.step()

    assert machine.stored.stage is Stage.INSTALLED
    assert not machine.cobbler.netboot(NODE)
    assert machine.cobbler.installation(NODE) != Installation()
