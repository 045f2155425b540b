"""`cm-actors pbs` shows what a real batch server has: a private Slurm behind a private sshd, asked by a fleet."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import slurm_site
from fleets import FleetUnderTest, fleet
from slurm_site import SLOTS, USER, SlurmSite

from cloudmesh_actors.nodes import expand

SITE = """
clusters:
  india: {{nodes: "i[1-2]", queues: {{server: slurm1, names: [batch, long, systest]}}}}
batch_servers:
  slurm1: {{host: 127.0.0.1, port: {port}, user: {user}, key_file: {key}, known_hosts: {known_hosts}, max_age: 0}}
"""

#: Slurm's words for what its `qstat` has letters for; a job that is held is a pending one to both.
LETTERS = {"RUNNING": "R", "COMPLETED": "C", "FAILED": "C", "PENDING": "Q"}


@dataclass(frozen=True)
class Told:
    """What Slurm's own programs tell of a job, with times in UTC."""

    scontrol: Mapping[str, str]
    qstat: Mapping[str, str]
    slots: Mapping[str, int]

    @property
    def letter(self) -> str:
        return LETTERS[self.scontrol["JobState"]]

    def time(self, name: str) -> str | None:
        """A time as `--json` has it; None while it is a forecast only."""
        value = self.scontrol[name]
        return None if value == "Unknown" else f"{value}Z"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmSite]:
    # the login host's own time zone is far from ours, and from UTC
    with slurm_site.running(tmp_path_factory.mktemp("slurm"), zone="Australia/Sydney") as site:
        yield site


@pytest.fixture(scope="module")
def submitted(slurm: SlurmSite) -> dict[str, str]:
    """One job of each kind, by what it does: the ids that `sbatch` and `qsub` printed."""
    ids = {
        "ended": slurm.sbatch("-J", "short", script="true"),
        "failed": slurm.qsub("-N", "wrong", script="exit 3"),
        "runs": slurm.sbatch("-n", "3", "-J", "mpi", "-t", "90", "--mem=500M"),
        "spans": slurm.qsub("-N", "viaqsub", "-q", "long", "-l", "nodes=2:ppn=2,walltime=01:00:00"),
        "elsewhere": slurm.sbatch("-p", "interactive", "-J", "shell", "-t", "10"),
    }
    for what, state in {"ended": "COMPLETED", "failed": "FAILED"}.items():
        slurm.await_state(ids[what], state)
    for what in ("runs", "spans", "elsewhere"):
        slurm.await_state(ids[what], "RUNNING")
    ids["waits"] = slurm.qsub("-N", "large", "-l", f"nodes=2:ppn={SLOTS},walltime=02:00:00")
    ids["held"] = slurm.sbatch("--hold", "-J", "later", "-t", "30")
    return ids


@pytest.fixture(scope="module")
def up(
    slurm: SlurmSite, submitted: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FleetUnderTest]:
    """A fleet that has been told to refresh."""
    folder = tmp_path_factory.mktemp("fleet")
    server = slurm.server
    site = SITE.format(port=server.port, user=USER, key=server.user_key, known_hosts=slurm.known_hosts)
    (folder / "site.yaml").write_text(site)
    with fleet(folder / "logs", WORKERS="pbs=1", SITE=folder / "site.yaml") as it:
        it.up()
        [result] = cm_json(it, "send", "pbs.refresh", "--wait")
        assert (result["server"], result["ok"], result["error"]) == ("slurm1", True, None)
        assert (result["jobs"], result["queues"], result["nodes"], result["damaged"]) == (len(submitted), 4, 3, 0)
        yield it


def cm(it: FleetUnderTest, *arguments: str) -> str:
    """What `cm-actors` prints."""
    command = [sys.executable, "-P", "-c", "import sys; from cloudmesh_actors.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*command, *arguments], env={**it.environment, "COLUMNS": "80"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cm_json(it: FleetUnderTest, *arguments: str) -> Any:
    return json.loads(cm(it, *arguments, "--json"))


def told(slurm: SlurmSite, number: str) -> Told:
    detailed = slurm.run("scontrol", "--oneliner", "--details", "show", "job", number)
    qstat = dict(re.findall(r"^\t(\S+) = (.*)$", slurm.run("qstat", "-f", number), re.MULTILINE))
    return Told(slurm.job(number), qstat, _slots(detailed))


def _slots(detailed: str) -> dict[str, int]:
    """Processors by host: `Nodes=i[1-2] CPU_IDs=0-1,4`."""
    found = re.findall(r" Nodes=(\S+) CPU_IDs=(\S+)", detailed)
    return {host: len(expand(f"c[{cpus}]")) for hosts, cpus in found for host in expand(hosts)}


def test_exactly_the_jobs_that_were_submitted_are_shown(up: FleetUnderTest, submitted: dict[str, str]) -> None:
    shown = {job["id"]: job for job in cm_json(up, "pbs", "jobs")}

    assert sorted(shown) == sorted(submitted.values())
    assert {what: shown[number]["state"] for what, number in submitted.items()} == {
        "ended": "C", "failed": "C", "runs": "R", "spans": "R", "elsewhere": "R", "waits": "Q", "held": "Q"
    }  # fmt: skip


def test_jobs_are_as_scontrol_and_qstat_tell_them(
    up: FleetUnderTest, slurm: SlurmSite, submitted: dict[str, str]
) -> None:
    for job in cm_json(up, "pbs", "jobs"):
        it = told(slurm, job["id"])

        assert (job["name"], job["owner"]) == (it.scontrol["JobName"], it.scontrol["UserId"].partition("(")[0])
        assert (job["state"], job["state"]) == (it.letter, it.qstat["job_state"])
        assert (job["queue"], job["queue"]) == (it.scontrol["Partition"], it.qstat["queue"])
        assert job["submitted"] == it.time("SubmitTime")
        assert job["walltime_requested"] == _seconds(it.scontrol["TimeLimit"])
        assert (job["cpus"], job["node_count"]) == (
            int(it.scontrol["NumCPUs"]),
            int(it.scontrol["NumNodes"].partition("-")[0]),
        )


def test_running_jobs_hold_the_nodes_and_have_the_start_that_scontrol_tells(
    up: FleetUnderTest, slurm: SlurmSite, submitted: dict[str, str]
) -> None:
    shown = {job["id"]: job for job in cm_json(up, "pbs", "jobs", "--state", "running")}
    assert shown.keys() == {submitted[what] for what in ("runs", "spans", "elsewhere")}

    for number, job in shown.items():
        it = told(slurm, number)
        assert {place["host"]: place["slots"] for place in job["nodes"]} == it.slots
        assert tuple(place["host"] for place in job["nodes"]) == expand(it.scontrol["NodeList"])
        assert job["started"] == it.time("StartTime")


def test_jobs_that_do_not_run_hold_nothing_and_have_not_begun(up: FleetUnderTest, submitted: dict[str, str]) -> None:
    shown = {job["id"]: job for job in cm_json(up, "pbs", "jobs")}

    for what in ("waits", "held"):
        assert (shown[submitted[what]]["nodes"], shown[submitted[what]]["started"]) == ([], None)


def test_a_queue_that_the_site_has_in_no_cluster_is_shown_as_unmapped(
    up: FleetUnderTest, submitted: dict[str, str]
) -> None:
    clusters = {job["id"]: job["cluster"] for job in cm_json(up, "pbs", "jobs")}

    assert {number for number, cluster in clusters.items() if cluster is None} == {submitted["elsewhere"]}
    assert {job["id"] for job in cm_json(up, "pbs", "jobs", "india")} == {*submitted.values()} - {
        submitted["elsewhere"]
    }


def test_queues_are_the_partitions_with_their_jobs(up: FleetUnderTest) -> None:
    queues = {queue["name"]: queue for queue in cm_json(up, "pbs", "queues")}

    assert {name: queue["jobs"] for name, queue in queues.items()} == {
        "batch": {"C": 2, "R": 1, "Q": 2}, "long": {"R": 1}, "systest": {}, "interactive": {"R": 1}
    }  # fmt: skip
    assert {name: queue["started"] for name, queue in queues.items()} == {
        "batch": True, "long": True, "systest": False, "interactive": True
    }  # fmt: skip
    assert {name: queue["cluster"] for name, queue in queues.items()} == {
        "batch": "india", "long": "india", "systest": "india", "interactive": None
    }  # fmt: skip


def test_nodes_are_those_of_sinfo_with_their_slots_and_cluster(up: FleetUnderTest, slurm: SlurmSite) -> None:
    nodes = {node["name"]: node for node in cm_json(up, "pbs", "nodes")}
    lines = slurm.run("sinfo", "--noheader", "--Node", "--partition=batch", "--format=%N %c").splitlines()

    assert {name: node["slots"] for name, node in nodes.items()} == {
        name: int(cpus) for name, cpus in map(str.split, lines)
    }
    assert {name: "down" in node["states"] for name, node in nodes.items()} == {"i1": False, "i2": False, "i3": True}
    assert {name: node["cluster"] for name, node in nodes.items()} == {"i1": "india", "i2": "india", "i3": None}


def test_people_see_the_same_as_a_table(up: FleetUnderTest, submitted: dict[str, str]) -> None:
    heading, *rows, footer = cm(up, "pbs", "jobs", "india").splitlines()
    spans = next(row.split() for row in rows if row.split()[0] == submitted["spans"])

    assert heading.split() == ["job", "user", "queue", "state", "time", "nodes"]
    assert [spans[0], *spans[1:4], spans[-1]] == [submitted["spans"], USER, "long", "running", "i[1-2]"]
    assert re.fullmatch(r"slurm1: .* old", footer)


def _seconds(clock: str) -> int:
    """Slurm's `[days-]hours:minutes:seconds`."""
    days, _, rest = clock.rpartition("-")
    hours, minutes, seconds = map(int, rest.split(":"))
    return int(days or 0) * 86_400 + hours * 3600 + minutes * 60 + seconds
