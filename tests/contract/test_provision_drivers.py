"""What every driver of the provisioner keeps to: simulated, on a real Cobbler, and on a real BMC."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import cobbler_server
import ipmi_farm
import pytest
import sshd
from cobbler_server import CobblerServer, cobbler, require_cobbler
from ipmi_farm import RealBmc, farm
from provision_world import DEADLINE_S, BootedNode, cobbler_site, installing, ipmi_site
from servers import require

from cloudmesh_actors import settings, store
from cloudmesh_actors.errors import NodeError, NotFound
from cloudmesh_actors.provisioner import drivers
from cloudmesh_actors.provisioner.model import Driver, DriverName

NODE, IMAGE = "d001", "hpc"


class Bench(Protocol):
    """A node to provision, and what is asked about it on another way than the driver's."""

    driver: DriverName

    def is_on(self) -> bool: ...
    def is_armed(self) -> bool: ...
    def commands(self) -> list[str]: ...


class SimulatedBench:
    driver: DriverName = "simulator"

    def _node(self) -> Any:
        return drivers.connect("simulator", NODE, IMAGE)

    def is_on(self) -> bool:
        return self._node().power() == "on"  # type: ignore[no-any-return]

    def is_armed(self) -> bool:
        return self._node().preparation() != "none"  # type: ignore[no-any-return]

    def commands(self) -> list[str]:
        return [command for command in self._node().commands() if command in {"on", "off"}]


class CobblerBench:
    driver: DriverName = "cobbler"

    def __init__(self, server: CobblerServer, node: cobbler_server.DummyNode) -> None:
        self._server, self._node = server, node

    def is_on(self) -> bool:
        return self._node.power == "on"

    def is_armed(self) -> bool:
        return self._server.is_netboot(NODE)

    def commands(self) -> list[str]:
        events = self._server.proxy().get_events().values()
        return [name.partition("(")[2].rstrip(")") for _, name, *_ in sorted(events) if "Power" in name]


class IpmiBench:
    driver: DriverName = "ipmi"

    def __init__(self, machine: RealBmc) -> None:
        self._machine = machine

    def is_on(self) -> bool:
        return self._machine.is_on

    def is_armed(self) -> bool:
        return "Force PXE" in self._machine.tool("chassis", "bootparam", "get", "5")

    def commands(self) -> list[str]:
        names = {"power 0": "off", "power 1": "on"}
        return [names[command] for command in self._machine.commands if command in names]


@pytest.fixture(params=["simulator", "cobblerd", "ipmi_sim"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    values = {
        "LOG_DIR": str(tmp_path / "logs"),
        "PROVISION_DELAY": "0",
        "BMC": ipmi_farm.PASSWORD,
        "COBBLER": cobbler_server.PASSWORD,
    }
    for name, value in values.items():
        monkeypatch.setenv(f"CLOUDMESH_{name}", value)
    with ExitStack() as stack:
        made: Bench = SimulatedBench()
        if request.param == "cobblerd":
            require_cobbler()
            server = stack.enter_context(cobbler(tmp_path / "cobbler"))
            machine = server.add_node(NODE)
            stack.enter_context(installing([machine]))
            use(cobbler_site(server, [NODE]), tmp_path, monkeypatch)
            made = CobblerBench(server, machine)
        elif request.param == "ipmi_sim":
            for binary in ("ipmi_sim", "sdrcomp", "ipmitool", "sshd"):
                require(binary)
            [bmc] = stack.enter_context(farm(tmp_path / "farm", 1))
            booted = stack.enter_context(real_sshd(bmc, tmp_path, stack))
            use(ipmi_site({NODE: booted}), tmp_path, monkeypatch)
            made = IpmiBench(bmc)
        settings.reset()
        yield made
    store.reset()


def use(site: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "site.yaml").write_text(site)
    monkeypatch.setenv("CLOUDMESH_SITE", str(folder / "site.yaml"))


def real_sshd(bmc: RealBmc, folder: Path, stack: ExitStack) -> Any:
    """A node whose SSH server is a real one, which is started when the node has come on again."""
    (folder / "sshd").mkdir()
    booted, port = BootedNode(bmc), sshd.free_port()

    def boot() -> None:
        stack.enter_context(sshd.running(folder / "sshd", port=port))

    booted.starts(boot, "127.0.0.1", port)
    return booted.going()


def eventually(holds: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def connect(bench: Bench, image: str = IMAGE) -> Driver:
    return drivers.connect(bench.driver, NODE, image)


def test_a_node_is_provisioned(bench: Bench) -> None:
    with connect(bench) as driver:
        driver.check()
        assert driver.preparation() == "none"
        driver.prepare()
    assert bench.is_armed()
    with connect(bench) as driver:
        reference = driver.switch("off")
        eventually(lambda: driver.power() == "off" and driver.sent(reference).state == "complete")
    assert not bench.is_on()
    with connect(bench) as driver:
        before = driver.before()
        assert driver.progress(before) == "waiting"
        driver.switch("on")
        eventually(lambda: driver.power() == "on")
    assert bench.is_on()
    with connect(bench) as driver:
        eventually(lambda: driver.progress(before) == "installed")
        assert driver.answers()
    assert bench.commands() == ["off", "on"]


def test_what_is_prepared_is_put_back_as_often_as_one_likes(bench: Bench) -> None:
    for _ in range(2):
        with connect(bench) as driver:
            driver.prepare()
        assert bench.is_armed()
    for _ in range(2):
        with connect(bench) as driver:
            driver.put_back()
            assert driver.preparation() == "none"
        assert not bench.is_armed()
    assert bench.is_on()
    assert bench.commands() == []


def test_an_image_that_nobody_has_is_refused(bench: Bench) -> None:
    if bench.driver == "simulator":
        pytest.skip("the built-in site has no list of images")
    with connect(bench, "no-such-image") as driver, pytest.raises(NotFound, match=NODE) as caught:
        driver.check()
    assert isinstance(caught.value, NodeError)
    assert "hpc" in str(caught.value)
