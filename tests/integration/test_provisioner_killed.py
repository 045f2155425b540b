"""A worker is killed in the midst of a provisioning: it goes on, and nothing is done to the node twice.

Simulated nodes have their worker killed at every point. With real BMCs and a real Cobbler it is killed before and after
each command; `make bench-provision` kills it at every point there too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cobbler_server
import ipmi_farm
import pytest
from cobbler_server import CobblerServer, cobbler, require_cobbler
from provision_world import booting, cobbler_site, go_on, installing, ipmi_site, killed_at, request
from servers import require

from cloudmesh_actors import settings, store
from cloudmesh_actors.provisioner.drivers.simulator import Course, SimulatedDriver
from cloudmesh_actors.provisioner.model import Provisioning
from cloudmesh_actors.provisioner.states import State

#: Commands to a node: prepare, off, on; each has a point before and one after it.
COMMAND_POINTS = 6


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    values = {
        "LOG_DIR": str(tmp_path / "logs"),
        "POWER_DEADLINE": "12",
        "PROVISION_DELAY": "0",
        "BMC": ipmi_farm.PASSWORD,
        "COBBLER": cobbler_server.PASSWORD,
        "BROKER_URL": "stub://",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"CLOUDMESH_{name}", value)
    settings.reset()
    yield
    store.reset()


def use(site: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "site.yaml").write_text(site)
    monkeypatch.setenv("CLOUDMESH_SITE", str(folder / "site.yaml"))
    settings.reset()


def failures(ends: list[tuple[str, str, Provisioning]]) -> list[tuple[str, str, str | None]]:
    return [(point, it.state, it.error) for point, _, it in ends if it.state is not State.SUCCESS]


def test_simulated_nodes_have_everything_done_to_them_once(tmp_path: Path) -> None:
    nodes = [f"d{number:03}" for number in range(1, 17)] + [f"e{number:03}" for number in range(1, 13)]

    ends = killed_at(nodes, "simulator", "hpc", tmp_path)

    assert failures(ends) == []
    assert len(ends) > 20
    course, folder = Course.current(), settings.current().state_dir / "simulator"
    for point, node, _ in ends:
        commands = Counter(SimulatedDriver(node, "hpc", course, folder).commands())
        assert commands == {"prepare": 1, "off": 1, "on": 1}, point


def test_real_bmcs_record_no_change_of_power_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for binary in ("ipmi_sim", "sdrcomp"):
        require(binary)
    with ipmi_farm.farm(tmp_path / "farm", COMMAND_POINTS + 1) as machines, booting(machines) as booted:
        nodes = dict(zip([f"i{number:03}" for number in range(1, len(booted) + 1)], booted, strict=True))
        use(ipmi_site(nodes), tmp_path, monkeypatch)

        ends = killed_at(list(nodes), "ipmi", "hpc", tmp_path, only="driver")

    assert failures(ends) == []
    assert len(ends) == COMMAND_POINTS
    power = [[command for command in machine.commands if "boot" not in command] for machine in machines]
    assert power == [["power 0", "power 1"]] * len(machines)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CobblerServer]:
    require_cobbler()
    with cobbler(tmp_path / "cobbler") as running:
        yield running


def test_a_real_cobbler_is_told_everything_once(
    server: CobblerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"i{number:03}" for number in range(1, COMMAND_POINTS + 2)]
    machines = [server.add_node(name) for name in names]
    use(cobbler_site(server, names), tmp_path, monkeypatch)
    with installing(machines):
        ends = killed_at(names, "cobbler", "hpc", tmp_path, only="driver")

    assert failures(ends) == []
    assert len(ends) == COMMAND_POINTS
    told = Counter(event[1] for event in server.proxy().get_events().values())
    assert {name: count for name, count in told.items() if "Power" in name} == {
        "Power management (off)": len(names),
        "Power management (on)": len(names),
    }
    assert [server.is_netboot(name) for name in names] == [False] * len(names)


def test_a_cobbler_that_is_restarted_in_its_midst_is_waited_for(
    server: CobblerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = server.add_node("i001")
    use(cobbler_site(server, ["i001"]), tmp_path, monkeypatch)
    request("job", "i001", "hpc")
    with installing([node]), ThreadPoolExecutor(1) as pool:
        going = pool.submit(go_on, "job", "i001")
        while node.power == "on":
            time.sleep(0.02)
        server.stop()  # it forgets its event, and whether its fence agent was done
        server.start()
        it = going.result()

    assert (it.state, it.error) == (State.SUCCESS, None)
    assert not server.is_netboot("i001")
