"""`cm-actors provision` with a fleet: a real BMC, a real Cobbler whose installer the test plays; simulated nodes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any, NamedTuple

import cobbler_server
import ipmi_farm
import pytest
from brokers import Server
from cobbler_server import PROFILES, cobbler, require_cobbler
from fleets import FleetUnderTest, eventually, fleet
from provision_world import booting, cobbler_site, installing, ipmi_site
from servers import require

from cloudmesh_actors import jobs, leases
from cloudmesh_actors.cli import main
from cloudmesh_actors.provisioner import records

STATES = ["INITIATING", "PREPARING_IMAGE", "BOOTING", "AVAILABLE", "SUCCESS"]


class World(NamedTuple):
    """A fleet, and what it works on: i001 and i002 are a Cobbler's, i003 is a BMC's, s001 to s021 are simulated."""

    fleet: FleetUnderTest
    server: cobbler_server.CobblerServer
    bmc: ipmi_farm.RealBmc


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, session_rabbitmq: Server) -> Iterator[World]:
    """On RabbitMQ, which gives the messages of a killed worker to others at once."""
    require_cobbler()
    for binary in ("ipmi_sim", "sdrcomp"):
        require(binary)
    folder = tmp_path_factory.mktemp("provision")
    with ExitStack() as stack:
        server = stack.enter_context(cobbler(folder / "cobbler"))
        machines = [server.add_node(name) for name in ("i001", "i002")]
        stack.enter_context(installing(machines))
        [bmc] = stack.enter_context(ipmi_farm.farm(folder / "farm", 1))
        [booted] = stack.enter_context(booting([bmc]))
        site = folder / "site.yaml"
        site.write_text(both(cobbler_site(server, ["i001", "i002"]), ipmi_site({"i003": booted})))
        up = stack.enter_context(
            fleet(
                folder / "logs", WORKERS="provisioner=2", SITE=site, BROKER_URL=session_rabbitmq.url, PROVISION_DELAY=0,
                BMC=ipmi_farm.PASSWORD, COBBLER=cobbler_server.PASSWORD,
            )
        )  # fmt: skip
        up.up()
        yield World(up, server, bmc)


def both(of_cobbler: str, of_bmcs: str) -> str:
    """One site of two, with simulated nodes besides."""
    bmcs, rest = of_bmcs.split("provision:\n")
    clusters, provision = of_cobbler.split("provision:\n")
    driver = next(line for line in rest.splitlines() if "ipmi" in line)
    clusters = clusters.replace("clusters:\n", 'clusters:\n  sim: {nodes: "s[001-021]"}\n')
    return f'{clusters}{bmcs}provision:\n  "s[001-021]": simulator\n{driver}\n{provision}'


class Done(NamedTuple):
    """What the command printed."""

    stdout: str
    stderr: str


def cm(it: FleetUnderTest, *arguments: str, code: int = 0) -> Done:
    """`cm-actors` in this process, with the fleet's settings; it has to end with `code`."""
    out, err = StringIO(), StringIO()
    with it.here(), redirect_stdout(out), redirect_stderr(err):
        os.environ["COLUMNS"] = "80"
        ended = main([*arguments])
    assert ended == code, out.getvalue() + err.getvalue()
    return Done(out.getvalue(), err.getvalue())


def as_json(it: FleetUnderTest, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    return json.loads(cm(it, *arguments, "--json", code=code).stdout)  # type: ignore[no-any-return]


def states_of(it: FleetUnderTest, node: str) -> list[str]:
    [history] = as_json(it, "provisioner", "history", node)
    return [each["after"] for each in history["transitions"]]


def test_nodes_of_a_real_cobbler_and_of_a_real_bmc_go_through_all_states(up: World) -> None:
    it = up.fleet
    done = cm(it, "provision", "i[001-002]", PROFILES[0], "--watch", "--yes")
    assert "i001  BOOTING" in done.stderr
    assert "SUCCESS" in done.stdout
    assert [states_of(it, node) for node in ("i001", "i002")] == [STATES] * 2
    assert not up.server.is_netboot("i001")

    [entry] = as_json(it, "provision", "i003", "hpc", "--watch", "--yes")
    assert (entry["state"], entry["driver"]) == ("SUCCESS", "ipmi")
    assert [command for command in up.bmc.commands if "power" in command] == ["power 0", "power 1"]
    with it.here():
        assert leases.holders() == []


def test_a_worker_that_is_killed_in_its_midst_costs_nothing(up: World) -> None:
    it = up.fleet
    job_id = cm(it, "provision", "s[001-006]", "hpc", "--yes").stdout.strip()
    with it.here():
        eventually(lambda: any(each.version > 2 for each in records.of_job(job_id)))
        for name in ("p1", "p2"):
            os.kill(it.pid(name), signal.SIGKILL)
        job = jobs.wait(job_id, 120)
    assert str(job.state) == "done"
    for number in range(1, 7):
        assert states_of(it, f"s{number:03}") == STATES


@pytest.mark.parametrize(("how", "first"), [("stopped", 10), ("killed", 16)])
def test_a_broker_that_is_restarted_in_its_midst_costs_only_time(
    up: World, session_rabbitmq: Server, how: str, first: int
) -> None:
    it = up.fleet
    job_id = cm(it, "provision", f"s[{first:03}-{first + 5:03}]", "hpc", "--yes").stdout.strip()
    with it.here():
        eventually(lambda: any(each.version > 2 for each in records.of_job(job_id)))
        session_rabbitmq.stop() if how == "stopped" else session_rabbitmq.kill()
        session_rabbitmq.start()
        job = jobs.wait(job_id, 180)
    assert str(job.state) == "done"
    for number in range(first, first + 6):
        assert states_of(it, f"s{number:03}") == STATES


def test_of_two_at_once_one_wins_and_the_other_names_it(up: World) -> None:
    it = up.fleet
    with it.here():
        leases.take(["s007"], job_id="4f0c7f8e-of-another", actor="rack.power", ttl=300)
    [refused] = as_json(it, "provision", "s007", "hpc", "--watch", "--yes", code=1)
    assert (refused["state"], refused["error_kind"]) == ("ERROR", "lease_held")
    assert "held by job 4f0c7f8e (rack.power)" in refused["error"]

    job_id = cm(it, "provision", "s007", "hpc", "--wait-lease", "300", "--yes").stdout.strip()
    with it.here():
        eventually(lambda: any(each.trouble for each in records.of_job(job_id)))
        leases.release(["s007"], job_id="4f0c7f8e-of-another")
        assert str(jobs.wait(job_id, 120).state) == "done"


def test_an_abort_ends_only_these_nodes(up: World) -> None:
    it = up.fleet
    with it.here():
        leases.take(["s008"], job_id="4f0c7f8e-of-another", actor="rack.power", ttl=300)
    job_id = cm(it, "provision", "s[008-009]", "hpc", "--wait-lease", "300", "--yes").stdout.strip()
    with it.here():
        eventually(lambda: len(records.of_job(job_id)) == 2)
    [asked] = as_json(it, "provisioner", "abort", "s008")
    assert asked["asked"]
    with it.here():
        job = jobs.wait(job_id, 120)
        assert [(each["node"], each["ok"], each["state"]) for each in job.result] == [
            ("s008", False, "ERROR"), ("s009", True, "SUCCESS"),
        ]  # fmt: skip
        leases.release(["s008"], job_id="4f0c7f8e-of-another")
    aborted, good = as_json(it, "provisioner", "status", "s[008-009]", code=1)
    assert (aborted["state"], aborted["error_kind"], good["state"]) == ("ERROR", "aborted", "SUCCESS")


def test_images_of_the_site_and_of_its_cobbler_are_listed(up: World) -> None:
    found = as_json(up.fleet, "provisioner", "images")

    assert {(each["image"], each["source"]) for each in found} == {
        ("hpc", "site"), *((profile, "cobbler main") for profile in PROFILES),
    }  # fmt: skip


def test_without_yes_what_would_be_hit_is_shown_first(up: World) -> None:
    began = time.time()
    shown = cm(up.fleet, "provision", "s001", "hpc", "--dry-run").stdout
    assert "provision" in shown
    with up.fleet.here():
        assert all(it.requested_at < began for it in records.latest(["s001"]).values())
