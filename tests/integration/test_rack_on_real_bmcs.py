"""The rack's actors on a site of real BMCs, one of them silent, one with another password."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from ipmi_farm import PASSWORD, SENSORS, USER, RealBmc, farm
from servers import require

from cloudmesh_actors import runs, settings, steps, store
from cloudmesh_actors.rack import actors, records

COUNT = 4
SILENT, LOCKED = "i003", "i004"
STEP = "0123456789abcdef"


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[RealBmc]]:
    for binary in ("ipmi_sim", "sdrcomp", "ipmitool"):
        require(binary)
    with farm(tmp_path / "farm", COUNT) as bmcs:
        yield bmcs


@pytest.fixture(autouse=True)
def real_site(machines: list[RealBmc], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mute.bind(("127.0.0.1", 0))
    lines = [f'clusters: {{india: {{nodes: "i[001-{COUNT:03}]"}}}}', "bmcs:"]
    for number, machine in enumerate(machines, start=1):
        node = f"i{number:03}"
        address, port = mute.getsockname() if node == SILENT else (machine.address, machine.port)
        password = "WRONG" if node == LOCKED else "RIGHT"
        lines.append(
            f"  {node}: {{address: {address}, port: {port}, user: {USER}, password: {{env: {password}}}, driver: ipmi}}"
        )
    (tmp_path / "site.yaml").write_text("\n".join(lines) + "\n")
    environment = {
        "CLOUDMESH_SITE": str(tmp_path / "site.yaml"),
        "CLOUDMESH_STATE_DIR": str(tmp_path / "state"),
        "CLOUDMESH_BROKER_URL": "stub://",
        "CLOUDMESH_POWER_DEADLINE": "1.5",
        "CLOUDMESH_BMC_DEADLINE": "15",
        "RIGHT": PASSWORD,
        "WRONG": "not the password",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings.reset()
    store.reset()
    yield
    mute.close()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def test_readings_are_what_ipmitool_prints_and_troubled_bmcs_are_a_sentence_each(machines: list[RealBmc]) -> None:
    machines[1].set_cpu1(77)
    wait_until(lambda: "77 (" in machines[1].tool("sdr", "get", "CPU1 Temp"))

    results = {result["node"]: result for result in actors.read_sensors("@india")}

    for number, machine in enumerate(machines[:2], start=1):
        printed = [line.split("|") for line in machine.tool("sdr", "list").splitlines() if "0x" not in line]
        read = results[f"i{number:03}"]["readings"]
        assert [reading["name"] for reading in read] == [sensor.name for sensor in SENSORS]
        assert [reading["value"] for reading in read] == [float(value.split()[0]) for _, value, _ in printed]
        assert [reading["state"] for reading in read] == [state.strip() for _, _, state in printed]
    assert results["i002"]["readings"][0]["value"] == 77.0
    assert (results[SILENT]["error_kind"], results[LOCKED]["error_kind"]) == ("unreachable", "authentication")
    assert results[LOCKED]["error"].startswith(f"{LOCKED}: ")
    assert [entry["ok"] for entry in records.latest()] == [True] * 2 + [False] * 2


def test_no_password_is_in_what_is_stored(tmp_path: Path) -> None:
    actors.read_sensors(f"i001,{LOCKED}")
    store.current().close()

    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert PASSWORD.encode() not in kept
    assert b"not the password" not in kept


def test_a_cycle_is_off_seen_off_on_seen_on(machines: list[RealBmc]) -> None:
    results = actors.power("i[001-002]", "cycle")

    assert [(result["ok"], result["power"]) for result in results] == [(True, "on")] * 2
    assert [machine.commands for machine in machines[:2]] == [["power 0", "power 1"]] * 2


def test_a_node_that_does_not_follow_is_told(machines: list[RealBmc]) -> None:
    machines[0].stick()

    [result] = actors.power("i001", "off")

    assert (result["ok"], result["error_kind"], result["power"]) == (False, "deadline", None)
    assert "after 1.5 s the node is on" in result["error"]
    assert machines[0].commands == ["power 0"]


def test_a_worker_that_is_killed_in_mid_cycle_has_its_cycle_finished_and_nothing_sent_twice(
    machines: list[RealBmc],
) -> None:
    machines[0].stick()  # it takes "off", and is slow to follow
    add_step()
    worker = multiprocessing.get_context("spawn").Process(target=cycle, args=(1,))
    worker.start()
    wait_until(lambda: machines[0].commands == ["power 0"])
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    (machines[0].folder / "stuck").unlink()
    machines[0].set_power(False)

    [result] = cycle(2)

    assert (result["ok"], result["power"]) == (True, "on")
    assert machines[0].commands == ["power 0", "power 1"]


def test_when_nobody_can_know_whether_it_was_sent_the_outcome_is_unknown(machines: list[RealBmc]) -> None:
    add_step()
    entered(1).mark("i001", "off sent")  # and there the worker dies

    [result] = cycle(2)

    assert (result["ok"], result["error_kind"]) == (False, "unknown")
    assert "a worker died while it sent power 'off'" in result["error"]
    assert machines[0].commands == []


def test_what_an_earlier_run_ended_is_not_done_again(machines: list[RealBmc]) -> None:
    add_step()
    cycle(1)

    [result] = cycle(2)

    assert result["ok"]
    assert machines[0].commands == ["power 0", "power 1"]


def add_step() -> None:
    row = dict.fromkeys(("open_steps", "failed_steps", "aborted_steps", "runs", "enqueued_at"), 0)
    text = {"id": STEP, "root_id": STEP, "actor": "rack.power", "queue": "rack", "arguments": "{}", "state": "running"}
    with store.current().write() as connection:
        connection.execute(sa.insert(steps.steps).values({**row, **text}))


def entered(number: int) -> runs.RecordedRun:
    return runs.RecordedRun(store.current(), job_id=STEP, step_id=STEP, number=number, stopping=runs.StopSignal())


def cycle(number: int) -> list[dict[str, object]]:
    """Run the step as a worker does."""
    run = entered(number)
    runs.enter(run)
    try:
        return actors.power.fn("i001", "cycle")
    finally:
        run.flush()
        runs.leave()
