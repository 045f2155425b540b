"""The states of a provisioning, what is done in them, and the page that shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.provisioner import states, tasks
from cloudmesh_actors.provisioner.states import ENDED, EVENT_TEXTS, TEXTS, TRANSITIONS, Event, State, after
from cloudmesh_actors.provisioner.tasks import PAUSES, TASKS, WAITS_FOR, Command, Task, pause, power_step, prepare_step

PAGE = Path(__file__).parents[2] / "docs" / "provisioner.md"

GOOD_COURSE = (Event.ACCEPTED, Event.PREPARED, Event.INSTALLED, Event.CONFIRMED)


@given(st.lists(st.sampled_from(Event)))
def test_from_every_state_every_event_leads_to_a_documented_state(events: list[Event]) -> None:
    state, page = State.INITIATING, PAGE.read_text()
    for event in events:
        before, state = state, after(state, event)
        assert state in TEXTS
        assert f"| `{state}` |" in page
        assert state is before or f"    {before} --> {state}" in page
        assert before not in ENDED or state is before


def test_the_good_course_passes_every_state_but_one() -> None:
    seen = [State.INITIATING]
    for event in GOOD_COURSE:
        seen.append(after(seen[-1], event))
    assert seen == [state for state in State if state is not State.ERROR]


@pytest.mark.parametrize("event", [Event.FAILED, Event.ABORTED])
@pytest.mark.parametrize("state", [state for state in State if state not in ENDED])
def test_whatever_has_not_ended_can_fail(state: State, event: Event) -> None:
    assert after(state, event) is State.ERROR


def test_everything_has_its_text() -> None:
    assert set(TRANSITIONS) == set(TEXTS) == set(TASKS) == set(State)
    assert set(EVENT_TEXTS) == set(Event)
    assert set(PAUSES) == set(WAITS_FOR) == set(Task)


def test_the_page_shows_the_states_as_they_are() -> None:
    assert f"<!-- states -->\n\n{states.page()}\n\n<!-- end of states -->" in PAGE.read_text(), (
        "bin/provisioner-states writes them anew"
    )


def test_waits_grow_and_have_an_end() -> None:
    for task in Task:
        waits = [pause(task, looks) for looks in range(200)]
        assert waits == sorted(waits)
        assert waits[-1] == PAUSES[task][1] <= 30


class TestAPowerCommand:
    def test_is_sent_when_none_was_and_the_node_is_otherwise(self) -> None:
        assert power_step("off", "on", None, now=100, seconds=60) == "do"

    @pytest.mark.parametrize("goal", ["on", "off"])
    def test_is_not_sent_to_a_node_that_is_so(self, goal: tasks.PowerState) -> None:
        assert power_step(goal, goal, None, now=100, seconds=60) == "next"

    def test_is_waited_for_while_it_is_carried_out(self) -> None:
        running = Command(0, "running")
        assert power_step("off", "off", running, now=1, seconds=60) == "wait"
        assert power_step("off", "on", running, now=1000, seconds=60) == "wait"

    @pytest.mark.parametrize(
        ("waited", "times", "step"), [(29, 1, "wait"), (31, 1, "do"), (31, 2, "wait"), (61, 2, "fail")]
    )
    def test_that_nobody_knows_of_is_repeated_once_after_half_the_deadline(
        self, waited: float, times: int, step: tasks.Step
    ) -> None:
        lost = Command(0, "lost", times=times)
        assert power_step("off", "on", lost, now=waited, seconds=60) == step

    def test_that_was_taken_is_never_repeated(self) -> None:
        taken = Command(0, "complete")
        assert power_step("off", "on", taken, now=59, seconds=60) == "wait"
        assert power_step("off", "on", taken, now=61, seconds=60) == "fail"

    def test_that_failed_is_not_waited_for(self) -> None:
        assert power_step("off", "on", Command(0, "failed", "no such agent"), now=1, seconds=60) == "fail"


@pytest.mark.parametrize(
    ("seen", "confirmed", "step"),
    [
        ("none", False, "do"),
        ("none", True, "next"),
        ("underway", False, "wait"),
        ("underway", True, "wait"),
        ("done", False, "next"),
        ("done", True, "next"),
    ],
)
def test_an_image_is_prepared_once(seen: tasks.Preparation, confirmed: bool, step: tasks.Step) -> None:
    assert prepare_step(seen, confirmed) == step
