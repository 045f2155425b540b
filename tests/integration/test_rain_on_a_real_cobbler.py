"""The actors of rain on a real cobblerd: nodes whose power is a file, and a real BMC behind its IPMI fence agent.

The test plays the installer. Logins expire after a second, so every one of them is renewed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cobbler_server import PASSWORD, PROFILES, USER, CobblerServer, DummyNode, cobbler, require_cobbler
from ipmi_farm import PASSWORD as BMC_PASSWORD
from ipmi_farm import USER as BMC_USER
from ipmi_farm import RealBmc, farm
from rain_site import configure, ended, entries, rain_worker, stage_of, wait_until
from servers import require

from cloudmesh_actors import jobs, leases
from cloudmesh_actors.rain import actors

SITE = """
clusters: {{india: {{nodes: "i[001-010]"}}}}
bmcs:
  i010: {{address: {bmc.address}, port: {bmc.port}, user: {bmc_user}, password: {{env: BMC_PASSWORD}}, cipher: 3}}
cobblers:
  main: {{url: "{server.url}", user: {user}, password: {{env: COBBLER_PASSWORD}}, systems: "i[001-010]"}}
"""
PROFILE = PROFILES[1]


@pytest.fixture(scope="module")
def bmc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealBmc]:
    require("ipmi_sim")
    with farm(tmp_path_factory.mktemp("farm"), 1) as [machine]:
        yield machine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CobblerServer]:
    require_cobbler()
    with cobbler(tmp_path_factory.mktemp("cobbler"), auth_token_expiration=1) as running:
        yield running


@pytest.fixture
def node(server: CobblerServer) -> Iterator[DummyNode]:
    added = server.add_node("i001")
    yield added
    proxy, token = server.login()
    proxy.remove_system("i001", token)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def working(
    server: CobblerServer, bmc: RealBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("COBBLER_PASSWORD", PASSWORD)
    monkeypatch.setenv("BMC_PASSWORD", BMC_PASSWORD)
    text = SITE.format(server=server, bmc=bmc, user=USER, bmc_user=BMC_USER)
    configure(tmp_path / "logs", monkeypatch, text, POWER_DEADLINE="20", COBBLER_DEADLINE="5")
    with rain_worker():
        yield monkeypatch


@pytest.fixture
def installer(node: DummyNode) -> Iterator[threading.Event]:
    """Installs the node when it comes on with netboot on; set when it was seen off before."""
    stop, was_off = threading.Event(), threading.Event()

    def play() -> None:
        while not stop.wait(0.05):
            if node.power == "off":
                was_off.set()
            elif was_off.is_set() and node.server.is_netboot(node.name):
                node.install()

    thread = threading.Thread(target=play)
    thread.start()
    yield was_off
    stop.set()
    thread.join()


def test_a_deploy_ends_when_cobbler_saw_the_installation(node: DummyNode, installer: threading.Event) -> None:
    node.install()  # an earlier installation, which is not ours
    job = actors.deploy_system.send("i001", PROFILE)

    entry = entries(job)["i001"]

    assert entry == {
        "node": "i001", "ok": True, "error": None, "error_kind": None, "stage": "installed", "profile": PROFILE,
    }  # fmt: skip
    assert installer.is_set()
    assert node.power == "on"
    assert not node.server.is_netboot("i001")
    assert not leases.holders(["i001"])
    progress = jobs.get(job.message_id).progress
    assert progress is not None
    assert (progress.done, progress.total) == (1, 1)


def test_the_second_of_two_deploys_is_refused_and_told_who_has_the_node(
    node: DummyNode, installer: threading.Event
) -> None:
    first = actors.deploy_system.send("i001", PROFILE)
    wait_until(lambda: stage_of(first, "i001") not in (None, "requested"))

    second = actors.deploy_system.send("i001", PROFILES[0])

    entry = entries(second)["i001"]
    assert (entry["ok"], entry["error_kind"]) == (False, "lease_held")
    assert f"held by job {first.message_id[:8]} (rain.deploy_system) since " in entry["error"]
    assert entries(first)["i001"]["ok"]
    assert node.server.proxy().get_system("i001")["profile"] == PROFILE  # type: ignore[index, call-overload]


def test_a_cobbler_that_is_restarted_in_mid_deploy_costs_only_time(
    node: DummyNode, installer: threading.Event, server: CobblerServer
) -> None:
    job = actors.deploy_system.send("i001", PROFILE)
    installer.wait(30)
    server.stop()
    wait_until(lambda: "cannot be reached" in str(jobs.node_outcomes(job.message_id)[0].error))
    server.start()

    assert entries(job)["i001"]["ok"]


def test_an_aborted_deploy_does_not_leave_netboot_on(node: DummyNode, server: CobblerServer) -> None:
    job = actors.deploy_system.send("i001", PROFILE)
    wait_until(lambda: stage_of(job, "i001") == "power cycled")
    assert server.is_netboot("i001")

    jobs.abort(job.message_id)

    assert ended(job).state == "aborted"
    actors.put_back.send("i001")  # as beat does
    wait_until(lambda: not server.is_netboot("i001"))
    wait_until(lambda: stage_of(job, "i001") == "failed")
    [outcome] = jobs.node_outcomes(job.message_id)
    assert (outcome.ok, outcome.error_kind) == (False, "aborted")


def test_a_wrong_password_is_a_sentence(node: DummyNode, working: pytest.MonkeyPatch) -> None:
    working.setenv("COBBLER_PASSWORD", "not the password")

    entry = entries(actors.deploy_system.send("i001", PROFILE))["i001"]

    assert entry["error_kind"] == "authentication"
    assert "refuses the login of 'cobbler'; check `user` and `password` in the site file." in entry["error"]


def test_power_is_switched_by_words_and_by_truth(node: DummyNode) -> None:
    off = entries(actors.power_system.send("i001", False))["i001"]
    assert (off["power"], off["note"], node.power) == ("off", "switched off", "off")

    on = entries(actors.power_system.send("i001", "reboot"))["i001"]
    assert (on["power"], on["note"], node.power) == ("on", "switched off and on again", "on")

    again = entries(actors.power_system.send("i001", True))["i001"]
    assert again["note"] == "already on"


def test_a_real_bmc_is_switched_through_cobbler(bmc: RealBmc, server: CobblerServer) -> None:
    bmc.set_power(False)
    added = entries(actors.add_system.send("i010", PROFILE, "52:54:00:aa:bb:cc"))["i010"]
    assert added["system"]["power_type"] == "ipmilanplus"
    assert added["system"]["power_address"] == bmc.address
    assert BMC_PASSWORD not in str(added)

    entry = entries(actors.power_system.send("i010", "on"))["i010"]

    assert (entry["ok"], entry["power"]) == (True, "on"), entry
    assert bmc.is_on
    assert entries(actors.remove_system.send("i010"))["i010"]["ok"]
    assert "i010" not in server.proxy().get_item_names("system")  # type: ignore[operator]


def test_what_a_cobbler_has_is_listed(node: DummyNode) -> None:
    [profiles] = ended(actors.list_profiles.send()).result
    assert (profiles["server"], [each["name"] for each in profiles["profiles"]]) == ("main", list(PROFILES))
    [systems] = ended(actors.list_systems.send()).result
    assert "i001" in systems["systems"]
    system = entries(actors.list_systems.send("i001"))["i001"]["system"]
    assert (system["name"], system["netboot"]) == ("i001", False)
    assert "pass-of-bmc" not in str(system)
    [distros] = ended(actors.list_distros.send("main")).result
    assert distros["distros"][0]["arch"] == "x86_64"
    assert ended(actors.sync.send()).result == [{"server": "main", "ok": True, "error": None, "error_kind": None}]


def test_secrets_reach_neither_the_store_nor_a_log(node: DummyNode, tmp_path: Path) -> None:
    ended(actors.power_system.send("i001", "off"))
    ended(actors.list_systems.send("i001"))

    for file in (tmp_path / "logs").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert PASSWORD.encode() not in content, file
        assert b"pass-of-bmc" not in content, file
