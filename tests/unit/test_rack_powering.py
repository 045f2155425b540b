"""Power on, off, cycle and soft: what is sent, when, and what is known after a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.clients.ipmi.model import ChassisCommand, PowerState
from cloudmesh_actors.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    JobAborted,
    LeaseLost,
    NodeError,
    OutcomeUnknown,
    ProtocolError,
    Unreachable,
)
from cloudmesh_actors.rack.model import PowerAction
from cloudmesh_actors.rack.powering import (
    COMMANDS,
    GOALS,
    Finished,
    Powering,
    Send,
    Wait,
    decide,
    mark_of,
    sent_by,
)
from cloudmesh_actors.runs import HandedBack, Run
from cloudmesh_actors.stagger import Groups, PowerOns, Turn, Turns

NODE = "i001"


@pytest.mark.parametrize(
    ("action", "sent", "power", "step"),
    [
        ("on", None, "off", Send("on")),
        ("on", None, "on", Finished("on", "already on")),
        ("on", "on", "off", Wait("on")),
        ("on", "on", "on", Finished("on", "switched on")),
        ("off", None, "off", Finished("off", "already off")),
        ("off", None, "on", Send("off")),
        ("soft", None, "on", Send("soft")),
        ("soft", None, "off", Finished("off", "already off")),
        ("soft", "soft", "on", Wait("soft")),
        ("soft", "soft", "off", Finished("off", "switched off")),
        ("cycle", None, "on", Send("off")),
        ("cycle", None, "off", Send("on")),
        ("cycle", "off", "on", Wait("off")),
        ("cycle", "off", "off", Send("on")),
        ("cycle", "on", "off", Wait("on")),
        ("cycle", "on", "on", Finished("on", "switched on")),
    ],
)
def test_what_to_do_next(action: PowerAction, sent: ChassisCommand | None, power: PowerState, step: object) -> None:
    assert decide(action, sent, power) == step


@pytest.mark.parametrize("action", COMMANDS)
def test_a_mark_tells_which_command_may_have_been_sent(action: PowerAction) -> None:
    for command in COMMANDS[action]:
        assert sent_by(action, mark_of(command)) == command
    assert sent_by(action, None) is None


class Died(BaseException):
    """The worker is killed."""


class Hardware:
    """A node with a clock of its own: it follows a command after `delay` seconds."""

    def __init__(self, power: PowerState, delay: float = 2.0) -> None:
        self.now = 0.0
        self.power, self.delay = power, delay
        self.sent: list[ChassisCommand] = []
        self.marks: dict[str, str] = {}
        self.history: list[PowerState] = []
        self.errors: Iterator[NodeError | None] = iter(())
        self.refusal: NodeError | None = None
        self.follows = True
        self._coming: tuple[float, PowerState] | None = None

    def state(self) -> PowerState:
        if self._coming and self.now >= self._coming[0]:
            self.power, self._coming = self._coming[1], None
            self.history.append(self.power)
        return self.power

    def take(self, command: ChassisCommand) -> None:
        self.sent.append(command)
        if self.refusal:
            raise self.refusal
        if self.follows:
            self._coming = self.now + self.delay, GOALS[command]

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.state()

    def connect(self) -> Conversation:
        if error := next(self.errors, None):
            raise error
        return Conversation(self)


class Conversation:
    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware

    def power_status(self) -> PowerState:
        return self._hardware.state()

    def power(self, command: ChassisCommand) -> None:
        assert self._hardware.marks[NODE] == mark_of(command), "the mark is set before the command is sent"
        self._hardware.take(command)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class MarkingRun(Run):
    def __init__(self, marks: dict[str, str]) -> None:
        self._marks = marks

    def mark(self, node: str, stage: str) -> None:
        self._marks[node] = stage

    def marks(self) -> dict[str, str]:
        return dict(self._marks)


def carry_out(
    hardware: Hardware,
    action: PowerAction,
    run: Run | None = None,
    may_send: Callable[[], None] = lambda: None,
    turn: Turn | None = None,
) -> Finished:
    return Powering(
        NODE,
        action,
        hardware.connect,  # type: ignore[arg-type]
        run or MarkingRun(hardware.marks),
        mark=hardware.marks.get(NODE),
        seconds=60.0,
        may_send=may_send,
        turn=turn,
        clock=lambda: hardware.now,
        sleep=hardware.sleep,
    ).carry_out()


class TestOneRun:
    @pytest.mark.parametrize(
        ("action", "power", "sent", "note"),
        [
            ("on", "off", ["on"], "switched on"),
            ("off", "on", ["off"], "switched off"),
            ("soft", "on", ["soft"], "switched off"),
            ("cycle", "on", ["off", "on"], "switched on"),
            ("cycle", "off", ["on"], "switched on"),
            ("on", "on", [], "already on"),
            ("off", "off", [], "already off"),
        ],
    )
    def test_each_command_is_sent_once(
        self, action: PowerAction, power: PowerState, sent: list[str], note: str
    ) -> None:
        hardware = Hardware(power)

        assert carry_out(hardware, action) == Finished(note.rsplit(maxsplit=1)[-1], note)
        assert hardware.sent == sent

    def test_in_a_cycle_on_is_sent_only_when_off_was_seen(self) -> None:
        hardware = Hardware("on", delay=20.0)

        carry_out(hardware, "cycle")

        assert hardware.history == ["off", "on"]

    @pytest.mark.parametrize(
        ("action", "advice"), [("soft", "`off` cuts the power"), ("off", "reset of the BMC"), ("cycle", "reset")]
    )
    def test_a_node_that_does_not_follow_is_told_with_what_to_do(self, action: PowerAction, advice: str) -> None:
        hardware = Hardware("on")
        hardware.follows = False

        with pytest.raises(DeadlineExceeded, match=rf"^{NODE}: .*60 s the node is on.*{advice}"):
            carry_out(hardware, action)
        assert len(hardware.sent) == 1

    def test_a_bmc_that_does_not_answer_at_first_ends_it(self) -> None:
        hardware = Hardware("on")
        hardware.errors = iter([Unreachable("i001: gone.")])

        with pytest.raises(Unreachable):
            carry_out(hardware, "off")
        assert hardware.sent == []
        assert hardware.marks == {}

    def test_a_bmc_that_restarts_with_its_node_is_asked_again(self) -> None:
        hardware = Hardware("on")
        hardware.errors = iter([None, *[Unreachable("i001: gone.")] * 5])

        assert carry_out(hardware, "cycle") == Finished("on", "switched on")
        assert hardware.sent == ["off", "on"]

    def test_a_bmc_that_stays_away_is_told_with_what_was_sent(self) -> None:
        hardware = Hardware("on")
        hardware.errors = iter([None, *[Unreachable("i001: gone.")] * 1000])

        with pytest.raises(Unreachable, match=r"gone.*'off' was sent before"):
            carry_out(hardware, "off")

    def test_a_password_that_was_changed_meanwhile_ends_it(self) -> None:
        hardware = Hardware("on")
        hardware.errors = iter([None, AuthenticationFailed("i001: no.")])

        with pytest.raises(AuthenticationFailed):
            carry_out(hardware, "off")

    def test_a_refused_command_is_an_error_at_once(self) -> None:
        hardware = Hardware("on")
        hardware.refusal = ProtocolError("i001: refused.")

        with pytest.raises(ProtocolError, match=r"^i001: refused\.$"):
            carry_out(hardware, "off")
        assert hardware.now == 0.0

    def test_a_cycle_whose_second_half_is_refused_says_that_the_node_is_off(self) -> None:
        hardware = Hardware("on")

        def refuse_from_now_on(seconds: float) -> None:
            hardware.refusal = ProtocolError("i001: refused.")
            Hardware.sleep(hardware, seconds)

        hardware.sleep = refuse_from_now_on  # type: ignore[method-assign]

        with pytest.raises(ProtocolError, match="it is off now"):
            carry_out(hardware, "cycle")

    def test_a_command_whose_answer_was_lost_is_done_when_it_is_seen(self) -> None:
        hardware = Hardware("on")
        answered = hardware.take

        def lose_the_answer(command: ChassisCommand) -> None:
            answered(command)
            raise OutcomeUnknown("i001: not confirmed.")

        hardware.take = lose_the_answer  # type: ignore[method-assign]

        assert carry_out(hardware, "cycle") == Finished("on", "switched on")
        assert hardware.sent == ["off", "on"]

    def test_and_unknown_when_it_is_not(self) -> None:
        hardware = Hardware("on")
        hardware.refusal = OutcomeUnknown("i001: not confirmed.")

        with pytest.raises(OutcomeUnknown, match="not confirmed"):
            carry_out(hardware, "off")
        assert hardware.sent == ["off"]


class TestTheLease:
    """Whether the node is still this job's is asked before each command."""

    @pytest.mark.parametrize(("looks", "sent", "words"), [(0, [], "gone"), (2, ["off"], "gone.*it is off now")])
    def test_without_it_nothing_more_is_sent(self, looks: int, sent: list[str], words: str) -> None:
        hardware = Hardware("on")
        answers = iter([None] * looks)

        def may_send() -> None:
            if next(answers, LeaseLost) is not None:
                raise LeaseLost("i001: gone.")

        with pytest.raises(LeaseLost, match=words):
            carry_out(hardware, "cycle", may_send=may_send)
        assert hardware.sent == sent
        assert hardware.marks == ({NODE: mark_of("off")} if sent else {})

    def test_it_is_looked_at_after_the_mark_was_set_too(self) -> None:
        hardware = Hardware("on")

        def may_send() -> None:
            if hardware.marks:
                raise LeaseLost("i001: gone.")

        with pytest.raises(LeaseLost):
            carry_out(hardware, "off", may_send=may_send)
        assert hardware.sent == []


class TestItsTurn:
    """Nodes are switched on in groups."""

    @staticmethod
    def turn(hardware: Hardware, run: Run | None = None) -> Turn:
        """One whose group starts at 300 s."""
        turns = Turns(Groups(1, 300.0), lambda: hardware.now)
        turns.reserve()
        return PowerOns(run or Run(), total=2, turns=turns, sleep=hardware.sleep).turn()

    @pytest.mark.parametrize(
        ("action", "power", "sent"), [("on", "off", ["on"]), ("cycle", "off", ["on"]), ("cycle", "on", ["off", "on"])]
    )
    def test_on_is_sent_when_it_has_come(self, action: PowerAction, power: PowerState, sent: list[str]) -> None:
        hardware = Hardware(power)

        assert carry_out(hardware, action, turn=self.turn(hardware)) == Finished("on", "switched on")
        assert hardware.sent == sent
        assert 300.0 < hardware.now < 320.0

    @pytest.mark.parametrize(("action", "power"), [("on", "on"), ("off", "on"), ("soft", "on")])
    def test_what_is_not_switched_on_needs_none(self, action: PowerAction, power: PowerState) -> None:
        hardware = Hardware(power)
        turn = self.turn(hardware)
        carry_out(hardware, action, turn=turn)

        assert hardware.now < 20.0
        assert turn._at is None

    def test_nobody_talks_to_the_bmc_while_it_waits(self) -> None:
        hardware = Hardware("off")
        looks: list[float] = []
        state = hardware.state
        hardware.state = lambda: (looks.append(hardware.now), state())[1]  # type: ignore[method-assign,func-returns-value]
        hardware.sleep = lambda seconds: setattr(hardware, "now", hardware.now + seconds)  # type: ignore[method-assign]

        carry_out(hardware, "on", turn=self.turn(hardware))

        assert [moment for moment in looks if 0.0 < moment < 300.0] == []

    @pytest.mark.parametrize(
        ("power", "error", "words"), [("off", JobAborted, r"^aborted\.$"), ("on", NodeError, "aborted.*it is off now")]
    )
    def test_an_abort_while_it_waits_is_told_with_how_the_node_was_left(
        self, power: PowerState, error: type[Exception], words: str
    ) -> None:
        hardware = Hardware(power)

        class AbortedRun(MarkingRun):
            def checkpoint(self) -> None:
                raise JobAborted("aborted.")

        with pytest.raises(error, match=words):
            carry_out(hardware, "cycle", turn=self.turn(hardware, AbortedRun(hardware.marks)))
        assert "on" not in hardware.sent

    def test_a_run_that_is_handed_back_goes_on_from_there(self) -> None:
        hardware = Hardware("on")

        class StoppedRun(MarkingRun):
            def checkpoint(self) -> None:
                raise HandedBack

        with pytest.raises(HandedBack):
            carry_out(hardware, "cycle", turn=self.turn(hardware, StoppedRun(hardware.marks)))
        assert carry_out(hardware, "cycle") == Finished("on", "switched on")
        assert hardware.sent == ["off", "on"]


class TestAfterACrash:
    """The worker is killed at every possible moment, and another one goes on."""

    @staticmethod
    def dying(hardware: Hardware, at_mark: int | None, at_command: int | None) -> None:
        take, marks = hardware.take, 0

        class DyingRun(MarkingRun):
            def mark(self, node: str, stage: str) -> None:
                nonlocal marks
                super().mark(node, stage)
                marks += 1
                if marks == at_mark:
                    raise Died

        def take_and_die(command: ChassisCommand) -> None:
            take(command)
            if len(hardware.sent) == at_command:
                raise Died

        hardware.take = take_and_die  # type: ignore[method-assign]
        with pytest.raises(Died):
            carry_out(hardware, "cycle", DyingRun(hardware.marks))
        hardware.take = take  # type: ignore[method-assign]

    @pytest.mark.parametrize("command", [1, 2])
    def test_a_command_that_was_sent_is_not_sent_again(self, command: int) -> None:
        hardware = Hardware("on")
        self.dying(hardware, at_mark=None, at_command=command)

        assert carry_out(hardware, "cycle") == Finished("on", "switched on")
        assert hardware.sent == ["off", "on"]
        assert hardware.history == ["off", "on"]

    def test_when_off_was_perhaps_not_sent_the_outcome_is_unknown(self) -> None:
        hardware = Hardware("on")
        self.dying(hardware, at_mark=1, at_command=None)

        with pytest.raises(OutcomeUnknown, match=rf"^{NODE}: a worker died while it sent power 'off'.*the node is on"):
            carry_out(hardware, "cycle")
        assert hardware.sent == []

    def test_when_on_was_perhaps_not_sent_the_outcome_is_unknown(self) -> None:
        hardware = Hardware("on")
        self.dying(hardware, at_mark=2, at_command=None)

        with pytest.raises(OutcomeUnknown, match=r"sent power 'on'.*the node is off"):
            carry_out(hardware, "cycle")
        assert hardware.sent == ["off"]

    def test_when_the_bmc_does_not_answer_then_the_outcome_is_unknown(self) -> None:
        hardware = Hardware("on")
        hardware.marks[NODE] = mark_of("off")
        hardware.errors = iter([Unreachable("i001: gone.")] * 1000)

        with pytest.raises(OutcomeUnknown, match="the BMC does not say"):
            carry_out(hardware, "off")

    @pytest.mark.parametrize(("action", "power"), [("on", "on"), ("off", "off"), ("soft", "off")])
    def test_a_node_that_is_seen_as_wanted_is_well(self, action: PowerAction, power: PowerState) -> None:
        hardware = Hardware(power)
        hardware.marks[NODE] = mark_of(COMMANDS[action][0])

        assert carry_out(hardware, action) == Finished(power, f"switched {power}")
        assert hardware.sent == []


@given(
    st.sampled_from(sorted(COMMANDS)),
    st.sampled_from(["on", "off"]),
    st.lists(st.booleans(), max_size=20),
    st.floats(0.1, 50.0),
)
def test_whatever_fails_between_no_command_is_sent_twice(
    action: PowerAction, power: PowerState, failures: list[bool], delay: float
) -> None:
    hardware = Hardware(power, delay)
    hardware.errors = iter([Unreachable("i001: gone.") if fails else None for fails in failures])
    for _ in range(3):
        try:
            carry_out(hardware, action)
        except NodeError:
            continue
        break

    assert len(hardware.sent) == len(set(hardware.sent))
    assert all(command in COMMANDS[action] for command in hardware.sent)
