"""The states of a provisioning: which there are, which event leads from one to the next, and what each means. Data.

`bin/provisioner-states` makes a part of ``docs/provisioner.md`` of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """How far the provisioning of a node has come."""

    INITIATING = "INITIATING"
    PREPARING_IMAGE = "PREPARING_IMAGE"
    BOOTING = "BOOTING"
    AVAILABLE = "AVAILABLE"
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"


class Event(StrEnum):
    """What brings a provisioning to another state."""

    ACCEPTED = "accepted"
    PREPARED = "prepared"
    INSTALLED = "installed"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    ABORTED = "aborted"


#: What each state means.
TEXTS: Mapping[State, str] = {
    State.INITIATING: "asked for; nothing was done yet",
    State.PREPARING_IMAGE: "the image is made ready, and the node is told to boot its installer",
    State.BOOTING: "switched off and on again, its installer works",
    State.AVAILABLE: "the image is installed; the node is to answer, and boots its own disk from now on",
    State.SUCCESS: "done",
    State.ERROR: "it came to nothing; the node boots its own disk again",
}

#: What has happened when an event comes.
EVENT_TEXTS: Mapping[Event, str] = {
    Event.ACCEPTED: "the node's lease is ours, and its driver knows the image",
    Event.PREPARED: "the image is ready, and the node boots its installer the next time",
    Event.INSTALLED: "the installation came to its end",
    Event.CONFIRMED: "the node answers, and nothing is armed any more",
    Event.FAILED: "a command, a deadline or the node failed, and what was armed is put back",
    Event.ABORTED: "somebody asked, and what was armed is put back",
}

_ENDINGS: Mapping[Event, State] = {Event.FAILED: State.ERROR, Event.ABORTED: State.ERROR}

#: Which event leads where.
TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.INITIATING: {Event.ACCEPTED: State.PREPARING_IMAGE, **_ENDINGS},
    State.PREPARING_IMAGE: {Event.PREPARED: State.BOOTING, **_ENDINGS},
    State.BOOTING: {Event.INSTALLED: State.AVAILABLE, **_ENDINGS},
    State.AVAILABLE: {Event.CONFIRMED: State.SUCCESS, **_ENDINGS},
    State.SUCCESS: {},
    State.ERROR: {},
}

#: States that are never left again.
ENDED = frozenset(state for state, following in TRANSITIONS.items() if not following)


def after(state: State, event: Event) -> State:
    """The state that an event leads to. One that does not belong there, as one that comes late, changes nothing."""
    return TRANSITIONS[state].get(event, state)


def diagram() -> str:
    """The states as a Mermaid diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.INITIATING}"]
    for state, following in TRANSITIONS.items():
        events: dict[State, list[str]] = {}
        for event, to in following.items():
            events.setdefault(to, []).append(event)
        lines += [f"    {state} --> {to}: {', '.join(names)}" for to, names in events.items()]
    lines += [f"    {state} --> [*]" for state in TRANSITIONS if state in ENDED]
    return "\n".join(lines)


def page() -> str:
    """The states as the documentation shows them: the diagram, and a table of states and of events."""
    states = [f"| `{state}` | {text} |" for state, text in TEXTS.items()]
    events = [f"| {event} | {text} |" for event, text in EVENT_TEXTS.items()]
    heads = ("| state | meaning |", "|---|---|"), ("| event | what happened |", "|---|---|")
    return "\n".join(["```mermaid", diagram(), "```", "", *heads[0], *states, "", *heads[1], *events])
