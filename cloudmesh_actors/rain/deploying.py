"""One step of the deploy of a node: look, do what is to be done, commit, and tell when to look again."""

from __future__ import annotations

import time
from collections.abc import Callable

from cloudmesh_actors import logs
from cloudmesh_actors.clients.cobbler.model import Cobbler, Event
from cloudmesh_actors.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    JobAborted,
    LeaseLost,
    NodeError,
    NotFound,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    Unreachable,
)
from cloudmesh_actors.rain.model import Deploy
from cloudmesh_actors.rain.stages import POWERING, Command, Deadlines, Stage, install_step, pause, power_step


class Overdue(DeadlineExceeded):
    """A stage's own deadline is over."""


class CommandFailed(Refused):
    """Cobbler tells that a power command failed."""


class Aborted(NodeError):
    """The job was aborted."""

    kind = "aborted"


#: What may pass: Cobbler is restarted, busy, or away for a moment.
PASSING = (Unreachable, DeadlineExceeded, ProtocolError)

#: After these it is sure that nothing was prepared.
UNPREPARED = (Unreachable, AuthenticationFailed, NotFound, LeaseLost)

log = logs.get_logger()


class Deploying:
    """The work of one step on one node.

    Args:
        connect: begins a conversation with the node's Cobbler.
        check: raises LeaseLost when no command may be sent; called immediately before each.
        checkpoint: raises JobAborted or HandedBack when the run is to stop.
        keep: commits changes of a deploy and gives it as it is then; see `records.change`.
    """

    def __init__(
        self,
        deploy: Deploy,
        connect: Callable[[], Cobbler],
        *,
        check: Callable[[], None],
        checkpoint: Callable[[], None],
        keep: Callable[..., Deploy],
        deadlines: Deadlines,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.deploy = deploy
        self._connect, self._check, self._checkpoint, self._keep = connect, check, checkpoint, keep
        self._deadlines, self._clock = deadlines, clock
        self._aborted = False

    def go_on(self) -> float | None:
        """Go on as far as is possible without waiting. Returns seconds until the next look; None when it has ended.

        Raises:
            Overtaken: another run goes on with it.
            HandedBack: the worker stops.
        """
        trouble: str | None = None
        while not self.deploy.ended:
            try:
                self._look_for_abort()
                if self.deploy.ended or self._move():
                    continue
                trouble = None
            except LeaseLost as error:  # it is another's, or about to end: the next step takes it, or is refused
                log.warning("deploy.lease_lost", node=self.deploy.node, error=str(error))
                return pause(self.deploy.stage, 0)
            except NodeError as error:
                if not self._may_pass(error):
                    self._fail(error)
                    continue
                trouble = str(error)
            return self._wait(trouble)
        return None

    @property
    def aborted(self) -> bool:
        """Whether its job was aborted."""
        return self._aborted

    def _look_for_abort(self) -> None:
        if self._aborted:
            return
        try:
            self._checkpoint()
        except JobAborted:
            self._aborted = True
            self._fail(Aborted(f"{self.deploy.node}: the job was aborted."))

    def _move(self) -> bool:
        """Do what is to be done now; whether the deploy came to another stage, or is to be looked at again at once."""
        with self._connect() as cobbler:
            match self.deploy.stage:
                case Stage.REQUESTED:
                    return self._prepare(cobbler)
                case Stage.PREPARED | Stage.SWITCHED_OFF:
                    return self._power(cobbler)
                case Stage.POWER_CYCLED | Stage.INSTALLING:
                    return self._install(cobbler)
                case _:
                    return self._put_back(cobbler)

    def _prepare(self, cobbler: Cobbler) -> bool:
        tried = self.deploy.sent_times
        self._change(sent_times=tried + 1)
        try:
            self._check()
            cobbler.prepare(self.deploy.node, self.deploy.profile)
        except UNPREPARED:
            self._change(sent_times=tried)
            raise
        self._enter(Stage.PREPARED)
        return True

    def _power(self, cobbler: Cobbler) -> bool:
        node, goal = self.deploy.node, POWERING[self.deploy.stage]
        power = cobbler.power_status(node)
        command = self._command(cobbler)
        match power_step(goal, power, command, self._clock(), self._deadlines.power):
            case "next" if goal == "off":  # a node that is off installs nothing: what begins from now on is ours
                self._enter(Stage.SWITCHED_OFF, before=cobbler.installation(node))
                return True
            case "next":
                self._enter(Stage.POWER_CYCLED)
                return True
            case "send":
                self._send(cobbler)
            case "fail":
                raise self._unpowered(command, power)
        return False

    def _command(self, cobbler: Cobbler) -> Command | None:
        deploy = self.deploy
        if deploy.sent_at is None:
            return None
        event = cobbler.event(deploy.event_id) if deploy.event_id else Event("", "lost")
        return Command(deploy.sent_at, event.state, event.errors.get(deploy.node), deploy.sent_times)

    def _send(self, cobbler: Cobbler) -> None:
        """Mark, then send. After a crash in between the mark is found, and the node is looked at."""
        before, goal = self.deploy, POWERING[self.deploy.stage]
        self._change(sent_at=self._clock(), sent_times=before.sent_times + 1, event_id=None, looks=0)
        try:
            self._check()
            event_id = cobbler.power(before.node, goal)
        except OutcomeUnknown as error:
            log.warning("deploy.power_unsure", node=before.node, error=str(error))
        except NodeError:
            self._change(sent_at=before.sent_at, sent_times=before.sent_times)  # it was not sent
            raise
        else:
            self._change(event_id=event_id)
        log.info("deploy.power_sent", node=before.node, command=goal, times=self.deploy.sent_times)

    def _install(self, cobbler: Cobbler) -> bool:
        node, stage = self.deploy.node, self.deploy.stage
        seen = cobbler.installation(node)
        if install_step(stage, self.deploy.before, seen) == "wait":
            if self._is_overdue():
                raise self._uninstalled(cobbler)
            return False
        if stage is Stage.POWER_CYCLED:
            self._enter(Stage.INSTALLING)
            return True
        if cobbler.netboot(node):  # Cobbler does that itself, unless its `pxe_just_once` is off
            self._check()
            cobbler.set_netboot(node, False)
        self._enter(Stage.INSTALLED)
        return True

    def _put_back(self, cobbler: Cobbler) -> bool:
        self._check()
        cobbler.set_netboot(self.deploy.node, False)
        self._enter(Stage.FAILED)
        return True

    # -- trouble

    def _may_pass(self, error: NodeError) -> bool:
        """Whether to look again: what went wrong may be over then, and there is time left."""
        passing: tuple[type[NodeError], ...] = PASSING
        if self.deploy.stage in POWERING:  # a BMC may be away while its node is switched
            passing = (*passing, Refused)
        return isinstance(error, passing) and not isinstance(error, Overdue | CommandFailed) and not self._is_overdue()

    def _fail(self, error: NodeError) -> None:
        if self.deploy.stage is Stage.PUTTING_BACK:
            told = f"Netboot could not be put back, so it may install itself at its next boot: {error}"
            self._enter(Stage.FAILED, error=f"{self.deploy.error} {told}")
            return
        begun = self.deploy.stage is not Stage.REQUESTED or self.deploy.sent_times > 0
        self._enter(Stage.PUTTING_BACK if begun else Stage.FAILED, error=str(error), error_kind=error.kind)

    def _is_overdue(self) -> bool:
        since = self.deploy.sent_at or self.deploy.stage_at
        return self._clock() - since >= self._deadlines.of(self.deploy.stage)

    def _unpowered(self, command: Command | None, power: str) -> NodeError:
        node, goal = self.deploy.node, POWERING[self.deploy.stage]
        if command is not None and command.error is not None:
            return CommandFailed(f"{node}: Cobbler could not switch it {goal}: {command.error}.")
        known = "it was sent" if command and command.event == "complete" else "whether it was sent is not known"
        return Overdue(
            f"{node}: power {goal!r} did not come to pass within {self._deadlines.power:g} s ({known}); the node is "
            f"{power}. Look at the node and its BMC."
        )

    def _uninstalled(self, cobbler: Cobbler) -> NodeError:
        node, seconds = self.deploy.node, self._deadlines.of(self.deploy.stage)
        if self.deploy.stage is Stage.INSTALLING:
            return Overdue(f"{node}: its installer has begun and has not ended within {seconds:g} s; look at it.")
        return Overdue(
            f"{node}: no installer has begun within {seconds:g} s; the node is {cobbler.power_status(node)}. Does it "
            "boot from the network, and does its profile run Cobbler's install triggers?"
        )

    # -- changes

    def _enter(self, stage: Stage, **changes: object) -> None:
        fresh = {"looks": 0, "sent_at": None, "sent_times": 0, "event_id": None, "trouble": None}
        self._change(stage=stage, stage_at=self._clock(), **{**fresh, **changes})
        log.info("deploy.stage", node=self.deploy.node, stage=stage.value)

    def _change(self, **changes: object) -> None:
        self.deploy = self._keep(self.deploy, **changes)

    def _wait(self, trouble: str | None) -> float:
        seconds = pause(self.deploy.stage, self.deploy.looks)
        self._change(looks=self.deploy.looks + 1, trouble=trouble)
        return seconds
