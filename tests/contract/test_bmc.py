"""What every BMC client keeps to: the simulated one, and the real one on an `ipmi_sim`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from ipmi_farm import HOT, ODD_SENSORS, PASSWORD, SESSIONS, USER, RealBmc, farm, free_address
from servers import require

from cloudmesh_actors.clients.ipmi.client import connect
from cloudmesh_actors.clients.ipmi.deadline import Deadline
from cloudmesh_actors.clients.ipmi.faults import Subject
from cloudmesh_actors.clients.ipmi.model import PowerState, Reading
from cloudmesh_actors.clients.ipmi.session import Session
from cloudmesh_actors.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    NodeError,
    SessionsExhausted,
    Unreachable,
)
from cloudmesh_actors.secret import Secret
from cloudmesh_actors.site.model import Bmc

NODE = "i001"
UNITS = {"temperature": "C", "voltage": "V", "fan": "RPM", "current": "A", "power": "W"}
STATES = {"ok", "warning", "critical", "no reading"}


class Bench(Protocol):
    """A BMC to test, in the condition that a test asks for."""

    def healthy(self) -> Bmc: ...
    def hot(self) -> Bmc: ...
    def with_a_dead_sensor(self) -> Bmc: ...
    def with_another_password(self) -> Bmc: ...
    def silent(self) -> Bmc: ...
    def without_sessions(self) -> Bmc: ...


class SimulatedBench:
    def _bmc(self, fault: str | None = None) -> Bmc:
        return Bmc(NODE, "", driver="simulator", user=USER, seed=7, fault=fault)  # type: ignore[arg-type]

    def healthy(self) -> Bmc:
        return self._bmc()

    def hot(self) -> Bmc:
        return self._bmc("hot")

    def with_a_dead_sensor(self) -> Bmc:
        return self._bmc("no-reading")

    def with_another_password(self) -> Bmc:
        return self._bmc("wrong-password")

    def silent(self) -> Bmc:
        return self._bmc("silent")

    def without_sessions(self) -> Bmc:
        return self._bmc("sessions-exhausted")


class RealBench:
    def __init__(self, machine: RealBmc, stack: ExitStack) -> None:
        self._machine, self._stack = machine, stack

    def _bmc(self, password: str = PASSWORD) -> Bmc:
        return Bmc(NODE, self._machine.address, self._machine.port, USER, Secret(password))

    def healthy(self) -> Bmc:
        return self._bmc()

    def hot(self) -> Bmc:
        upper_critical = HOT[1]
        self._machine.set_cpu1(upper_critical)
        wait_until(lambda: f"{upper_critical}.000" in self._machine.tool("sensor", "get", "CPU1 Temp"))
        return self._bmc()

    def with_a_dead_sensor(self) -> Bmc:
        return self._bmc()  # "DIMM Temp" is not scanned

    def with_another_password(self) -> Bmc:
        return self._bmc("not the password")

    def silent(self) -> Bmc:
        self._machine.hang()
        return self._bmc()

    def without_sessions(self) -> Bmc:
        subject = Subject(NODE, self._machine.address, self._machine.port, USER)
        for _ in range(SESSIONS):
            self._stack.enter_context(Session(subject, PASSWORD, Deadline(20, str(subject))))
        return self._bmc()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


@pytest.fixture(params=["simulator", "ipmi_sim"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(tmp_path / "state"))
    if request.param == "simulator":
        yield SimulatedBench()
        return
    for binary in ("ipmi_sim", "sdrcomp", "ipmitool"):
        require(binary)
    with farm(tmp_path / "farm", 1, ODD_SENSORS) as [machine], ExitStack() as stack:
        yield RealBench(machine, stack)


def read(bmc: Bmc) -> dict[str, Reading]:
    with connect(bmc) as client:
        readings = client.sensors()
    assert len({reading.name for reading in readings}) == len(readings)
    return {reading.name: reading for reading in readings}


def power_of(bmc: Bmc) -> PowerState:
    with connect(bmc) as client:
        return client.power_status()


class TestSensors:
    def test_each_has_a_name_a_kind_its_unit_a_state_and_a_time(self, bench: Bench) -> None:
        readings = read(bench.healthy()).values()

        assert {"temperature", "voltage", "fan", "power", "current"} <= {reading.kind for reading in readings}
        for reading in readings:
            assert reading.name.strip() == reading.name != ""
            assert reading.unit == UNITS[reading.kind]
            assert reading.state in STATES
            assert abs(datetime.now(UTC) - reading.time) < timedelta(minutes=1)

    def test_a_value_is_missing_exactly_when_there_is_no_reading(self, bench: Bench) -> None:
        readings = read(bench.with_a_dead_sensor()).values()

        dead = [reading for reading in readings if reading.state == "no reading"]
        assert dead
        assert all((reading.value is None) == (reading.state == "no reading") for reading in readings)

    def test_values_within_their_limits_are_ok(self, bench: Bench) -> None:
        cpu = read(bench.healthy())["CPU1 Temp"]

        assert cpu.value is not None
        assert cpu.thresholds.upper_critical is not None
        assert 0 < cpu.value < cpu.thresholds.upper_critical
        assert cpu.state == "ok"

    def test_a_hot_sensor_is_critical_and_its_limits_say_why(self, bench: Bench) -> None:
        cpu = read(bench.hot())["CPU1 Temp"]

        assert cpu.state == "critical"
        assert cpu.value is not None
        assert cpu.thresholds.upper_critical is not None
        assert cpu.value >= cpu.thresholds.upper_critical

    def test_names_are_readable_however_the_bmc_packs_them(self, bench: Bench) -> None:
        assert {"FAN 1", "12V", "CPU1 Temp"} <= set(read(bench.healthy()))


class TestPower:
    def test_a_node_goes_off_and_on_again(self, bench: Bench) -> None:
        bmc = bench.healthy()
        assert power_of(bmc) == "on"

        with connect(bmc) as client:
            client.power("off")
        wait_until(lambda: power_of(bmc) == "off")

        with connect(bmc) as client:
            client.power("on")
        wait_until(lambda: power_of(bmc) == "on")

    def test_a_node_can_be_asked_to_shut_down(self, bench: Bench) -> None:
        bmc = bench.healthy()

        with connect(bmc) as client:
            client.power("soft")

        wait_until(lambda: power_of(bmc) == "off")


class TestEvents:
    def test_the_log_of_a_node_that_was_hot_tells_so(self, bench: Bench) -> None:
        with connect(bench.hot()) as client:
            events = client.events()

        critical = [event for event in events if event.severity == "critical"]
        assert [event.sensor for event in critical] == ["CPU1 Temp"]
        assert "upper critical" in critical[0].text.lower()
        assert critical[0].asserted
        assert len(bytes.fromhex(critical[0].raw)) == 16

    def test_a_log_without_entries_is_an_empty_list(self, bench: Bench) -> None:
        with connect(bench.healthy()) as client:
            assert client.events() == []


class TestIdentity:
    def test_a_bmc_tells_its_firmware_and_its_ipmi_version(self, bench: Bench) -> None:
        with connect(bench.healthy()) as client:
            info = client.identify()

        assert info.firmware
        assert info.manufacturer
        assert info.ipmi_version == "2.0"


class TestTrouble:
    def test_a_wrong_password_is_a_sentence_at_once(self, bench: Bench) -> None:
        bmc = bench.with_another_password()

        with pytest.raises(AuthenticationFailed, match=rf"^{NODE}: .*password.*'{USER}'"):
            connect(bmc)

    def test_a_silent_bmc_is_unreachable(self, bench: Bench) -> None:
        bmc = bench.silent()

        with pytest.raises(Unreachable, match=rf"^{NODE}: .*does not answer"):
            connect(bmc)

    def test_a_silent_bmc_is_given_up_at_the_deadline(self, bench: Bench) -> None:
        bmc = bench.silent()

        with pytest.raises(DeadlineExceeded, match=rf"^{NODE}: .*0\.2 s"):
            connect(bmc, deadline=0.2)

    def test_a_bmc_without_a_free_session_says_so(self, bench: Bench) -> None:
        bmc = bench.without_sessions()

        with pytest.raises(SessionsExhausted, match=rf"^{NODE}: .*no free session"):
            connect(bmc)

    @pytest.mark.parametrize("trouble", ["with_another_password", "silent"])
    def test_trouble_leaves_the_bmc_free_for_the_next(self, bench: Bench, trouble: str) -> None:
        bmc = getattr(bench, trouble)()
        with pytest.raises(NodeError):
            connect(bmc, deadline=0.5)

        began = time.monotonic()
        with pytest.raises(NodeError):
            connect(bmc, deadline=0.5)
        assert time.monotonic() - began < 5


class TestConversation:
    def test_there_is_one_at_a_time(self, bench: Bench) -> None:
        bmc = bench.healthy()
        first = connect(bmc)
        began, ended = threading.Event(), threading.Event()

        def converse() -> None:
            began.set()
            with connect(bmc):
                ended.set()

        second = threading.Thread(target=converse)
        second.start()
        began.wait(10)
        assert not ended.wait(0.3)
        first.close()
        assert ended.wait(10)
        second.join()

    def test_the_wait_for_another_ends_at_the_deadline(self, bench: Bench) -> None:
        bmc = bench.healthy()
        with connect(bmc), pytest.raises(DeadlineExceeded, match=rf"^{NODE}: .*in conversation with this process"):
            connect(bmc, deadline=0.2)

    def test_it_may_be_closed_twice(self, bench: Bench) -> None:
        client = connect(bench.healthy())
        client.close()
        client.close()

    def test_many_follow_one_another(self, bench: Bench) -> None:
        bmc = bench.healthy()
        for _ in range(SESSIONS + 10):
            assert power_of(bmc) == "on"


def test_an_address_where_nobody_listens_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(tmp_path))
    address, port = free_address()

    with pytest.raises(Unreachable, match="nothing listening"):
        connect(Bmc(NODE, address, port, USER, Secret(PASSWORD)))
