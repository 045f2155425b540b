"""Power on, off, cycle and soft: each command is sent once, and is done when the node is seen so.

`decide` is the whole logic, pure; `Powering` talks to the BMC and keeps the marks. A mark is committed before its
command is sent: after a crash a mark says that the command may have been sent, and its lack that it was not. A cycle
is "off, seen off, on, seen on", so that the power which is seen says how far it came. Immediately before each command
the node's lease is checked, and a node is switched on only when its turn has come.

::

    no mark ── as wanted ──────────────────────────→ finished ("already on")
       │ else: mark, send
       ▼
    "off sent" ── seen off ─→ (cycle: mark, send "on") ─→ "on sent" ── seen on ─→ finished
       └── not seen in time ─→ DeadlineExceeded; OutcomeUnknown when a worker that died had set the mark
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cloudmesh_actors.clients.ipmi.model import BmcClient, ChassisCommand, PowerState
from cloudmesh_actors.errors import AuthenticationFailed, DeadlineExceeded, JobAborted, NodeError, OutcomeUnknown
from cloudmesh_actors.rack.model import PowerAction
from cloudmesh_actors.runs import Run
from cloudmesh_actors.stagger import AT_ONCE, PowerOns, Turn, Turns

#: The commands of an action, in their order.
COMMANDS: dict[PowerAction, tuple[ChassisCommand, ...]] = {
    "on": ("on",),
    "off": ("off",),
    "soft": ("soft",),
    "cycle": ("off", "on"),
}

#: The power that each command leads to.
GOALS: dict[ChassisCommand, PowerState] = {"on": "on", "off": "off", "soft": "off"}

#: How often the power is looked at: first after so many seconds, then after ever longer, up to the last.
FIRST_LOOK_S, LOOK_GROWTH, LONGEST_LOOK_S = 0.5, 1.5, 5.0


@dataclass(frozen=True, slots=True)
class Send:
    """Send this command now."""

    command: ChassisCommand


@dataclass(frozen=True, slots=True)
class Wait:
    """The command that was sent has not come to pass yet."""

    command: ChassisCommand


@dataclass(frozen=True, slots=True)
class Finished:
    """The node's power is as the action wants it; `note` says how it came so."""

    power: PowerState
    note: str


Step = Send | Wait | Finished


def decide(action: PowerAction, sent: ChassisCommand | None, power: PowerState) -> Step:
    """What to do next.

    Args:
        sent: the last command of this action that was marked; None when none was.
        power: how the node is now.
    """
    if sent is None:
        return _begin(action, power)
    if power != GOALS[sent]:
        return Wait(sent)
    following = COMMANDS[action][COMMANDS[action].index(sent) + 1 :]
    return Send(following[0]) if following else Finished(power, f"switched {power}")


def _begin(action: PowerAction, power: PowerState) -> Step:
    first, *rest = COMMANDS[action]
    if power != GOALS[first]:
        return Send(first)
    return Send(rest[0]) if rest else Finished(power, f"already {power}")


def mark_of(command: ChassisCommand) -> str:
    """The mark that is set before a command is sent."""
    return f"{command} sent"


def sent_by(action: PowerAction, mark: str | None) -> ChassisCommand | None:
    """The command that a mark of an earlier run speaks of; None without one."""
    return next((command for command in COMMANDS[action] if mark_of(command) == mark), None)


def overdue(node: str, command: ChassisCommand, power: PowerState | None, seconds: float, in_doubt: bool) -> NodeError:
    """The error when a command did not come to pass in time; `in_doubt` when a worker that died may have sent it."""
    is_now = f"the node is {power}" if power else "the BMC does not say how the node is"
    if in_doubt:
        return OutcomeUnknown(
            f"{node}: a worker died while it sent power {command!r}, and after {seconds:g} s {is_now}. "
            "Look at the node, then send the action again."
        )
    advice = {
        "soft": "The operating system does not follow; `off` cuts the power.",
        "off": "Look at the node and its BMC; a reset of the BMC may help.",
        "on": "Look at the node: its power supply, its buttons, its BMC's event log.",
    }
    return DeadlineExceeded(f"{node}: power {command!r} was sent, and after {seconds:g} s {is_now}. {advice[command]}")


class Powering:
    """One action on one node.

    Args:
        connect: begins a conversation with the node's BMC.
        mark: what an earlier run of this step marked for the node before it died; None when nothing was sent.
        seconds: how long the node may take to follow each command.
        may_send: raises LeaseLost, or another error, when a command must not be sent.
        turn: when the node may be switched on; by default at any time.
    """

    def __init__(
        self,
        node: str,
        action: PowerAction,
        connect: Callable[[], BmcClient],
        run: Run,
        *,
        mark: str | None,
        seconds: float,
        may_send: Callable[[], None] = lambda: None,
        turn: Turn | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._node, self._action, self._connect, self._run = node, action, connect, run
        self._may_send = may_send
        self._turn = turn or PowerOns(run, total=1, turns=Turns(AT_ONCE)).turn()
        self._seconds, self._clock, self._sleep = seconds, clock, sleep
        self._sent = sent_by(action, mark)
        self._in_doubt = self._sent is not None
        self._power: PowerState | None = None
        self._pause = FIRST_LOOK_S
        self._trouble: NodeError | None = None
        self._unsure: OutcomeUnknown | None = None
        self._start_waiting()

    def carry_out(self) -> Finished:
        """Bring the node to the power that the action wants.

        Raises:
            DeadlineExceeded: the node did not follow in time.
            OutcomeUnknown: whether a command was carried out cannot be known.
            LeaseLost: the node is another job's by now.
            JobAborted, HandedBack: the run was to stop while the node waited for its turn.
            NodeError: the BMC could not be talked to, or refused the command.
        """
        while True:
            step = self._look_and_send()
            if isinstance(step, Finished):
                return step
            if isinstance(step, Send):
                self._await_turn()
                continue
            if self._clock() >= self._until:
                raise self._overdue(step.command)
            self._sleep(self._pause)
            self._pause = min(self._pause * LOOK_GROWTH, LONGEST_LOOK_S)

    def _look_and_send(self) -> Step:
        """Look at the power and, in the same conversation, send what it calls for, if its turn has come.

        Once a command is on its way a BMC that does not answer is asked again: some restart with their node.
        """
        sending = False
        try:
            with self._connect() as bmc:
                self._power = bmc.power_status()
                step = decide(self._action, self._sent, self._power)
                if isinstance(step, Send):
                    if not self._is_due(step.command):
                        return step
                    sending = True
                    self._send(bmc, step.command)
        except NodeError as error:
            if sending or self._sent is None or isinstance(error, AuthenticationFailed):
                raise
            self._trouble = error
            return Wait(self._sent)
        self._trouble = None
        return Wait(step.command) if isinstance(step, Send) else step

    def _is_due(self, command: ChassisCommand) -> bool:
        return command != "on" or self._turn.has_come()

    def _await_turn(self) -> None:
        """Outside of a conversation: a BMC ends one in which nobody speaks."""
        try:
            self._turn.wait()
        except JobAborted as error:
            if self._sent is None:
                raise
            raise NodeError(f"{self._node}: {error} For the cycle the node was switched off; it is off now.") from error
        self._start_waiting()

    def _send(self, bmc: BmcClient, command: ChassisCommand) -> None:
        unsure = None
        try:
            self._may_send()
            self._run.mark(self._node, mark_of(command))
            self._may_send()  # the store may have taken long over the mark
            bmc.power(command)
        except OutcomeUnknown as error:
            unsure = error
        except NodeError as error:
            if self._sent is None:
                raise
            raise type(error)(f"{error} For the cycle the node was switched off; it is off now.") from error
        self._sent, self._unsure, self._in_doubt = command, unsure, False
        self._start_waiting()

    def _start_waiting(self) -> None:
        self._until = self._clock() + self._seconds
        self._pause = FIRST_LOOK_S

    def _overdue(self, command: ChassisCommand) -> NodeError:
        if self._unsure is not None:
            return self._unsure
        if self._trouble is not None and not self._in_doubt:
            return type(self._trouble)(f"{self._trouble} Power {command!r} was sent before.")
        power = None if self._trouble else self._power
        return overdue(self._node, command, power, self._seconds, self._in_doubt)
