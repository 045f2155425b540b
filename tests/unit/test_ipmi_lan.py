"""The real client's understanding of answers, where an `ipmi_sim` cannot be made to give them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_bmc import ScriptedBmc, full_record

from cloudmesh_actors.clients.ipmi.lan import IpmiClient, Memory
from cloudmesh_actors.clients.ipmi.model import ChassisCommand
from cloudmesh_actors.clients.ipmi.session import AnswerLost
from cloudmesh_actors.errors import AuthenticationFailed, NodeError, OutcomeUnknown, ProtocolError, Unsupported
from cloudmesh_actors.secret import Secret
from cloudmesh_actors.site.model import Bmc

SET_BOOT, GET_BOOT = (0x00, 0x08), (0x00, 0x09)
GET_POWER, CHASSIS_CONTROL, CHASSIS_STATUS = (0x2C, 0x02), (0x00, 0x02), (0x00, 0x01)
SCANNED, NOT_SCANNED, UNAVAILABLE = 0xC0, 0x80, 0xE0
READABLE_LIMITS = 1 << 2
BEHIND = 0x2C

Connect = Callable[..., IpmiClient]


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    memory = Memory()

    def connect(bmc: ScriptedBmc) -> IpmiClient:
        place = Bmc("i001", bmc.address, 623, "admin", Secret("s3cret"))
        return IpmiClient(place, 20.0, tmp_path, memory=memory, open_session=lambda *_, **__: bmc)  # type: ignore[arg-type,return-value]

    return connect


def answer(code: int, data: str = "") -> Callable[[bytes], tuple[int, bytes]]:
    return lambda _: (code, bytes.fromhex(data))


def only_reading(connect: Connect, bmc: ScriptedBmc) -> Any:
    with connect(bmc) as client:
        [reading] = client.sensors()
    return reading


class TestReadings:
    def test_the_bmcs_own_comparison_is_the_state(self, connect: Connect) -> None:
        bmc = ScriptedBmc([full_record(1)], readings={1: bytes([42, SCANNED, 0b010000])})

        reading = only_reading(connect, bmc)

        assert (reading.value, reading.state) == (42.0, "critical")

    def test_without_it_the_limits_are_asked(self, connect: Connect) -> None:
        record = full_record(1, at11=READABLE_LIMITS)
        limits = {1: bytes([0b001000, 0, 0, 0, 40, 0, 0])}
        bmc = ScriptedBmc([record], readings={1: bytes([42, SCANNED])}, limits=limits)

        reading = only_reading(connect, bmc)

        assert (reading.state, reading.thresholds.upper_non_critical) == ("warning", 40.0)

    @pytest.mark.parametrize(
        "given",
        [bytes([0, NOT_SCANNED, 0]), bytes([0, UNAVAILABLE, 0]), bytes([0]), None],
        ids=["not scanned", "unavailable", "cut short", "refused"],
    )
    def test_no_reading_is_neither_nought_nor_minus_one(self, connect: Connect, given: bytes | None) -> None:
        bmc = ScriptedBmc([full_record(1)], readings={} if given is None else {1: given})

        reading = only_reading(connect, bmc)

        assert (reading.value, reading.state) == (None, "no reading")

    def test_another_controllers_sensor_is_asked_of_that_one(self, connect: Connect) -> None:
        own, other = bytes([42, SCANNED, 0]), bytes([60, SCANNED, 0])
        bmc = ScriptedBmc([full_record(1), full_record(1, at5=BEHIND)], readings={1: own}, behind={1: other})

        with connect(bmc) as client:
            assert [reading.value for reading in client.sensors()] == [42.0, 60.0]

    def test_a_controller_that_refuses_gives_no_reading(self, connect: Connect) -> None:
        assert only_reading(connect, ScriptedBmc([full_record(1, at5=BEHIND)], behind={})).state == "no reading"

    def test_a_controller_that_does_not_answer_is_not_asked_again(self, connect: Connect) -> None:
        bmc = ScriptedBmc([full_record(number, at5=BEHIND) for number in range(3)])

        with connect(bmc) as client:
            assert {reading.state for reading in client.sensors()} == {"no reading"}
        assert bmc.count(0x04, 0x2D) == 1

    def test_software_on_the_node_is_not_asked(self, connect: Connect) -> None:
        bmc = ScriptedBmc([full_record(1, at5=0x41)], behind={1: bytes([42, SCANNED, 0])})

        assert only_reading(connect, bmc).state == "no reading"
        assert bmc.count(0x04, 0x2D) == 0

    def test_a_curve_that_the_record_does_not_tell_is_asked_for(self, connect: Connect) -> None:
        bmc = ScriptedBmc(
            [full_record(1, at23=0x70)],
            readings={1: bytes([10, SCANNED, 0])},
            more={(0x04, 0x23): answer(0, "00 03 00 05 00 00 00")},
        )

        assert only_reading(connect, bmc).value == 35.0
        assert (0x04, 0x23, bytes([1, 10])) in bmc.sent

    def test_limits_are_remembered_until_the_repository_changes(self, connect: Connect) -> None:
        record = full_record(1, at11=READABLE_LIMITS)
        bmc = ScriptedBmc([record], readings={1: bytes([42, SCANNED, 0])}, limits={1: bytes(7)})
        for _ in range(3):
            only_reading(connect, bmc)
        assert bmc.count(0x04, 0x27) == 1

        bmc.added_at += 1
        only_reading(connect, bmc)
        assert bmc.count(0x04, 0x27) == 2

    def test_an_error_of_a_sensor_that_is_no_absence_is_an_error(self, connect: Connect) -> None:
        bmc = ScriptedBmc([full_record(1)], more={(0x04, 0x2D): answer(0xD4)})

        with pytest.raises(AuthenticationFailed, match=r"^i001: .*privilege"):
            only_reading(connect, bmc)


class TestPowerDraw:
    def test_dcmi_gives_a_reading_of_its_own(self, connect: Connect) -> None:
        bmc = ScriptedBmc([full_record(1)], more={GET_POWER: answer(0, "dc 2c01 0000 0000 0000 00000000 00000000 40")})

        with connect(bmc) as client:
            power = client.sensors()[-1]

        assert (power.name, power.kind, power.value, power.unit, power.state) == (
            "DCMI Power",
            "power",
            300.0,
            "W",
            "ok",
        )

    def test_dcmi_that_does_not_measure_gives_no_reading(self, connect: Connect) -> None:
        bmc = ScriptedBmc([full_record(1)], more={GET_POWER: answer(0, "dc 0000 0000 0000 0000 00000000 00000000 00")})

        with connect(bmc) as client:
            assert (client.sensors()[-1].value, client.sensors()[-1].state) == (None, "no reading")

    def test_a_bmc_without_dcmi_is_asked_once(self, connect: Connect) -> None:
        bmc = ScriptedBmc([full_record(1)])
        for _ in range(3):
            only_reading(connect, bmc)

        assert bmc.count(*GET_POWER) == 1


def losing_the_answer(status: str | None) -> ScriptedBmc:
    def lost(_: bytes) -> tuple[int, bytes]:
        raise AnswerLost

    known = answer(0xC3) if status is None else answer(0, "01" if status == "on" else "00")
    return ScriptedBmc(more={CHASSIS_CONTROL: lost, CHASSIS_STATUS: known})


class TestChassisControl:
    @pytest.mark.parametrize(("command", "body"), [("off", b"\0"), ("on", b"\1"), ("soft", b"\5")])
    def test_commands(self, connect: Connect, command: ChassisCommand, body: bytes) -> None:
        bmc = ScriptedBmc(more={CHASSIS_CONTROL: answer(0)})
        with connect(bmc) as client:
            client.power(command)

        assert bmc.sent == [(*CHASSIS_CONTROL, body)]

    def test_a_lost_answer_is_no_matter_when_the_node_is_as_wanted(self, connect: Connect) -> None:
        bmc = losing_the_answer("off")
        with connect(bmc) as client:
            client.power("off")

        assert bmc.count(*CHASSIS_CONTROL) == 1

    @pytest.mark.parametrize(("command", "status"), [("off", "on"), ("on", "off"), ("soft", "on"), ("off", None)])
    def test_else_the_outcome_is_unknown_and_nothing_is_repeated(
        self, connect: Connect, command: ChassisCommand, status: str | None
    ) -> None:
        bmc = losing_the_answer(status)
        with (
            connect(bmc) as client,
            pytest.raises(OutcomeUnknown, match=rf"^i001: .*did not confirm power '{command}'"),
        ):
            client.power(command)

        assert bmc.count(*CHASSIS_CONTROL) == 1

    def test_a_refusal_is_a_sentence(self, connect: Connect) -> None:
        with (
            connect(ScriptedBmc(more={CHASSIS_CONTROL: answer(0xD5)})) as client,
            pytest.raises(ProtocolError, match="not supported in present state"),
        ):
            client.power("on")

    def test_an_answer_that_is_cut_short_is_an_error(self, connect: Connect) -> None:
        with connect(ScriptedBmc(more={CHASSIS_STATUS: answer(0)})) as client, pytest.raises(ProtocolError):
            client.power_status()


class TestEventLog:
    @staticmethod
    def log(entries: list[bytes], circle: bool = False) -> ScriptedBmc:
        def entry(body: bytes) -> tuple[int, bytes]:
            number = int.from_bytes(body[2:4], "little")
            if number >= len(entries):
                return 0xCB, b""
            last = b"\0\0" if circle else b"\xff\xff"
            following = last if number == len(entries) - 1 else (number + 1).to_bytes(2, "little")
            return 0, following + entries[number]

        info = bytes([0x51, len(entries), 0]) + bytes(11)
        return ScriptedBmc([full_record(1)], more={(0x0A, 0x40): lambda _: (0, info), (0x0A, 0x43): entry})

    def test_all_entries_come_oldest_first(self, connect: Connect) -> None:
        with connect(self.log([bytes([n, 0, 2]) + bytes(13) for n in range(3)])) as client:
            assert [event.id for event in client.events()] == [0, 1, 2]

    @pytest.mark.parametrize(
        ("entry", "circle", "error"), [(bytes(16), True, "circle"), (bytes(10), False, "broken entry")]
    )
    def test_a_log_that_cannot_be_read_is_an_error(
        self, connect: Connect, entry: bytes, circle: bool, error: str
    ) -> None:
        with connect(self.log([entry], circle)) as client, pytest.raises(ProtocolError, match=error):
            client.events()

    def test_a_bmc_without_a_log_says_so(self, connect: Connect) -> None:
        with connect(ScriptedBmc()) as client, pytest.raises(Unsupported, match=r"^i001: .*cannot do this"):
            client.events()


def test_sensors_of_one_name_are_told_apart(connect: Connect) -> None:
    bmc = ScriptedBmc([full_record(n) for n in range(3)])
    with connect(bmc) as client:
        assert [reading.name for reading in client.sensors()] == ["Temp", "Temp (2)", "Temp (3)"]


@pytest.mark.parametrize("code", range(0xC0, 0x100))
def test_every_completion_code_becomes_a_sentence(connect: Connect, code: int) -> None:
    with connect(ScriptedBmc(more={CHASSIS_STATUS: answer(code)})) as client, pytest.raises(NodeError) as caught:
        client.power_status()

    assert str(caught.value).startswith("i001: the BMC at 127.0.0.1:623 ")
    assert str(caught.value).endswith(".")


class TestTheNextBoot:
    @pytest.mark.parametrize(
        ("told", "device"),
        [
            ("0105 8004000000", "network"),
            ("0105 e004000000", "network"),
            ("0105 0004000000", "default"),
            ("0105 8000000000", "default"),
            ("0105 8008000000", "other"),
            ("0185 8004000000", "default"),
        ],
        ids=["PXE", "PXE for good, EFI", "used up", "none", "disk", "locked"],
    )
    def test_is_what_the_boot_flags_say_while_they_count(self, connect: Connect, told: str, device: str) -> None:
        with connect(ScriptedBmc(more={GET_BOOT: answer(0, told)})) as client:
            assert client.boot_device() == device

    def test_from_the_network_is_once_and_not_forgotten_after_a_minute(self, connect: Connect) -> None:
        bmc = ScriptedBmc(more={SET_BOOT: answer(0)})
        with connect(bmc) as client:
            client.set_boot_device("network")
            client.set_boot_device("default")

        assert [body.hex() for netfn, command, body in bmc.sent] == ["0308", "058004000000", "0308", "050000000000"]

    def test_a_bmc_without_that_option_is_told_all_the_same(self, connect: Connect) -> None:
        bmc = ScriptedBmc(more={SET_BOOT: lambda body: (0x80 if body[0] == 3 else 0, b"")})
        with connect(bmc) as client:
            client.set_boot_device("network")

        assert bmc.sent[-1][2].hex() == "058004000000"

    def test_a_refusal_is_a_sentence(self, connect: Connect) -> None:
        with connect(ScriptedBmc(more={SET_BOOT: answer(0xD4)})) as client, pytest.raises(NodeError, match=r"^i001: "):
            client.set_boot_device("network")
