"""One launch on one server: what is done when a worker died, a host is away, a script is lost, an abort was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import pytest

from cloudmesh_actors.clients.shell.model import Look, Phase, Script
from cloudmesh_actors.errors import (
    DeadlineExceeded,
    JobAborted,
    LeaseLost,
    OutcomeUnknown,
    ScriptFailed,
    Unreachable,
)
from cloudmesh_actors.launcher.deployment import PATIENCE_S, Deployment, Order, name_of
from cloudmesh_actors.launcher.model import LaunchState, Recipe
from cloudmesh_actors.launcher.printout import Printout
from cloudmesh_actors.launcher.records import Begun
from cloudmesh_actors.runs import HandedBack, Run

RECIPE = Recipe("it", "It", "", "script", (), (("setup", "{server}"), ("check",)), timeout=30)

RUNNING = Look(Phase.RUNNING, 1)
WELL = Look(Phase.ENDED, 2, 0, b"done\n", complete=True)
ABSENT = Look(Phase.ABSENT)

#: What a runner does when it is asked: gives a look, or raises.
Answer = Look | Exception


class Runner:
    """Answers looks from a list, the last one for ever, and remembers what it was told."""

    place = "here"

    def __init__(self, *looks: Answer, starts: Exception | bool = True) -> None:
        self._looks, self._starts = list(looks), starts
        self.told: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def start(self, script: Script) -> bool:
        self.told.append(("start", script.name))
        if isinstance(self._starts, Exception):
            raise self._starts
        return self._starts

    def look(self, name: str, since: int = 0) -> Look:
        answer = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        if isinstance(answer, Exception):
            raise answer
        return replace(answer, output=answer.output[since:])

    def abort(self, name: str) -> None:
        self.told.append(("abort", name))

    def forget(self, name: str) -> None:
        self.told.append(("forget", name))

    @property
    def started(self) -> list[str]:
        return [name for what, name in self.told if what == "start"]


class Notes:
    def __init__(self) -> None:
        self.noted: list[tuple[str, str]] = []
        self.texts: list[str] = []

    def starting(self, script: str, place: str) -> None:
        self.noted.append((script, place))

    def printed(self, text: str) -> None:
        self.texts.append(text)


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class StoppingRun(Run):
    """A run that is to stop after so many safe points."""

    number = 2

    def __init__(self, after: int = 10**9, error: Exception | None = None) -> None:
        self._after, self._error = after, error

    def checkpoint(self) -> None:
        self._after -= 1
        if self._after < 0 and self._error:
            raise self._error


def deploy(
    runner: Runner,
    *,
    recipe: Recipe = RECIPE,
    begun: Begun | None = None,
    run: Run | None = None,
    notes: Notes | None = None,
    allowed: Callable[[], None] = lambda: None,
    seconds: float = float("inf"),
) -> Printout:
    time = Time()
    printout = Printout("i001")
    deployment = Deployment(
        Order("step", "job", "i001", recipe, {}), runner, notes or Notes(), run=run or StoppingRun(),
        begun=begun or Begun(LaunchState.RUNNING), printout=printout, allowed=allowed, seconds=seconds,
        clock=time.clock, sleep=time.sleep,
    )  # fmt: skip
    deployment.carry_out()
    return printout


BEFORE = Begun(LaunchState.DEPLOY, script="step", place="here")


def test_a_script_is_started_once_its_name_is_written_down_and_followed_to_its_end() -> None:
    runner, notes = Runner(ABSENT, RUNNING, replace(RUNNING, output=b"one\n"), WELL), Notes()

    printout = deploy(runner, notes=notes)

    assert runner.started == ["step"]
    assert notes.noted == [("step", "here")]
    assert printout.text().startswith("one\n")


@pytest.mark.parametrize(
    ("looks", "error", "sentence"),
    [
        ([Look(Phase.ENDED, 1, 3, b"no disk\n", complete=True)], ScriptFailed,
         "i001: setup ended with status 3; it said last: no disk."),
        ([Look(Phase.ENDED, 2, 1, complete=True)], ScriptFailed, "i001: check ended with status 1."),
        ([Look(Phase.ENDED, 1, 127, complete=True)], ScriptFailed,
         "i001: setup ended with status 127 (there is no such program)."),
        ([Look(Phase.LATE, 1, complete=True)], DeadlineExceeded,
         "i001: the script was not over after 30 s, and was ended."),
        ([Look(Phase.KILLED, 1, complete=True)], ScriptFailed, "i001: the script was killed."),
        ([RUNNING, Look(Phase.LOST, 1, complete=True)], OutcomeUnknown,
         "i001: the script is gone and left no word; the host may have gone down."),
        ([Look(Phase.STARTING)], OutcomeUnknown, "i001: the script did not begin within 20 s; look there."),
        ([ABSENT], ScriptFailed, "i001: the script's folder went while it ran."),
    ],
)  # fmt: skip
def test_a_bad_end_is_a_sentence(looks: Sequence[Answer], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error) as told:
        deploy(Runner(ABSENT, *looks))
    assert str(told.value) == sentence


def test_the_end_is_taken_although_something_holds_the_output_open() -> None:
    deploy(Runner(ABSENT, Look(Phase.ENDED, 2, 0, b"done\n", complete=False)))


# -- after a worker's death


def test_a_script_from_before_is_asked_for_and_not_started_again() -> None:
    runner = Runner(RUNNING, RUNNING, WELL)

    assert deploy(runner, begun=BEFORE).text() == "done\n"
    assert runner.started == []


def test_a_script_that_was_written_down_and_never_came_there_is_started() -> None:
    runner = Runner(ABSENT, WELL)

    deploy(runner, begun=BEFORE)

    assert runner.started == ["step"]


def test_where_the_node_may_be_another_one_by_now_it_is_unknown() -> None:
    runner = Runner(ABSENT)

    with pytest.raises(OutcomeUnknown, match="installed anew; look there first"):
        deploy(runner, begun=BEFORE, recipe=replace(RECIPE, changes_node=True))
    assert runner.started == []


@pytest.mark.parametrize("begun", [BEFORE, replace(BEFORE, place="elsewhere")])
def test_what_is_lost_is_unknown_unless_the_recipe_may_be_repeated(begun: Begun) -> None:
    lost = Look(Phase.LOST, 1, complete=True)
    runner = Runner(lost, WELL)
    with pytest.raises(OutcomeUnknown, match="a worker died while the script ran"):
        deploy(runner, begun=begun)
    assert runner.started == []

    runner = Runner(lost, WELL) if begun is BEFORE else Runner(WELL)
    deploy(runner, begun=begun, recipe=replace(RECIPE, repeatable=True))
    assert runner.started == ["step-2"]


# -- hosts that are away


def test_a_host_that_does_not_answer_at_first_is_told_of_and_nothing_is_written_down() -> None:
    notes = Notes()

    with pytest.raises(Unreachable, match="away"):
        deploy(Runner(Unreachable("away")), notes=notes)
    assert notes.noted == []


def test_a_start_that_broke_off_is_asked_for() -> None:
    runner = Runner(ABSENT, RUNNING, WELL, starts=Unreachable("broke off"))
    deploy(runner)

    with pytest.raises(Unreachable, match="broke off"):
        deploy(Runner(ABSENT, ABSENT, starts=Unreachable("broke off")))


def test_a_host_may_be_away_for_a_while_and_its_script_goes_on() -> None:
    runner = Runner(ABSENT, RUNNING, *[Unreachable("away")] * 30, RUNNING, WELL)

    assert deploy(runner).text() == "done\n"


def test_a_host_that_stays_away_is_given_up_and_the_outcome_unknown() -> None:
    time_limit = PATIENCE_S + 10

    with pytest.raises(OutcomeUnknown, match="then the host did not answer: away"):
        deploy(Runner(ABSENT, RUNNING, Unreachable("away")), seconds=2 * time_limit)


# -- stopping


def test_an_abort_ends_the_script_and_takes_its_last_words() -> None:
    ended = Look(Phase.KILLED, 1, None, b"one\ntwo\n", complete=True)
    runner = Runner(ABSENT, RUNNING, RUNNING, ended)

    with pytest.raises(JobAborted):
        deploy(runner, run=StoppingRun(2, JobAborted("asked")))
    assert runner.told == [("start", "step"), ("abort", "step")]


def test_an_abort_before_the_start_starts_nothing() -> None:
    runner = Runner(ABSENT)

    with pytest.raises(JobAborted):
        deploy(runner, run=StoppingRun(0, JobAborted("asked")))
    assert runner.told == []


def test_a_run_that_is_handed_back_leaves_the_script_alone() -> None:
    runner = Runner(ABSENT, RUNNING)

    with pytest.raises(HandedBack):
        deploy(runner, run=StoppingRun(5, HandedBack()))
    assert runner.told == [("start", "step")]


def test_a_run_that_takes_too_long_gives_way_to_another() -> None:
    runner = Runner(ABSENT, RUNNING)

    with pytest.raises(HandedBack):
        deploy(runner, seconds=600)
    assert runner.told == [("start", "step")]


def test_without_the_lease_nothing_is_started() -> None:
    def lost() -> None:
        raise LeaseLost("i001: it is another's")

    runner = Runner(ABSENT)
    with pytest.raises(LeaseLost):
        deploy(runner, allowed=lost)
    assert runner.told == []


def test_output_is_written_down_while_the_script_runs() -> None:
    lines = [replace(RUNNING, output=b"".join(b"line %d\n" % n for n in range(count))) for count in range(1, 90)]
    notes = Notes()

    deploy(Runner(ABSENT, *lines, WELL), notes=notes)

    assert 1 <= len(notes.texts) < 10
    assert notes.texts[-1].startswith("line 0\n")


@pytest.mark.parametrize(
    ("step_id", "safe"), [("0c0999a4-ffe0-4ed4-a8ec-1285546efcdf", True), ("../etc", False), ("-rf", False), ("a b", 0)]
)
def test_the_name_of_a_script_is_the_steps_id_or_safe(step_id: str, safe: Any) -> None:
    assert (name_of(step_id) == step_id) is bool(safe)
    assert Script(name_of(step_id), (), 1).name
