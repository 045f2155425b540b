"""Power on, off and reboot through Cobbler: each command is sent once, and is done when the node is seen so.

A reboot is "off, seen off, on, seen on" here: Cobbler's own leaves a node on when somebody switches it off meanwhile,
and is complete when it failed. A mark is committed before its command is sent; after a crash in between nothing is
sent again, and the node is looked at. A node is switched on only when its turn has come.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cloudmesh_actors.clients.cobbler.model import Cobbler, PowerState
from cloudmesh_actors.errors import DeadlineExceeded, NodeError, OutcomeUnknown, ProtocolError, Refused, Unreachable
from cloudmesh_actors.rain.model import PowerAction
from cloudmesh_actors.runs import Run
from cloudmesh_actors.stagger import Turn

#: The commands of an action, in their order.
COMMANDS: dict[PowerAction, tuple[PowerState, ...]] = {
    "on": ("on",),
    "off": ("off",),
    "reboot": ("off", "on"),
}

#: How often the power is looked at: first after so many seconds, then after ever longer, up to the last.
FIRST_LOOK_S, LOOK_GROWTH, LONGEST_LOOK_S = 0.3, 1.5, 5.0

#: What may pass while a node is switched.
PASSING = (Unreachable, DeadlineExceeded, ProtocolError, Refused)


@dataclass(frozen=True, slots=True)
class Powered:
    """How a node is, and how it came so."""

    power: PowerState
    note: str


def mark_of(command: PowerState) -> str:
    """The mark that is set before a command is sent."""
    return f"{command} sent"


class Powering:
    """One action on one node.

    Args:
        check: raises LeaseLost when no command may be sent; called immediately before each.
        mark: what an earlier run of this step marked for the node before it died; None when nothing was sent.
        seconds: how long the node may take to follow each command.
        turn: when the node may be switched on.
    """

    def __init__(
        self,
        node: str,
        cobbler: Cobbler,
        run: Run,
        *,
        check: Callable[[], None],
        mark: str | None,
        seconds: float,
        turn: Turn,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._node, self._cobbler, self._run, self._check = node, cobbler, run, check
        self._mark, self._seconds, self._turn, self._clock, self._sleep = mark, seconds, turn, clock, sleep

    def carry_out(self, action: PowerAction) -> Powered:
        """Bring the node to the power that the action wants.

        Raises:
            DeadlineExceeded: the node did not follow in time.
            OutcomeUnknown: whether a command was sent cannot be known.
            Refused: Cobbler could not carry it out.
            JobAborted, HandedBack: the run was to stop meanwhile.
            NodeError: another trouble with Cobbler.
        """
        *before, last = COMMANDS[action]
        if self._mark == mark_of(last):
            before = []
        notes = [self._reach(command) for command in (*before, last)]
        return Powered(last, "switched off and on again" if len(notes) > 1 else notes[-1])

    def _reach(self, goal: PowerState) -> str:
        in_doubt = self._mark == mark_of(goal)
        if not in_doubt:
            if self._cobbler.power_status(self._node) == goal:
                return f"already {goal}"
            if goal == "on" and not self._turn.has_come():
                self._turn.wait()
                return self._reach(goal)  # somebody may have switched it on meanwhile
            event_id = self._send(goal)
        self._watch(goal, None if in_doubt else event_id)
        return f"switched {goal}"

    def _send(self, goal: PowerState) -> str | None:
        self._run.mark(self._node, mark_of(goal))
        self._mark = mark_of(goal)
        self._check()
        try:
            return self._cobbler.power(self._node, goal)
        except OutcomeUnknown:
            return None

    def _watch(self, goal: PowerState, event_id: str | None) -> None:
        until, pause = self._clock() + self._seconds, FIRST_LOOK_S
        while True:
            trouble: NodeError | None = None
            power: PowerState | None = None
            running = False
            try:
                running = self._is_running(goal, event_id)
                power = self._cobbler.power_status(self._node)
            except PASSING as error:
                if isinstance(error, CommandFailed):
                    raise
                trouble = error
            if power == goal and not running:
                return
            if self._clock() >= until and not running:
                raise self._overdue(goal, power, trouble, event_id)
            self._run.checkpoint()
            self._sleep(pause)
            pause = min(pause * LOOK_GROWTH, LONGEST_LOOK_S)

    def _is_running(self, goal: PowerState, event_id: str | None) -> bool:
        """Whether Cobbler is still at it: what is sent meanwhile may be undone by its fence agent."""
        if event_id is None:
            return False
        event = self._cobbler.event(event_id)
        if self._node in event.errors:
            raise CommandFailed(f"{self._node}: Cobbler could not switch it {goal}: {event.errors[self._node]}.")
        return not event.ended

    def _overdue(
        self, goal: PowerState, power: PowerState | None, trouble: NodeError | None, event_id: str | None
    ) -> NodeError:
        is_now = f"the node is {power}" if power else f"its power is not known ({trouble})"
        if event_id is None:
            return OutcomeUnknown(
                f"{self._node}: whether Cobbler was told to switch it {goal} is not known, and after "
                f"{self._seconds:g} s {is_now}. Look at the node, then send the action again."
            )
        return DeadlineExceeded(
            f"{self._node}: power {goal!r} was sent, and after {self._seconds:g} s {is_now}. Look at the node and its "
            "BMC."
        )


class CommandFailed(Refused):
    """Cobbler tells that the command failed."""
