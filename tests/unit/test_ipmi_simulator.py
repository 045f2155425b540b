"""The simulated BMC: the same in every process, plausible, and one world for all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.clients.ipmi.simulator import DRIFT_S, PowerFile, SimulatedBmc, drift
from cloudmesh_actors.errors import DeadlineExceeded
from cloudmesh_actors.site.model import Bmc

NOON = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


Connect = Callable[..., SimulatedBmc]


@pytest.fixture
def connect(tmp_path: Path, clock: Clock) -> Connect:
    def connect(node: str = "i001", seed: int = 1, fault: str | None = None, seconds: float = 20.0) -> SimulatedBmc:
        bmc = Bmc(node, "", driver="simulator", seed=seed, fault=fault)  # type: ignore[arg-type]
        return SimulatedBmc(bmc, seconds, tmp_path, clock=clock, sleep=clock.sleep)

    return connect


def values(bmc: SimulatedBmc) -> list[float | None]:
    with bmc:
        return [reading.value for reading in bmc.sensors()]


def test_the_same_seed_node_and_time_measure_the_same(connect: Connect) -> None:
    assert values(connect()) == values(connect())


@pytest.mark.parametrize("other", [{"seed": 2}, {"node": "i002"}])
def test_other_seeds_and_nodes_measure_otherwise(connect: Connect, other: dict[str, object]) -> None:
    assert values(connect()) != values(connect(**other))


def test_what_is_measured_drifts(connect: Connect, clock: Clock) -> None:
    days = set()
    for _ in range(20):
        days.add(tuple(values(connect())))
        clock.now += DRIFT_S

    assert len(days) > 15


def test_a_healthy_node_stays_within_its_limits(connect: Connect, clock: Clock) -> None:
    for _ in range(200):
        clock.now += 777.0
        with connect() as bmc:
            assert {reading.state for reading in bmc.sensors()} == {"ok"}


@given(st.text(max_size=10), st.floats(0, 4e9), st.floats(0, 1))
def test_drift_is_smooth_and_bounded(seed: str, now: float, seconds: float) -> None:
    assert -1 <= drift(seed, now) <= 1
    assert abs(drift(seed, now + seconds) - drift(seed, now)) < 0.01


def test_another_process_measures_the_same(connect: Connect) -> None:
    code = f"from cloudmesh_actors.clients.ipmi.simulator import drift; print(drift('1/i001/FAN 1', {NOON}))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert float(output) == drift("1/i001/FAN 1", NOON)


def test_the_power_is_reported_when_it_is_reached_and_not_before(connect: Connect, clock: Clock) -> None:
    with connect() as bmc:
        bmc.power("soft")
        assert bmc.power_status() == "on"
        clock.sleep(5)
        assert bmc.power_status() == "off"
        bmc.power("on")
        assert bmc.power_status() == "off"
        clock.sleep(5)
        assert bmc.power_status() == "on"


def test_a_boot_from_the_network_is_asked_for_once(connect: Connect, clock: Clock) -> None:
    with connect() as bmc:
        assert bmc.boot_device() == "default"
        bmc.set_boot_device("network")
        bmc.power("off")
        clock.sleep(5)
        assert bmc.boot_device() == "network"
        bmc.power("on")
        clock.sleep(5)
        assert bmc.boot_device() == "default"
        bmc.set_boot_device("network")
        bmc.set_boot_device("default")
        assert bmc.boot_device() == "default"


def test_a_command_takes_the_place_of_one_that_was_still_to_come(connect: Connect, clock: Clock) -> None:
    with connect() as bmc:
        bmc.power("soft")
        bmc.power("on")
        clock.sleep(60)
        assert bmc.power_status() == "on"


def test_what_one_conversation_switches_the_next_one_sees(connect: Connect, clock: Clock) -> None:
    with connect() as bmc:
        bmc.power("off")
    clock.sleep(5)

    with connect() as bmc:
        assert bmc.power_status() == "off"
    with connect("i002") as bmc:
        assert bmc.power_status() == "on"


def test_a_node_that_is_off_draws_little_and_does_not_turn(connect: Connect, clock: Clock) -> None:
    with connect() as bmc:
        bmc.power("off")
        clock.sleep(5)
        read = {reading.name: reading for reading in bmc.sensors()}

    assert read["FAN 1"].value == 0.0
    assert read["PSU1 Power"].value == 6.0
    assert (read["CPU1 Temp"].value, read["CPU1 Temp"].state) == (None, "no reading")


def test_the_log_keeps_the_last_changes(connect: Connect, clock: Clock) -> None:
    with connect() as bmc:
        for command in ("off", "on") * 40:
            bmc.power(command)  # type: ignore[arg-type]
            clock.sleep(5)
        events = bmc.events()

    assert len(events) == 50
    assert [event.time for event in events] == sorted(event.time for event in events if event.time)


def test_a_slow_bmc_takes_its_time(connect: Connect, clock: Clock) -> None:
    with connect(fault="slow") as bmc:
        bmc.power_status()

    assert clock.now - NOON >= 2


def test_a_slow_bmc_can_be_too_slow(tmp_path: Path) -> None:
    bmc = Bmc("i001", "", driver="simulator", fault="slow")
    with SimulatedBmc(bmc, 0.05, tmp_path) as client, pytest.raises(DeadlineExceeded, match=r"^i001: .*0\.05 s"):
        client.sensors()


def test_a_node_that_was_never_switched_is_on(tmp_path: Path) -> None:
    assert PowerFile(tmp_path / "i001.json").state(NOON) == "on"
