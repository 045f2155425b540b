"""Rain's actors, called as plain functions on a simulated Cobbler; its commands' arguments and tables."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from provision_world import add_job, run_of

from cloudmesh_actors import settings, store
from cloudmesh_actors.cli import output, rain, rainviews
from cloudmesh_actors.errors import ArgumentError
from cloudmesh_actors.rain import actors, records, systems
from cloudmesh_actors.rain.model import PowerAction
from cloudmesh_actors.secret import Secret
from cloudmesh_actors.site import Bmc

SITE = """
clusters: {india: {nodes: "i[001-004]"}}
bmcs: {"i[001-004]": {driver: simulator}}
cobblers:
  main: {driver: simulator, systems: "i[001-003]"}
  away: {driver: simulator, fault: away}
"""


@pytest.fixture(autouse=True)
def small_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    monkeypatch.setenv("CLOUDMESH_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("CLOUDMESH_BROKER_URL", "stub://")
    settings.reset()
    store.reset()


def by_node(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {result["node"]: result for result in results}


def test_truth_values_are_words_for_power() -> None:
    off = actors.power_system("i001", False)  # type: ignore[arg-type]
    assert (off[0]["power"], off[0]["note"]) == ("off", "switched off")

    on = actors.power_system("i001", True)  # type: ignore[arg-type]
    assert (on[0]["power"], on[0]["note"]) == ("on", "switched on")


def test_a_reboot_is_off_and_on_again() -> None:
    [result] = actors.power_system("i001", "reboot")

    assert (result["power"], result["note"]) == ("on", "switched off and on again")


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDMESH_POWER_ON_GROUP", "1")
    monkeypatch.setenv("CLOUDMESH_POWER_ON_INTERVAL", "0.4")
    settings.reset()


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("action", ["on", "reboot"])
def test_nodes_are_switched_on_in_groups(action: PowerAction) -> None:
    actors.power_system("i[001-003]", "off")
    began = time.monotonic()

    results = actors.power_system("i[001-003]", action)

    assert [entry["power"] for entry in results] == ["on"] * 3
    assert time.monotonic() - began >= 0.8


@pytest.mark.usefixtures("one_by_one")
def test_what_is_on_already_needs_no_turn() -> None:
    began = time.monotonic()

    assert {entry["note"] for entry in actors.power_system("i[001-003]", "on")} == {"already on"}
    assert time.monotonic() - began < 0.4


@pytest.mark.usefixtures("one_by_one")
def test_deploys_begin_in_groups_and_their_deadlines_with_them() -> None:
    add_job("a-job")
    run = run_of("a-job", "deploy")

    actors.deploy_system.fn("i[001-003]", "hpc")

    assert [delay for _, delay in run.following] == [None, 400, 800]
    begun = [deploy for node in ("i001", "i002", "i003") if (deploy := records.get("a-job", node))]
    assert [round(deploy.stage_at - deploy.requested_at, 3) for deploy in begun] == [0.0, 0.4, 0.8]


def test_the_power_of_a_node_without_a_cobbler_is_a_sentence() -> None:
    results = by_node(actors.power_system("i[003-004]"))

    assert results["i003"]["power"] == "on"
    assert results["i004"]["error_kind"] == "unsupported"
    assert "i004: no Cobbler of the site installs it" in results["i004"]["error"]


@pytest.mark.parametrize("wrong", ["cycle", 1, None, ["on"]])
def test_what_is_no_action_is_refused_before_anything_is_sent(wrong: Any) -> None:
    with pytest.raises(ArgumentError, match=r"rain\.power_system, action"):
        actors.power_system.check(("i001", wrong), {})


def test_a_deploy_is_not_called_but_sent() -> None:
    with pytest.raises(ArgumentError, match="send it to a worker"):
        actors.deploy_system("i001")


def test_systems_come_and_go() -> None:
    assert actors.remove_system("i001")[0]["ok"]
    assert by_node(actors.list_systems("i001"))["i001"]["error_kind"] == "not_found"

    [added] = actors.add_system("i001", "rocky9-x86_64", {"i001": "52:54:00:00:00:01"}, "10.0.0.1")

    assert added["system"]["interfaces"] == [{"name": "eth0", "mac": "52:54:00:00:00:01", "ip": "10.0.0.1"}]
    assert by_node(actors.list_systems("i001"))["i001"]["system"]["profile"] == "rocky9-x86_64"


def test_each_cobbler_has_an_entry_also_one_that_is_away() -> None:
    results = {entry["server"]: entry for entry in actors.list_profiles()}

    assert "rocky9-x86_64" in [profile["name"] for profile in results["main"]["profiles"]]
    assert (results["away"]["ok"], results["away"]["profiles"]) == (False, [])
    assert results["away"]["error_kind"] == "unreachable"
    with pytest.raises(ArgumentError, match="no Cobbler 'mian'; it has main, away"):
        actors.list_distros("mian")


def test_results_are_small_json() -> None:
    for results in (actors.list_systems("i001"), actors.list_distros(), actors.sync(), actors.power_system("i001")):
        assert orjson.loads(orjson.dumps(results)) == results


def test_cobbler_is_told_of_a_real_bmc_as_the_site_file_has_it() -> None:
    access = systems.access(Bmc("i001", "10.1.0.1", 6230, "admin", Secret("s3cret-of-bmc"), cipher=3))

    assert access is not None
    assert (access.type, access.address, access.user) == ("ipmilanplus", "10.1.0.1", "admin")
    assert access.options == ("ipport=6230", "cipher=3")
    assert "s3cret" not in repr(access)
    assert systems.access(Bmc("i001", "", driver="simulator")) is None


def test_a_worker_of_rain_imports_xmlrpc_when_it_first_needs_it() -> None:
    code = "import sys, cloudmesh_actors.rain.actors; print('xmlrpc.client' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "False"


def test_addresses_are_given_for_one_node_or_by_node() -> None:
    assert rain._per_node(None, "--mac") is None
    assert rain._per_node(["52:54:00:00:00:01"], "--mac") == "52:54:00:00:00:01"
    assert rain._per_node(["i001=a", "i002=b"], "--mac") == {"i001": "a", "i002": "b"}
    with pytest.raises(typer.BadParameter, match="NODE=ADDRESS"):
        rain._per_node(["i001=a", "b"], "--mac")


def test_every_result_has_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {
        "rain.list_systems": actors.list_systems("i[001-004]"),
        "rain.list_profiles": actors.list_profiles(),
        "rain.list_distros": actors.list_distros(),
        "rain.sync": actors.sync(),
        "rain.power_system": actors.power_system("@india"),
        "rain.deploy_system": [
            {"node": "i001", "ok": True, "error": None, "error_kind": None, "stage": "installed", "profile": None}
        ],
    }
    for actor, result in shown.items():
        output.show(*rainviews.VIEWS[actor](result))
    output.show(*rainviews.VIEWS["rain.list_systems"](actors.list_systems()))

    told = capsys.readouterr().out
    for word in ("i001", "rocky9-x86_64", "main: synced", "cannot be reached", "installed", "i[001-003]", "no Cobbler"):
        assert word in told


def test_a_stage_is_a_line_with_its_trouble() -> None:
    assert rainviews.stage_line("prepared", None) == "prepared      profile set, netboot on"
    assert rainviews.stage_line("installing", "it is slow").endswith("its installer has begun: it is slow")
    assert rainviews.stage_line(None, None).strip() == "-"
