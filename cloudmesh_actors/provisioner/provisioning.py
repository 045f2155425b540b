"""One step of the provisioning of a node: look, do what is to be done, commit, and tell when to look again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from cloudmesh_actors import logs
from cloudmesh_actors.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    HostKeyError,
    JobAborted,
    LeaseLost,
    NodeError,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unsupported,
)
from cloudmesh_actors.provisioner.model import Driver, InstallationFailed, Provisioning
from cloudmesh_actors.provisioner.states import Event, State
from cloudmesh_actors.provisioner.tasks import (
    GOALS,
    WAITS_FOR,
    Command,
    Deadlines,
    Task,
    pause,
    power_step,
    prepare_step,
)


class Overdue(DeadlineExceeded):
    """The deadline of a state, or of a power command, is over."""


class CommandFailed(Refused):
    """It is known that a power command failed."""


class Aborted(NodeError):
    """Somebody asked the provisioning to stop."""

    kind = "aborted"


#: What looking again does not mend. All else may be over the next time: a server is restarted, a BMC is busy.
LASTING = (
    Aborted, AuthenticationFailed, CommandFailed, HostKeyError, InstallationFailed, NotFound, Overdue, Unsupported,
)  # fmt: skip

#: The longest wait between two steps, in seconds; leases last longer.
LONGEST_WAIT_S = 120.0

log = logs.get_logger()


class Keeper(Protocol):
    """What commits a provisioning: see `records`. Its methods raise Overtaken."""

    def change(self, it: Provisioning, **changes: Any) -> Provisioning:
        """Changes within a state."""

    def enter(
        self, it: Provisioning, event: Event, now: float, reason: str | None = None, **changes: Any
    ) -> Provisioning:
        """Another state."""

    def take_turn(self, it: Provisioning, now: float) -> Provisioning:
        """When the node may be powered on."""


class Working:
    """The work of one step on one node.

    Args:
        connect: begins a conversation about the node with its driver.
        check: raises LeaseLost when no command may be sent; called immediately before each.
        checkpoint: raises JobAborted or HandedBack when the run is to stop, Aborted when only this node is.
    """

    def __init__(
        self,
        it: Provisioning,
        connect: Callable[[], Driver],
        *,
        check: Callable[[], None],
        checkpoint: Callable[[], None],
        keeper: Keeper,
        deadlines: Deadlines,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.it = it
        self.job_aborted = False
        self._connect, self._check, self._checkpoint, self._keeper = connect, check, checkpoint, keeper
        self._deadlines, self._clock = deadlines, clock

    def go_on(self) -> float | None:
        """Go on as far as is possible without waiting. Returns seconds until the next look; None when it has ended.

        Raises:
            Overtaken: another run goes on with it.
            HandedBack: the worker stops.
        """
        while not self.it.ended:
            trouble: str | None = None
            try:
                self._look_for_abort()
                if self._move():
                    continue
                if self._is_overdue():
                    raise self._overdue()
            except LeaseLost as error:  # a later run has it, or it is short: the next step takes it, or not
                log.warning("provisioning.lease_lost", node=self.it.node, error=str(error))
                return pause(self.it.task, 0)
            except NodeError as error:
                if isinstance(error, LASTING) or self._is_overdue(in_trouble=True):
                    self._fail(error)
                    continue
                trouble = str(error)
            return self._wait(trouble)
        return None

    def _look_for_abort(self) -> None:
        if self.it.error is not None or self.job_aborted:  # what was armed is put back whatever is asked
            return
        try:
            self._checkpoint()
        except JobAborted as error:
            self.job_aborted = True
            raise Aborted(f"{self.it.node}: the job was aborted.") from error

    def _move(self) -> bool:
        """Do what is to be done now; whether to look again at once."""
        with self._connect() as driver:
            match self.it.task:
                case Task.ACCEPT:
                    driver.check()
                    return self._enter(Event.ACCEPTED)
                case Task.PREPARE:
                    return self._prepare(driver)
                case Task.SWITCH_OFF | Task.SWITCH_ON as task:
                    return self._power(driver, task)
                case Task.INSTALL:
                    return driver.progress(self.it.before) == "installed" and self._enter(Event.INSTALLED)
                case Task.CONFIRM:
                    return self._confirm(driver)
                case _:
                    return self._put_back(driver)

    # -- the tasks

    def _prepare(self, driver: Driver) -> bool:
        match prepare_step(driver.preparation(), confirmed=self.it.reference is not None):
            case "next":
                return self._enter(Event.PREPARED, armed=True)
            case "do":
                self._mark(armed=True)
                self._check()
                driver.prepare()
                self._change(reference="")
                return True
        return False

    def _power(self, driver: Driver, task: Task) -> bool:
        goal, power = GOALS[task], driver.power()
        command = self._command(driver)
        match power_step(goal, power, command, self._clock(), self._deadlines.power):
            case "next" if task is Task.SWITCH_OFF:  # a node that is off installs nothing: what begins now is ours
                return self._begin(Task.SWITCH_ON, before=driver.before())
            case "next":
                return self._begin(Task.INSTALL)
            case "do" if task is Task.SWITCH_OFF or self._is_its_turn():
                self._switch(driver, task)
            case "fail":
                raise self._unpowered(task, command, power)
        return False

    def _is_its_turn(self) -> bool:
        if self.it.turn_at is None:
            self.it = self._keeper.take_turn(self.it, self._clock())
        return self._clock() >= (self.it.turn_at or 0.0)

    def _command(self, driver: Driver) -> Command | None:
        it = self.it
        if it.sent_at is None:
            return None
        if it.reference is None:
            return Command(it.sent_at, times=it.sent_times)
        seen = driver.sent(it.reference)
        return Command(it.sent_at, seen.state, seen.error, it.sent_times)

    def _switch(self, driver: Driver, task: Task) -> None:
        """Mark, then send. After a crash in between the mark is found, and the node is looked at."""
        before = self.it
        self._mark()
        try:
            self._check()
            reference = driver.switch(GOALS[task])
        except OutcomeUnknown as error:
            log.warning("provisioning.power_unsure", node=before.node, error=str(error))
        except NodeError:
            self._change(sent_at=before.sent_at, sent_times=before.sent_times)  # it was not sent
            raise
        else:
            self._change(reference=reference)
        log.info("provisioning.power_sent", node=before.node, command=GOALS[task], times=self.it.sent_times)

    def _confirm(self, driver: Driver) -> bool:
        if driver.preparation() == "done":  # its installer, or the hardware, has not taken it back
            self._check()
            driver.put_back()
        return driver.answers() and self._enter(Event.CONFIRMED, armed=False)

    def _put_back(self, driver: Driver) -> bool:
        self._check()
        driver.put_back()
        return self._end(self.it.error, self.it.error_kind, armed=False)

    # -- trouble

    def _fail(self, error: NodeError) -> None:
        it = self.it
        if it.error is not None:
            told = f"{it.error} What was armed could not be put back, so the node may install itself: {error}"
            self._end(told, it.error_kind)
        elif it.armed:
            self._begin(Task.PUT_BACK, error=str(error), error_kind=error.kind, failed_in=it.state)
        else:
            self._end(str(error), error.kind, failed_in=it.state)

    def _end(self, error: str | None, kind: str | None, **changes: Any) -> bool:
        event = Event.ABORTED if kind == Aborted.kind else Event.FAILED
        return self._enter(event, error, error=error, error_kind=kind, **changes)

    def _is_overdue(self, *, in_trouble: bool = False) -> bool:
        it = self.it
        ready_at = max(it.task_at, it.turn_at or 0.0)  # who waits for a turn to be powered on cannot help it
        if it.task is Task.PUT_BACK:
            return self._clock() - it.task_at >= self._deadlines.preparing_image
        if it.task in GOALS and in_trouble:
            return self._clock() - (it.sent_at or ready_at) >= self._deadlines.power
        since = max(it.state_at, it.turn_at or 0.0)
        return self._clock() - since >= self._deadlines.of(it.state)

    def _overdue(self) -> NodeError:
        it = self.it
        waits = WAITS_FOR[it.task] if it.task else "nothing"
        seconds = self._deadlines.of(it.state)
        return Overdue(f"{it.node}: {it.state} took longer than {seconds:g} s; it waited for {waits}.{_advice(it)}")

    def _unpowered(self, task: Task, command: Command | None, power: str) -> NodeError:
        node, goal = self.it.node, GOALS[task]
        if command is not None and command.error is not None:
            return CommandFailed(f"{node}: power {goal!r} failed: {command.error}.")
        known = "it was sent" if command and command.state == "complete" else "whether it was sent is not known"
        return Overdue(
            f"{node}: power {goal!r} did not come to pass within {self._deadlines.power:g} s ({known}); the node is "
            f"{power}. Look at the node and its BMC."
        )

    # -- changes

    def _enter(self, event: Event, reason: str | None = None, **changes: Any) -> bool:
        before = self.it.state
        self.it = self._keeper.enter(self.it, event, self._clock(), reason, **changes)
        log.info("provisioning.state", node=self.it.node, before=before, after=self.it.state, happened=event)
        return True

    def _begin(self, task: Task, **changes: Any) -> bool:
        fresh = {"looks": 0, "sent_at": None, "sent_times": 0, "reference": None, "trouble": None}
        self._change(task=task, task_at=self._clock(), **{**fresh, **changes})
        return True

    def _mark(self, **changes: Any) -> None:
        """Commit that a command is about to be sent."""
        self._change(
            sent_at=self._clock(), sent_times=self.it.sent_times + 1, reference=None, looks=0, trouble=None, **changes
        )

    def _change(self, **changes: Any) -> None:
        self.it = self._keeper.change(self.it, **changes)

    def _wait(self, trouble: str | None) -> float:
        seconds = pause(self.it.task, self.it.looks)
        if self.it.task is Task.SWITCH_ON and self.it.sent_at is None and self.it.turn_at:
            seconds = max(seconds, self.it.turn_at - self._clock())
        self._change(looks=self.it.looks + 1, trouble=trouble)
        return min(seconds, LONGEST_WAIT_S)


def _advice(it: Provisioning) -> str:
    if it.trouble:
        return f" The last look came to nothing: {it.trouble}"
    if it.state is State.BOOTING:
        return " Does it boot from the network, and does its installer come to an end?"
    return ""
