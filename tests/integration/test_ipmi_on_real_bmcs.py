"""The IPMI client against `ipmi_sim`: what it reads, and what it makes of networks that lose, delay and double."""

from __future__ import annotations

import multiprocessing
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ipmi_farm import (
    ABSENT,
    BEHIND,
    ODD_SENSORS,
    PASSWORD,
    SENSORS,
    SESSIONS,
    USER,
    RealBmc,
    compile_records,
    farm,
    free_address,
    running,
    write_bmc,
)
from lossy import Fate, Proxy, delaying, doubling, losing, proxy, rough
from servers import require

from cloudmesh_actors.clients.ipmi.deadline import Deadline
from cloudmesh_actors.clients.ipmi.faults import Subject
from cloudmesh_actors.clients.ipmi.lan import IpmiClient, Memory
from cloudmesh_actors.clients.ipmi.model import Reading
from cloudmesh_actors.clients.ipmi.retransmission import Retransmission
from cloudmesh_actors.clients.ipmi.session import AnswerLost, Session
from cloudmesh_actors.errors import DeadlineExceeded, NodeError, OutcomeUnknown, ProtocolError, Unreachable
from cloudmesh_actors.secret import Secret
from cloudmesh_actors.site.model import Bmc

UNITS = {"C": "degrees C", "V": "Volts", "RPM": "RPM", "A": "Amps", "W": "Watts"}
STATES = {"ok": "ok", "ns": "no reading", "nc": "warning", "cr": "critical", "nr": "critical"}

Connect = Callable[..., IpmiClient]


@pytest.fixture(scope="module", autouse=True)
def binaries() -> None:
    for binary in ("ipmi_sim", "sdrcomp", "ipmitool"):
        require(binary)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[RealBmc]:
    with farm(tmp_path / "farm", 1) as [bmc]:
        yield bmc


def impatient(*arguments: Any, **options: Any) -> Session:
    """A session that gives a BMC up sooner, so that the tests do not take long."""
    return Session(*arguments, patience=0.5, timer=Retransmission(silence=1.0), **options)


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    def connect(
        place: RealBmc | Proxy,
        seconds: float = 60.0,
        *,
        user: str = USER,
        password: str = PASSWORD,
        cipher: int | None = None,
        memory: Memory | None = None,
        open_session: Callable[..., Session] = impatient,
    ) -> IpmiClient:
        bmc = Bmc("i001", place.address, place.port, user, Secret(password), cipher=cipher)
        return IpmiClient(bmc, seconds, tmp_path / "locks", memory=memory or Memory(), open_session=open_session)

    return connect


def session(place: RealBmc | Proxy, seconds: float = 60.0) -> Session:
    subject = Subject("i001", place.address, place.port, USER)
    return Session(subject, PASSWORD, Deadline(seconds, str(subject)), patience=0.5)


def names(readings: list[Reading]) -> list[str]:
    return [reading.name for reading in readings]


EXPECTED = [sensor.name for sensor in SENSORS]


class TestAgainstIpmitool:
    def test_readings_are_what_sdr_list_prints(self, tmp_path: Path, connect: Connect) -> None:
        with farm(tmp_path / "farm", 1, ODD_SENSORS) as [machine]:
            machine.set_cpu1(0x75)
            time.sleep(0.3)
            printed = [line.split("|") for line in machine.tool("sdr", "list").splitlines()]
            with connect(machine) as client:
                readings = client.sensors()

        numeric = [line for line in printed if "0x" not in line[1]]
        assert len(readings) == len(numeric) == len(ODD_SENSORS)
        for reading, (name, value, state), sensor in zip(readings, numeric, ODD_SENSORS, strict=True):
            assert reading.name.removesuffix(" (2)") == sensor.name
            if _is_printable_by_ipmitool(sensor.name):
                assert name.strip() == sensor.name
            assert reading.state == STATES[state.strip()]
            if reading.value is not None:
                assert f"{float(value.split()[0]):g} {value.split(maxsplit=1)[1].strip()}" == (
                    f"{reading.value:g} {UNITS[reading.unit]}"
                )
        assert readings[0].state == "warning"

    def test_limits_are_what_sensor_prints(self, machine: RealBmc, connect: Connect) -> None:
        printed = [[cell.strip() for cell in line.split("|")] for line in machine.tool("sensor").splitlines()]
        with connect(machine) as client:
            readings = client.sensors()

        for reading, cells in zip(readings, printed, strict=False):
            limits = [None if cell == "na" else float(cell) for cell in cells[4:10]]
            given = reading.thresholds
            assert limits == [
                given.lower_non_recoverable, given.lower_critical, given.lower_non_critical,
                given.upper_non_critical, given.upper_critical, given.upper_non_recoverable,
            ]  # fmt: skip
        assert readings[0].thresholds.upper_critical == 144.0

    def test_events_are_what_sel_list_prints(self, machine: RealBmc, connect: Connect) -> None:
        machine.set_cpu1(0xA5)
        time.sleep(0.3)
        printed = [[cell.strip() for cell in line.split("|")] for line in machine.tool("sel", "elist").splitlines()]
        with connect(machine) as client:
            events = client.events()

        assert [event.id for event in events] == [int(cells[0], 16) for cells in printed]
        assert len(events) == 3
        for event, cells in zip(events, printed, strict=True):
            assert cells[3].endswith(event.sensor)
            assert event.text.split(": ")[1].lower() in cells[4].lower()
            assert event.asserted == (cells[5] == "Asserted")

    def test_identity_is_what_mc_info_prints(self, machine: RealBmc, connect: Connect) -> None:
        with connect(machine) as client:
            info = client.identify()

        assert (info.manufacturer_id, info.product_id, info.firmware) == (0x1291, 0x0F02, "9.08")

    def test_power_is_what_the_chassis_was_told(self, machine: RealBmc, connect: Connect) -> None:
        with connect(machine) as client:
            client.power("off")
            assert client.power_status() == "off"
            client.power("on")
            assert client.power_status() == "on"
            client.power("soft")

        assert machine.commands == ["power 0", "power 1", "shutdown 1"]


def _is_printable_by_ipmitool(name: str) -> bool:
    """ipmitool prints packed names (capitals, digits and blanks only) as the bytes they are."""
    return name != name.upper()


class TestLogin:
    @pytest.mark.parametrize("cipher", [None, 3])
    def test_cipher_suites(self, machine: RealBmc, connect: Connect, cipher: int | None) -> None:
        with connect(machine, cipher=cipher) as client:
            assert client.power_status() == "on"

    def test_a_suite_that_the_bmc_has_not_is_told(self, machine: RealBmc, connect: Connect) -> None:
        with pytest.raises(ProtocolError, match="cipher suite"):
            connect(machine, cipher=17)

    def test_wrong_passwords_use_up_no_session(self, machine: RealBmc, connect: Connect) -> None:
        for _ in range(SESSIONS + 5):
            with pytest.raises(NodeError):
                connect(machine, password="wrong")

        with connect(machine) as client:
            assert client.power_status() == "on"

    @pytest.mark.parametrize(("user", "password"), [("u" * 17, PASSWORD), (USER, "p" * 21)])
    def test_what_ipmi_cannot_carry_is_refused_before_it_is_sent(
        self, machine: RealBmc, connect: Connect, user: str, password: str
    ) -> None:
        with proxy(machine.address, machine.port) as between:
            with pytest.raises(NodeError, match="longer than"):
                connect(between, user=user, password=password)
            assert between.requests == 0

    def test_a_server_that_is_no_bmc_is_told(self, connect: Connect) -> None:
        with (
            chattering_server(lambda data: b"HTTP/1.0 400\r\n") as server,
            pytest.raises(ProtocolError, match="not IPMI"),
        ):
            connect(server)

    @pytest.mark.parametrize("cut", [0, 1, 4, 13, 20])
    def test_a_server_that_sends_scraps_is_told(self, connect: Connect, cut: int) -> None:
        with chattering_server(lambda data: data[:cut]) as server, pytest.raises(NodeError):
            connect(server, 1.0)


@contextmanager
def chattering_server(reply: Callable[[bytes], bytes]) -> Iterator[Proxy]:
    """Something that listens where a BMC should, and says the wrong things."""
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind(("127.0.0.1", 0))
    channel.settimeout(0.05)
    stopped = threading.Event()

    def chatter() -> None:
        while not stopped.is_set():
            try:
                data, sender = channel.recvfrom(4096)
            except TimeoutError:
                continue
            channel.sendto(reply(data), sender)

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        yield type("Place", (), dict(zip(("address", "port"), channel.getsockname(), strict=True)))  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
        channel.close()


class TestRoughNetworks:
    @pytest.mark.parametrize(
        "fate", [losing(0.1), delaying(0.02), doubling(0.05), rough], ids=["losing", "delaying", "doubling", "rough"]
    )
    def test_all_is_read(self, tmp_path: Path, connect: Connect, fate: Fate) -> None:
        few = SENSORS[6:10]
        with (
            farm(tmp_path / "farm", 1, few) as [machine],
            proxy(machine.address, machine.port, fate) as between,
            connect(between, open_session=Session) as client,
        ):
            assert names(client.sensors()) == [sensor.name for sensor in few]

    def test_with_five_in_a_hundred_lost_all_of_64_answer(self, tmp_path: Path, connect: Connect) -> None:
        with ExitStack() as stack:
            machines = stack.enter_context(farm(tmp_path / "farm", 16))
            places = [
                stack.enter_context(proxy(m.address, m.port, losing(0.05), n)) for n, m in enumerate(machines * 4)
            ]
            memory = Memory()

            def read(place: Proxy) -> list[str]:
                with connect(place, memory=memory, open_session=Session) as client:
                    return names(client.sensors())

            began = time.monotonic()
            with ThreadPoolExecutor(64) as pool:
                assert list(pool.map(read, places)) == [EXPECTED] * 64
        assert time.monotonic() - began < 60

    def test_a_late_answer_to_power_is_not_taken_for_the_next_commands(self, machine: RealBmc) -> None:
        with proxy(machine.address, machine.port) as between, session(between) as talk:
            talk.request(0, 1)
            between.fate = delaying(0.8)
            with pytest.raises(AnswerLost):
                talk.request(0, 2, b"\0", repeat=False)
            between.fate = lambda chance: (0.6,)  # so that the late answer overtakes

            assert talk.request(0x0A, 0x20)[0] == 0x51
            assert talk.request(0, 1)[0] & 1 == 0
        assert machine.commands == ["power 0"]

    def test_a_late_answer_to_power_does_not_confirm_the_next_power_command(self, machine: RealBmc) -> None:
        with proxy(machine.address, machine.port) as between, session(between) as talk:
            talk.request(0, 1)
            between.fate = delaying(0.4)
            with pytest.raises(AnswerLost):
                talk.request(0, 2, b"\0", repeat=False)
            between.requests_to_lose = 1
            with pytest.raises(AnswerLost):
                talk.request(0, 2, b"\1", repeat=False)
        assert machine.commands == ["power 0"]

    def test_a_retransmitted_command_is_not_mixed_up_with_its_late_answers(self, machine: RealBmc) -> None:
        with proxy(machine.address, machine.port) as between, session(between) as talk:
            for turn in range(70):
                between.fate = delaying(0.25) if turn % 16 == 0 else delaying(0.0)
                number = turn % 22 + 1
                assert talk.request(4, 0x2D, bytes([number]))[0] == SENSORS[number - 1].raw


class TestChassisControl:
    def test_a_lost_answer_is_looked_after_and_the_command_is_sent_once(
        self, machine: RealBmc, connect: Connect
    ) -> None:
        with proxy(machine.address, machine.port) as between, connect(between) as client:
            client.power_status()
            between.answers_to_lose = 1
            client.power("off")

            assert client.power_status() == "off"
        assert machine.commands == ["power 0"]

    def test_a_lost_command_is_not_sent_again(self, machine: RealBmc, connect: Connect) -> None:
        with proxy(machine.address, machine.port) as between, connect(between) as client:
            client.power_status()
            between.requests_to_lose = 1
            with pytest.raises(OutcomeUnknown, match="did not confirm power 'off', and the node is on"):
                client.power("off")
        assert machine.commands == []

    def test_a_bmc_that_hangs_over_it_leaves_the_outcome_unknown(self, machine: RealBmc, connect: Connect) -> None:
        with connect(machine, 2.0) as client:
            client.power_status()
            machine.hang()
            with pytest.raises(OutcomeUnknown, match="Look at the node"):
                client.power("off")


class TestHangs:
    def test_a_bmc_that_falls_silent_in_mid_conversation_is_unreachable(
        self, machine: RealBmc, connect: Connect
    ) -> None:
        with connect(machine) as client:
            client.power_status()
            machine.hang()
            with pytest.raises(Unreachable, match="stopped answering"):
                client.sensors()

    def test_or_the_deadline_ends_it(self, machine: RealBmc, connect: Connect) -> None:
        with connect(machine, 1.0) as client:
            machine.hang()
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded, match="1 s"):
                client.sensors()
        assert time.monotonic() - began < 5

    def test_a_bmc_that_restarts_forgets_the_session_and_is_unreachable(
        self, machine: RealBmc, connect: Connect
    ) -> None:
        with connect(machine) as client:
            client.power_status()
            machine.stop()
            machine.start()
            machine.wait_until_ready()
            with pytest.raises(Unreachable, match="stopped answering"):
                client.power_status()


class TestNothingIsLeftBehind:
    def test_conversations_that_end_well_or_badly_give_their_sockets_back(
        self, machine: RealBmc, connect: Connect
    ) -> None:
        before = open_files()
        for _ in range(20):
            with connect(machine) as client:
                client.power_status()
            with pytest.raises(NodeError):
                connect(machine, password="wrong")
            with pytest.raises(RuntimeError), connect(machine) as client:
                raise RuntimeError
        with pytest.raises(NodeError):
            connect(machine, 0.0001)

        assert open_files() == before

    def test_the_bmc_is_told_that_the_session_ends(self, machine: RealBmc, connect: Connect) -> None:
        held = [session(machine) for _ in range(SESSIONS - 1)]
        for _ in range(5):  # there is one session left
            with connect(machine) as client:
                client.power_status()
        for talk in held:
            talk.close()

    def test_and_is_told_again_when_that_was_lost(self, machine: RealBmc, connect: Connect) -> None:
        held = [session(machine) for _ in range(SESSIONS - 1)]
        with proxy(machine.address, machine.port) as between:
            client = connect(between)
            between.requests_to_lose = 1
            client.close()
        with connect(machine) as client:
            assert client.power_status() == "on"
        for talk in held:
            talk.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestControllersBehind:
    def test_one_that_is_not_there_costs_its_own_sensors_only(self, tmp_path: Path, connect: Connect) -> None:
        sensors = [*SENSORS[:1], *(replace(SENSORS[1], number=n, name=f"Gone {n}", owner=ABSENT) for n in (50, 51))]
        with farm(tmp_path / "farm", 1, sensors) as [machine], connect(machine) as client:
            assert [reading.value for reading in client.sensors()] == [31.0, None, None]

    def test_its_answers_come_through_a_rough_network_too(self, tmp_path: Path, connect: Connect) -> None:
        sensors = [*SENSORS[:1], *(replace(SENSORS[n], owner=BEHIND) for n in (1, 2))]
        with (
            farm(tmp_path / "farm", 1, sensors) as [machine],
            proxy(machine.address, machine.port, doubling(0.02)) as between,
            connect(between, open_session=Session) as client,
        ):
            for _ in range(5):
                assert [reading.value for reading in client.sensors()] == [31.0, 32.0, 33.0]


class TestRepositories:
    def test_of_equal_bmcs_it_is_fetched_once(self, tmp_path: Path, connect: Connect) -> None:
        memory = Memory()
        with farm(tmp_path / "farm", 2) as machines:
            sent = [self.requests_of_a_reading(machine, connect, memory) for machine in machines]

        assert sent[1] < sent[0] - 2 * len(SENSORS)

    @pytest.mark.parametrize("void", [0, 0xFFFFFFFF])
    def test_with_a_void_time_stamp_each_bmcs_own_is_fetched(self, tmp_path: Path, connect: Connect, void: int) -> None:
        memory = Memory()
        first, second = SENSORS, tuple(replace(sensor, name=f"Other {sensor.number}") for sensor in SENSORS)
        machines = []
        for folder, sensors in (("one", first), ("two", second)):
            (tmp_path / folder).mkdir()
            records = stamped(compile_records(tmp_path / folder, sensors), void)
            machines.append(write_bmc(tmp_path / folder / "bmc", *free_address(), records, sensors))
        with running(machines):
            read = []
            for machine in machines:
                with connect(machine, memory=memory) as client:
                    read.append(names(client.sensors()))

        assert read == [[sensor.name for sensor in sensors] for sensors in (first, second)]

    def test_after_a_firmware_update_it_is_fetched_again(self, tmp_path: Path, connect: Connect) -> None:
        memory = Memory()
        with farm(tmp_path / "old", 1) as [machine]:
            with connect(machine, memory=memory) as client:
                client.sensors()
            machine.stop()
            records = stamped(compile_records(tmp_path, ODD_SENSORS), 1_800_000_000)
            updated = write_bmc(tmp_path / "new", machine.address, machine.port, records, ODD_SENSORS)
            with running([updated]), connect(updated, memory=memory) as client:
                assert len(client.sensors()) == len(ODD_SENSORS)

    @staticmethod
    def requests_of_a_reading(machine: RealBmc, connect: Connect, memory: Memory) -> int:
        with proxy(machine.address, machine.port) as between:
            with connect(between, memory=memory) as client:
                assert names(client.sensors()) == EXPECTED
            return between.requests


def stamped(records: bytes, stamp: int) -> bytes:
    """The repository with another time of its last addition."""
    end = records.index(b"\n")
    signed = struct.unpack("<i", struct.pack("<I", stamp))[0]
    return b"last_add_time:i:%d" % signed + records[end:]


class TestAmongProcesses:
    def test_one_process_at_a_time_talks_to_a_bmc(self, machine: RealBmc, connect: Connect, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        place = machine.address, machine.port, tmp_path / "locks"
        with connect(machine):
            other = context.Process(target=_try_to_converse, args=(*place, tmp_path / "said"))
            other.start()
            other.join(30)

        assert "in conversation with process" in (tmp_path / "said").read_text()
        assert str(os.getpid()) in (tmp_path / "said").read_text()


def _try_to_converse(address: str, port: int, locks: Path, said: Path) -> None:
    try:
        IpmiClient(Bmc("i001", address, port, USER, Secret(PASSWORD)), 0.3, locks)
    except NodeError as error:
        said.write_text(str(error))
