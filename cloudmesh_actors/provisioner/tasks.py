"""What is done in each state, in which order, and what is to be done next. Pure.

A state has one task or several; a task is finished when the node, or whoever installs it, shows that it is. Commands
are marked before they are sent, and sent again only when neither the store nor the hardware shows that they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from cloudmesh_actors.provisioner.states import State

PowerState = Literal["on", "off"]


class Task(StrEnum):
    """The piece of work that a provisioning is at."""

    ACCEPT = "accept"
    PREPARE = "prepare"
    SWITCH_OFF = "switch off"
    SWITCH_ON = "switch on"
    INSTALL = "install"
    CONFIRM = "confirm"
    PUT_BACK = "put back"


#: The tasks of each state, in their order. To put back comes after a failure, in whatever state.
TASKS: Mapping[State, tuple[Task, ...]] = {
    State.INITIATING: (Task.ACCEPT,),
    State.PREPARING_IMAGE: (Task.PREPARE,),
    State.BOOTING: (Task.SWITCH_OFF, Task.SWITCH_ON, Task.INSTALL),
    State.AVAILABLE: (Task.CONFIRM,),
    State.SUCCESS: (),
    State.ERROR: (),
}

#: The power that a task is about.
GOALS: Mapping[Task, PowerState] = {Task.SWITCH_OFF: "off", Task.SWITCH_ON: "on"}

#: What a task waits for, as people are told.
WAITS_FOR: Mapping[Task, str] = {
    Task.ACCEPT: "its turn",
    Task.PREPARE: "the image to be ready",
    Task.SWITCH_OFF: "the node to be off",
    Task.SWITCH_ON: "the node to be on",
    Task.INSTALL: "its installer",
    Task.CONFIRM: "the node to answer",
    Task.PUT_BACK: "what was armed to be put back",
}

#: Waits between two looks, in seconds: the first, and the last of ever longer ones.
PAUSES: Mapping[Task, tuple[float, float]] = {
    Task.ACCEPT: (1.0, 15.0),
    Task.PREPARE: (1.0, 15.0),
    Task.SWITCH_OFF: (0.5, 5.0),
    Task.SWITCH_ON: (0.5, 5.0),
    Task.INSTALL: (2.0, 30.0),
    Task.CONFIRM: (1.0, 15.0),
    Task.PUT_BACK: (1.0, 30.0),
}
GROWTH = 1.4

#: After this part of the deadline a command that nobody knows of is sent again, if the node does not show it.
AGAIN_AFTER = 0.5

#: A command is sent this often at most.
MOST_TIMES = 2


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each state may take, and the node to follow a power command, in seconds."""

    initiating: float
    preparing_image: float
    booting: float
    available: float
    power: float

    def of(self, state: State) -> float:
        """The deadline of a state; of one that is never left, the one for putting back."""
        match state:
            case State.INITIATING:
                return self.initiating
            case State.BOOTING:
                return self.booting
            case State.AVAILABLE:
                return self.available
            case _:
                return self.preparing_image


#: What has become of a command that was sent. Of one that is lost nobody knows whether it was.
CommandState = Literal["running", "complete", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class Command:
    """A power command that was marked. `sent_at` is seconds since the epoch, `times` how often it was marked."""

    sent_at: float
    state: CommandState = "lost"
    error: str | None = None
    times: int = 1


Step = Literal["wait", "do", "next", "fail"]

#: How an image is being made ready: not at all, still, or done.
Preparation = Literal["none", "underway", "done"]


def prepare_step(seen: Preparation, confirmed: bool) -> Step:
    """What to do about the image. `confirmed`: it was asked for, and that was taken."""
    if seen == "done" or (confirmed and seen == "none"):  # not every BMC tells what it has taken
        return "next"
    return "wait" if seen == "underway" else "do"


def power_step(goal: PowerState, power: PowerState, command: Command | None, now: float, seconds: float) -> Step:
    """What to do about a node that is to be on or off.

    Args:
        command: the one that was marked; None when none was.
        seconds: the deadline; it counts from the command.
    """
    if power == goal:
        # while a server is at it, its agent may fail on account of what we do next, and the server repeat the command
        return "wait" if command is not None and command.state == "running" else "next"
    if command is None:
        return "do"
    if command.state == "failed":
        return "fail"
    waited = now - command.sent_at
    if command.state == "lost" and waited >= seconds * AGAIN_AFTER and command.times < MOST_TIMES:
        return "do"
    return "fail" if waited >= seconds and command.state != "running" else "wait"


def first_of(state: State) -> Task | None:
    """The first task of a state."""
    return next(iter(TASKS[state]), None)


def pause(task: Task | None, looks: int) -> float:
    """Seconds until the next look, after so many at this task."""
    if task is None:
        return 0.0
    first, longest = PAUSES[task]
    return float(min(longest, first * GROWTH ** min(looks, 50)))
