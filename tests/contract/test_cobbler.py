"""What every Cobbler client keeps to: the simulated one, and the real one on a cobblerd."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from cobbler_server import PASSWORD, PROFILES, USER, CobblerServer, DummyNode, cobbler, require_cobbler

from cloudmesh_actors import site
from cloudmesh_actors.clients.cobbler.client import connect
from cloudmesh_actors.clients.cobbler.model import Cobbler, Installation, Interface, PowerAccess
from cloudmesh_actors.clients.cobbler.simulator import SLOWNESS_S
from cloudmesh_actors.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    NodeError,
    NotFound,
    Refused,
    Unreachable,
    Unsupported,
)
from cloudmesh_actors.secret import Secret

NODE, OTHER = "i001", "i002"


class Bench(Protocol):
    """A Cobbler to test, and the nodes behind it."""

    profile: str

    def healthy(self) -> site.Cobbler: ...
    def away(self) -> site.Cobbler: ...
    def slow(self) -> site.Cobbler: ...
    def denying(self) -> site.Cobbler: ...
    def failing_power(self) -> site.Cobbler: ...
    def node_is_on(self) -> bool: ...
    def install(self) -> None: ...


class SimulatedBench:
    profile = "rocky9-x86_64"

    def healthy(self) -> site.Cobbler:
        return site.Cobbler("main", "", USER, systems=(NODE, OTHER), driver="simulator")

    def away(self) -> site.Cobbler:
        return replace(self.healthy(), fault="away")

    def slow(self) -> site.Cobbler:
        return replace(self.healthy(), fault="slow", deadline=SLOWNESS_S / 10)

    def denying(self) -> site.Cobbler:
        return replace(self.healthy(), fault="denied")

    def failing_power(self) -> site.Cobbler:
        return replace(self.healthy(), fault="power-fails")

    def node_is_on(self) -> bool:
        with connect(self.healthy()) as client:
            return client.power_status(NODE) == "on"

    def install(self) -> None:
        with connect(self.healthy()) as client:
            client.power(NODE, "reboot")
            wait_until(lambda: client.installation(NODE).stopped is not None)


class RealBench:
    profile = PROFILES[1]

    def __init__(self, server: CobblerServer, nodes: dict[str, DummyNode]) -> None:
        self._server, self._nodes = server, nodes

    def healthy(self) -> site.Cobbler:
        return site.Cobbler("main", self._server.url, USER, Secret(PASSWORD), systems=(NODE, OTHER))

    def away(self) -> site.Cobbler:
        return replace(self.healthy(), url="http://127.0.0.1:1/RPC2")

    def slow(self) -> site.Cobbler:
        self._server.hang()
        return replace(self.healthy(), deadline=0.5)

    def denying(self) -> site.Cobbler:
        return replace(self.healthy(), user="mallory")

    def failing_power(self) -> site.Cobbler:
        proxy, token = self._server.login()
        handle = f"system::{NODE}"
        proxy.modify_system(handle, "power_options", "status_file=/nowhere/at/all", token)
        proxy.save_system(handle, token)
        return self.healthy()

    def node_is_on(self) -> bool:
        return self._nodes[NODE].power == "on"

    def install(self) -> None:
        self._nodes[NODE].install()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CobblerServer]:
    require_cobbler()
    with cobbler(tmp_path_factory.mktemp("cobbler")) as running:
        yield running


@pytest.fixture(params=["simulator", "cobblerd"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(tmp_path / "state"))
    if request.param == "simulator":
        yield SimulatedBench()
        return
    running: CobblerServer = request.getfixturevalue("server")
    nodes = {name: running.add_node(name) for name in (NODE, OTHER)}
    yield RealBench(running, nodes)
    running.resume()
    proxy, token = running.login()
    for name in proxy.get_item_names("system"):  # type: ignore[attr-defined, union-attr]
        proxy.remove_system(name, token)


@pytest.fixture
def client(bench: Bench) -> Iterator[Cobbler]:
    with connect(bench.healthy()) as conversation:
        yield conversation


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def switched(client: Cobbler, command: str) -> None:
    event_id = client.power(NODE, command)  # type: ignore[arg-type]
    wait_until(lambda: client.event(event_id).ended)


class TestInventory:
    def test_it_tells_its_version(self, client: Cobbler) -> None:
        assert client.version() == "3.3.10"

    def test_profiles_name_their_distributions(self, client: Cobbler, bench: Bench) -> None:
        profiles = {profile.name: profile for profile in client.profiles()}
        distros = {distro.name: distro for distro in client.distros()}

        assert bench.profile in profiles
        assert distros[profiles[bench.profile].distro].arch == "x86_64"

    def test_a_system_is_told_without_its_password(self, client: Cobbler) -> None:
        system = client.system(NODE)

        assert (system.name, system.netboot) == (NODE, False)
        assert system.profile
        [interface] = system.interfaces
        assert interface.mac.startswith("52:54:00:")
        assert "pass" not in repr(system)

    def test_a_system_that_is_not_there_says_so(self, client: Cobbler) -> None:
        for ask in (client.system, client.netboot, client.remove_system, client.power_status, client.prepare):
            with pytest.raises(NotFound, match=r"^i999: the Cobbler main at .* has no such system"):
                ask("i999")
        with pytest.raises(NotFound):
            client.power("i999", "on")

    def test_systems_come_and_go(self, client: Cobbler, bench: Bench) -> None:
        access = PowerAccess("dummy", "10.9.9.9", "admin", Secret("pass-of-bmc"), ("status_file=/tmp/none",))

        client.add_system(
            "i003", bench.profile, interfaces=[Interface("eth0", "52:54:00:01:02:03", "10.7.7.7")], power=access
        )

        assert client.systems() == [NODE, OTHER, "i003"]
        system = client.system("i003")
        assert (system.profile, system.netboot, system.power_type) == (bench.profile, False, "dummy")
        assert system.power_address == "10.9.9.9"
        assert system.interfaces == (Interface("eth0", "52:54:00:01:02:03", "10.7.7.7"),)
        client.remove_system("i003")
        assert client.systems() == [NODE, OTHER]

    def test_a_system_is_added_once(self, client: Cobbler, bench: Bench) -> None:
        with pytest.raises(Refused, match="already"):
            client.add_system(NODE, bench.profile)

    def test_a_profile_that_is_not_there_says_so(self, client: Cobbler) -> None:
        with pytest.raises(NotFound, match="profile"):
            client.add_system("i003", "windows95")
        with pytest.raises(NotFound, match="profile"):
            client.prepare(NODE, "windows95")

        assert not client.netboot(NODE)


class TestNetboot:
    def test_a_prepared_system_is_installed_at_its_next_boot(self, client: Cobbler, bench: Bench) -> None:
        client.prepare(NODE, bench.profile)

        assert client.system(NODE).profile == bench.profile
        assert client.netboot(NODE)
        assert not client.netboot(OTHER)

    def test_without_a_profile_it_keeps_its_own(self, client: Cobbler) -> None:
        before = client.system(NODE).profile

        client.prepare(NODE)

        assert client.netboot(NODE)
        assert client.system(NODE).profile == before

    def test_netboot_can_be_put_back(self, client: Cobbler) -> None:
        client.prepare(NODE)

        client.set_netboot(NODE, False)
        client.set_netboot(NODE, False)

        assert not client.netboot(NODE)

    def test_an_installation_is_seen(self, client: Cobbler, bench: Bench) -> None:
        before = client.installation(NODE)
        client.prepare(NODE)

        bench.install()

        after = client.installation(NODE)
        assert after.is_newer_than(before)
        assert not before.is_newer_than(after)
        assert not after.running
        assert not client.netboot(NODE)

    def test_who_was_never_installed_has_no_installation(self, client: Cobbler) -> None:
        assert client.installation(OTHER) == Installation()


class TestPower:
    def test_a_node_goes_off_and_on(self, client: Cobbler, bench: Bench) -> None:
        assert client.power_status(NODE) == "on"

        switched(client, "off")
        wait_until(lambda: client.power_status(NODE) == "off")
        assert not bench.node_is_on()

        switched(client, "on")
        wait_until(lambda: client.power_status(NODE) == "on")
        assert bench.node_is_on()

    def test_the_power_of_many_is_asked_at_once(self, client: Cobbler) -> None:
        found = client.power_statuses([NODE, OTHER, "i999"])

        assert found[NODE] == found[OTHER] == "on"
        assert isinstance(found["i999"], NotFound)

    def test_a_command_that_fails_is_complete_with_an_error(self, bench: Bench) -> None:
        with connect(bench.failing_power()) as client:
            event_id = client.power(NODE, "on")
            wait_until(lambda: client.event(event_id).ended, 60)
            event = client.event(event_id)

        assert event.state == "complete"
        assert event.errors[NODE].startswith("command failed (rc=1)")

    def test_an_event_that_nobody_knows_is_lost(self, client: Cobbler) -> None:
        assert client.event("2020-01-01_nothing").state == "lost"


def test_a_sync_ends(client: Cobbler) -> None:
    client.sync()


class TestTrouble:
    def test_nobody_listens(self, bench: Bench) -> None:
        with (
            connect(bench.away()) as client,
            pytest.raises(Unreachable, match=r"^the Cobbler main .*cannot be reached"),
        ):
            client.systems()

    def test_no_answer_in_time(self, bench: Bench) -> None:
        with connect(bench.slow()) as client, pytest.raises(DeadlineExceeded, match=r"does not answer within 0\.\d s"):
            client.systems()

    def test_a_wrong_login(self, bench: Bench) -> None:
        with connect(bench.denying()) as client, pytest.raises(AuthenticationFailed, match="refuses the login of"):
            client.prepare(NODE)

    def test_every_error_is_a_sentence_about_a_node(self, bench: Bench) -> None:
        with connect(bench.denying()) as client, pytest.raises(NodeError) as caught:
            client.prepare(NODE)

        assert str(caught.value).endswith(".")
        assert PASSWORD not in str(caught.value)


def test_a_system_without_power_management_says_so(server: CobblerServer) -> None:
    server.add("system", name="bare", profile=PROFILES[0])

    with connect(site.Cobbler("main", server.url, USER, Secret(PASSWORD))) as client:
        with pytest.raises(Unsupported, match=r"^bare: .*no power management"):
            client.power_status("bare")
        event_id = client.power("bare", "on")
        wait_until(lambda: client.event(event_id).ended)
        assert client.event(event_id).errors == {"bare": "no power type set for system"}
