"""How a deploy goes: its stages as data, and what is to be done next. Pure.

Every stage that is reached is committed, so whoever goes on after a crash begins where the store says. A power
command is marked before it is sent, and sent again only when it is sure that nobody carries it out any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from cloudmesh_actors.clients.cobbler.model import EventState, Installation, PowerState


class Stage(StrEnum):
    """How far the deploy of a node has come."""

    REQUESTED = "requested"
    PREPARED = "prepared"
    SWITCHED_OFF = "switched off"
    POWER_CYCLED = "power cycled"
    INSTALLING = "installing"
    INSTALLED = "installed"
    PUTTING_BACK = "putting back"
    FAILED = "failed"


#: What each stage means.
TEXTS: dict[Stage, str] = {
    Stage.REQUESTED: "nothing was done yet",
    Stage.PREPARED: "profile set, netboot on",
    Stage.SWITCHED_OFF: "seen off, with netboot on",
    Stage.POWER_CYCLED: "seen off and on again; it boots its installer",
    Stage.INSTALLING: "its installer has begun",
    Stage.INSTALLED: "its installer has ended, netboot is off",
    Stage.PUTTING_BACK: "it failed; netboot is being put back",
    Stage.FAILED: "it failed",
}

#: Which stage may follow which.
TRANSITIONS: dict[Stage, tuple[Stage, ...]] = {
    Stage.REQUESTED: (Stage.PREPARED, Stage.PUTTING_BACK, Stage.FAILED),
    Stage.PREPARED: (Stage.SWITCHED_OFF, Stage.PUTTING_BACK, Stage.FAILED),
    Stage.SWITCHED_OFF: (Stage.POWER_CYCLED, Stage.PUTTING_BACK, Stage.FAILED),
    Stage.POWER_CYCLED: (Stage.INSTALLING, Stage.PUTTING_BACK, Stage.FAILED),
    Stage.INSTALLING: (Stage.INSTALLED, Stage.PUTTING_BACK, Stage.FAILED),
    Stage.INSTALLED: (),
    Stage.PUTTING_BACK: (Stage.FAILED,),
    Stage.FAILED: (),
}

#: Stages that are never left again.
ENDED = frozenset(stage for stage, following in TRANSITIONS.items() if not following)

#: Stages in which the node is looked at until it has followed, and the power command that brings them on.
POWERING: dict[Stage, PowerState] = {Stage.PREPARED: "off", Stage.SWITCHED_OFF: "on"}

#: After this part of a stage's deadline a command of which nothing is left is sent again, if the node is not so.
AGAIN_AFTER = 0.5

#: A command is sent this often at most.
MOST_TIMES = 2

#: Waits between two looks at a node, in seconds: the first, and the last of ever longer ones.
WAITS: dict[Stage, tuple[float, float]] = {
    Stage.REQUESTED: (1.0, 15.0),
    Stage.PREPARED: (1.0, 5.0),
    Stage.SWITCHED_OFF: (1.0, 5.0),
    Stage.POWER_CYCLED: (3.0, 15.0),
    Stage.INSTALLING: (3.0, 30.0),
    Stage.PUTTING_BACK: (1.0, 30.0),
}
GROWTH = 1.4


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each stage may take, in seconds."""

    prepare: float
    power: float
    start: float
    install: float

    def of(self, stage: Stage) -> float:
        """The deadline of a stage."""
        match stage:
            case Stage.PREPARED | Stage.SWITCHED_OFF:
                return self.power
            case Stage.POWER_CYCLED:
                return self.start
            case Stage.INSTALLING:
                return self.install
            case _:
                return self.prepare


Step = Literal["wait", "send", "next", "fail"]


@dataclass(frozen=True, slots=True)
class Command:
    """The power command that was marked in this stage. `event` is what Cobbler says of it, None before it was asked.

    `sent_at` is seconds since the epoch, `times` how often it was marked.
    """

    sent_at: float
    event: EventState | None = None
    error: str | None = None
    times: int = 1


def power_step(goal: PowerState, power: PowerState, command: Command | None, now: float, seconds: float) -> Step:
    """What to do about a node that is to be on or off.

    Args:
        command: the one that was marked; None when none was.
        seconds: the deadline; it counts from the command.
    """
    if power == goal:
        # while Cobbler is at it, its fence agent may fail on account of what we do next, and Cobbler repeat the command
        return "wait" if command is not None and command.event == "running" else "next"
    if command is None:
        return "send"
    if command.error is not None:
        return "fail"
    waited = now - command.sent_at
    if command.event == "lost" and waited >= seconds * AGAIN_AFTER and command.times < MOST_TIMES:
        return "send"  # Cobbler was restarted, or the worker died between the mark and the command
    return "fail" if waited >= seconds and command.event != "running" else "wait"


def install_step(stage: Stage, before: Installation, seen: Installation) -> Step:
    """What to do about a node that boots its installer, or is installed: `next` when the stage is over."""
    if not seen.is_newer_than(before):
        return "wait"
    if stage is Stage.POWER_CYCLED:
        return "next"
    return "wait" if seen.running else "next"


def pause(stage: Stage, looks: int) -> float:
    """Seconds until the next look, after so many in this stage."""
    first, longest = WAITS[stage]
    return float(min(longest, first * GROWTH**looks))


def diagram() -> str:
    """The stages as a Mermaid diagram, which the documentation shows."""
    lines = ["stateDiagram-v2", "    [*] --> requested"]
    for stage, following in TRANSITIONS.items():
        lines += [f"    {_name(stage)} --> {_name(each)}" for each in following]
    lines += [f"    {_name(stage)} --> [*]" for stage in TRANSITIONS if stage in ENDED]
    return "\n".join([*lines, *(f"    {_name(stage)}: {stage}<br/>{text}" for stage, text in TEXTS.items())])


def _name(stage: Stage) -> str:
    return stage.name.lower()
