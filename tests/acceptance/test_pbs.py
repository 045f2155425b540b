"""`cm-actors pbs` with a fleet whose workers ask a batch server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleets import FleetUnderTest, fleet

SITE = """
clusters:
  india: {{nodes: "i[001-032]", queues: {{server: torque1, names: [batch, long]}}}}
  delta: {{nodes: "d[001-008]", queues: {{server: torque1, names: [delta]}}}}
batch_servers:
  torque1: {{driver: simulator, seed: 1, {more}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pbs")


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[FleetUnderTest]:
    write_site(folder)
    with fleet(folder / "logs", WORKERS="pbs=2", SITE=folder / "site.yaml") as it:
        it.run("up")
        yield it


@pytest.fixture(autouse=True)
def sound_site(folder: Path) -> None:
    write_site(folder)


def write_site(folder: Path, more: str = "max_age: 0") -> None:
    (folder / "site.yaml").write_text(SITE.format(more=more))


def cm(it: FleetUnderTest, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", "import sys; from cloudmesh_actors.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*command, *arguments], env={**it.environment, "COLUMNS": "80", **environment}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


def python(it: FleetUnderTest, program: str, code: int = 0) -> str:
    """What a Python program with the fleet's settings prints."""
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, env=it.environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout


def cm_json(it: FleetUnderTest, *arguments: str, code: int = 0) -> Any:
    return json.loads(cm(it, *arguments, "--json", code=code).stdout)


def test_jobs_of_a_cluster_are_shown_with_nodes_and_age(up: FleetUnderTest) -> None:
    jobs = cm_json(up, "pbs", "jobs", "india", "--refresh")
    shown = cm(up, "pbs", "jobs", "india").stdout.splitlines()

    assert {job["cluster"] for job in jobs} == {"india"}
    assert len(shown) == len(jobs) + 2
    assert shown[0].split() == ["job", "user", "queue", "state", "time", "nodes"]
    assert shown[-1].startswith("torque1: ")
    assert shown[-1].endswith(" old")
    assert max(map(len, shown)) <= 80


def test_users_agree_with_the_jobs(up: FleetUnderTest) -> None:
    cm(up, "pbs", "refresh")
    jobs, users = cm_json(up, "pbs", "jobs"), cm_json(up, "pbs", "users")

    assert sum(user["jobs"] for user in users) == len(jobs)
    assert {user["user"] for user in users} == {job["owner"] for job in jobs}


def test_a_server_that_is_away_leaves_the_last_good_data_and_the_exit_code_1(up: FleetUnderTest, folder: Path) -> None:
    [good] = cm_json(up, "pbs", "refresh")
    write_site(folder, "max_age: 0, fault: away")

    [bad] = cm_json(up, "pbs", "refresh", "torque1", code=1)
    shown = cm(up, "pbs", "jobs", code=1).stdout.splitlines()

    assert (bad["ok"], bad["error_kind"], bad["snapshot"]) == (False, "unreachable", good["snapshot"])
    assert "torque1" in bad["error"]
    assert len(shown) > good["jobs"]
    assert "what is stored is" in " ".join(shown[-3:])
    assert "does not answer" in " ".join(shown[-3:])


def test_a_wrong_name_is_a_sentence_with_a_near_miss(up: FleetUnderTest) -> None:
    done = cm(up, "pbs", "nodes", "indja", "--refresh", code=2)

    assert "The site has no cluster 'indja'; did you mean india?" in done.stderr
    assert done.stdout == ""


def test_watch_shows_it_again_until_ctrl_c(up: FleetUnderTest) -> None:
    program = """
import sys, time
from cloudmesh_actors.cli import main, pbsstore
turns = []
def sleep(seconds):
    turns.append(seconds)
    if len(turns) == 3:
        raise KeyboardInterrupt
pbsstore.keep_showing.__defaults__ = (sleep,)
sys.exit(main(["pbs", "users", "india", "--watch", "--refresh"]))
"""
    assert python(up, program).count("user ") == 3


def test_many_who_ask_within_the_window_share_one_snapshot(up: FleetUnderTest, folder: Path) -> None:
    write_site(folder)  # within the window a failure is shared too, and the test before may have left one
    first = cm_json(up, "pbs", "refresh")[0]["snapshot"]
    write_site(folder, "max_age: 3600")

    program = f"""
import json
from cloudmesh_actors import jobs
from cloudmesh_actors.pbs.actors import qstat
ids = [qstat.send("india").message_id for _ in range(16)]
print(json.dumps([jobs.wait(each, 60).result[0]["snapshot"] for each in ids] + [{first}]))
"""
    assert set(json.loads(python(up, program))) == {first}
