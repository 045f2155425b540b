"""What is to be done next in a deploy: the whole logic, without a Cobbler, a clock or a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmesh_actors.clients.cobbler.model import EventState, Installation
from cloudmesh_actors.rain import stages
from cloudmesh_actors.rain.stages import ENDED, TEXTS, TRANSITIONS, WAITS, Command, Stage, install_step, power_step

NOW, SECONDS = 1_000.0, 60.0


def sent(ago: float, event: EventState | None = "complete", error: str | None = None, times: int = 1) -> Command:
    return Command(NOW - ago, event, error, times)


@pytest.mark.parametrize(
    ("power", "command", "step"),
    [
        ("off", None, "next"),  # it was off already
        ("on", None, "send"),
        ("on", sent(1, "running"), "wait"),
        ("off", sent(1, "running"), "wait"),  # a fence agent that is still at it would repeat itself
        ("off", sent(1, "complete"), "next"),
        ("off", sent(1, "lost"), "next"),
        ("off", sent(1, "complete", "command failed"), "next"),  # what counts is the node
        ("on", sent(1, "complete"), "wait"),
        ("on", sent(SECONDS, "complete"), "fail"),
        ("on", sent(SECONDS, "running"), "wait"),
        ("on", sent(1, "complete", "command failed"), "fail"),
        ("on", sent(1, "lost"), "wait"),  # it may be on its way yet
        ("on", sent(SECONDS * stages.AGAIN_AFTER, "lost"), "send"),
        ("on", sent(SECONDS * stages.AGAIN_AFTER, "lost", times=2), "wait"),  # never a third time
        ("on", sent(SECONDS, "lost", times=2), "fail"),
    ],
)
def test_a_node_that_is_to_be_off(power: str, command: Command | None, step: str) -> None:
    assert power_step("off", power, command, NOW, SECONDS) == step  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", [Stage.POWER_CYCLED, Stage.INSTALLING])
@pytest.mark.parametrize(
    ("before", "seen", "steps"),
    [
        (Installation(), Installation(), ("wait", "wait")),
        (Installation(), Installation(100.0), ("next", "wait")),
        (Installation(), Installation(100.0, 200.0), ("next", "next")),
        (Installation(100.0, 200.0), Installation(100.0, 200.0), ("wait", "wait")),  # the one before ours
        (Installation(100.0, 200.0), Installation(300.0, 200.0), ("next", "wait")),
        (Installation(100.0, 200.0), Installation(300.0, 400.0), ("next", "next")),
        (Installation(100.0), Installation(100.0, 400.0), ("wait", "wait")),  # that one, ended late
        (Installation(300.0, 400.0), Installation(), ("wait", "wait")),  # its log was rotated away
    ],
)
def test_only_an_installation_that_began_after_the_node_was_off_counts(
    stage: Stage, before: Installation, seen: Installation, steps: tuple[str, str]
) -> None:
    assert install_step(stage, before, seen) == steps[stage is Stage.INSTALLING]


def test_every_stage_has_a_text_a_way_in_and_a_way_out() -> None:
    reached = {following for each in TRANSITIONS.values() for following in each} | {Stage.REQUESTED}

    assert set(TEXTS) == set(TRANSITIONS) == set(Stage) == reached
    assert {Stage.INSTALLED, Stage.FAILED} == ENDED
    assert set(WAITS) == set(Stage) - ENDED


def test_looks_become_rarer_up_to_a_limit() -> None:
    for stage, (first, longest) in WAITS.items():
        waits = [stages.pause(stage, looks) for looks in range(50)]
        assert waits[0] == first
        assert waits == sorted(waits)
        assert waits[-1] == longest


def test_the_diagram_in_the_documentation_is_the_one_of_the_stages() -> None:
    text = (Path(__file__).parents[2] / "docs" / "rain.md").read_text()

    assert f"```mermaid\n{stages.diagram()}\n```" in text
