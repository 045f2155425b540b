"""`cm-actors launch` with a fleet whose workers run scripts on this host."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from brokers import Server
from fleets import FleetUnderTest, eventually, fleet

from cloudmesh_actors import jobs, launcher
from cloudmesh_actors.cli import main
from cloudmesh_actors.launcher.model import Launch

SITE = """
clusters:
  india: {nodes: "i[001-004]"}
hosts:
  "i[001-003]": {driver: local}
  "i004": {driver: simulator}
recipes: recipes
"""

WRITES = """
label: Writes what it does
parameters:
  effects: {type: string, required: true}
  seconds: {type: float, default: 0, min: 0, max: 60}
script:
  - - sh
    - -c
    - echo "begin $CM_SERVER" >>"$1"; sleep "$2"; echo "end $CM_SERVER" >>"$1"; echo wrote
    - writes
    - "{effects}"
    - "{seconds}"
timeout: 60
"""

FAILS = """
label: Fails on one server
script: fails.sh
arguments: ["{server}"]
"""

FAILS_SH = """#!/bin/sh
echo "looking at $1"
[ "$1" != i002 ] || { echo "no disk: password=hunter2-is-not-shown" >&2; exit 3; }
"""

WRONG = """
label: Wrong
scrpt: [[true]]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launch")
    (folder / "site.yaml").write_text(SITE)
    (folder / "recipes").mkdir()
    for name, text in (("writes.yaml", WRITES), ("fails.yaml", FAILS), ("fails.sh", FAILS_SH), ("wrong.yaml", WRONG)):
        (folder / "recipes" / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def up(folder: Path, session_rabbitmq: Server) -> Iterator[FleetUnderTest]:
    """On RabbitMQ, which gives the messages of a killed worker to others at once."""
    url = session_rabbitmq.url
    with fleet(folder / "logs", WORKERS="launcher=2", SITE=folder / "site.yaml", BROKER_URL=url, LAUNCH_DELAY=0) as it:
        it.up()
        yield it


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


def launches(it: FleetUnderTest, job_id: str) -> list[Launch]:
    with it.here():
        return launcher.launches(job=job_id)


def ended(it: FleetUnderTest, job_id: str) -> jobs.Job:
    with it.here():
        return jobs.wait(job_id, 60)


def test_a_launch_is_watched_to_its_end(up: FleetUnderTest, tmp_path: Path) -> None:
    effects = tmp_path / "effects"

    done = cm(up, "launch", "writes", "i[001-003]", "-p", f"effects={effects}", "--watch")

    assert sorted(effects.read_text().split("\n")[:-1]) == sorted(
        f"{what} i00{n}" for n in (1, 2, 3) for what in ("begin", "end")
    )
    lines = done.stdout.splitlines()
    assert [line.split()[1:4] for line in lines[1:4]] == [["writes", f"i00{n}", "active"] for n in (1, 2, 3)]
    assert "i001 active" in done.stderr or "is done" in done.stderr
    assert max(map(len, lines)) <= 80


def test_a_script_that_fails_shows_the_end_of_its_output_and_can_be_launched_again(up: FleetUnderTest) -> None:
    done = cm(up, "launch", "fails", "i[001-004]", "--watch", "--json", code=1)
    found: list[dict[str, Any]] = json.loads(done.stdout)

    assert [launch["state"] for launch in found] == ["active", "error", "active", "active"]
    assert "fails.sh ended with status 3; it said last: no disk: password=" in found[1]["error"]
    assert found[1]["output"].startswith("looking at i002\nno disk")
    assert "hunter2" not in done.stdout + done.stderr + "".join(log.read_text() for log in up.log_dir.glob("l?.log"))

    again = cm(up, "launcher", "relaunch", found[0]["job"][:8]).stdout.strip()
    assert ended(up, again).state == "failed"
    assert [(launch.server, launch.state) for launch in launches(up, again)] == [("i002", "error")]


def test_output_is_in_the_workers_log_with_the_jobs_id(up: FleetUnderTest, tmp_path: Path) -> None:
    job_id = cm(up, "launch", "writes", "i001", "-p", f"effects={tmp_path / 'effects'}").stdout.strip()
    ended(up, job_id)

    events = [json.loads(line) for log in up.log_dir.glob("l?.log") for line in log.read_text().splitlines()]
    printed = [event for event in events if event["event"] == "script.printed" and event.get("job_id") == job_id]
    assert [(event["server"], event["line"]) for event in printed] == [("i001", "wrote")]


def test_a_worker_killed_in_mid_launch_costs_nothing_and_repeats_nothing(up: FleetUnderTest, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    job_id = cm(up, "launch", "writes", "i001", "-p", f"effects={effects}", "-p", "seconds=3").stdout.strip()
    eventually(lambda: effects.exists() and launches(up, job_id)[0].state == "deploy")
    eventually(lambda: launches(up, job_id)[0].worker)
    os.kill(up.pid(str(launches(up, job_id)[0].worker).partition("@")[0]), signal.SIGKILL)

    job = ended(up, job_id)

    [launch] = launches(up, job_id)
    assert (job.state, launch.state) == ("done", "active")
    assert effects.read_text() == "begin i001\nend i001\n"
    with up.here():
        assert launcher.output(launch.step_id) == "wrote\n"


def test_an_abort_ends_scripts_with_all_that_they_started(up: FleetUnderTest, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    job_id = cm(up, "launch", "writes", "i[001-002]", "-p", f"effects={effects}", "-p", "seconds=50").stdout.strip()
    eventually(lambda: effects.exists() and len(effects.read_text().splitlines()) == 2)

    cm(up, "launcher", "abort", job_id)

    assert ended(up, job_id).state == "aborted"
    assert {launch.state for launch in launches(up, job_id)} == {"aborted"}
    assert "end" not in effects.read_text()


def test_recipes_are_listed_and_wrong_ones_told_with_line_and_key(up: FleetUnderTest) -> None:
    done = cm(up, "launcher", "recipes", code=4)

    assert [line.split()[0] for line in done.stdout.splitlines()] == ["recipe", "fails", "writes"]
    assert "wrong.yaml:3: scrpt: is not a known key; did you mean script?" in done.stderr
    assert "wrong.yaml:3: scrpt" in cm(up, "site", "check", "--json", code=4).stdout


def test_statistics_are_counted_and_forgotten_when_asked(up: FleetUnderTest) -> None:
    cm(up, "launch", "fails", "i004", "--watch")
    count = sum(stat["count"] for stat in json.loads(cm(up, "launcher", "stats", "--json").stdout))
    refused = cm(up, "launcher", "reset", code=2)
    forgotten = json.loads(cm(up, "launcher", "reset", "--yes", "--json").stdout)["forgotten"]

    assert f"{count} launch" in refused.stderr
    assert forgotten == count
    assert json.loads(cm(up, "launcher", "stats", "--json").stdout) == []


def test_what_is_wrong_is_a_sentence_and_nothing_is_sent(up: FleetUnderTest) -> None:
    before = cm(up, "jobs", "--json", "-n", "100").stdout
    for arguments, sentence in (
        (("writes", "i001"), "writes: effects is missing."),
        (("writes", "i001", "-p", "effects"), "'effects' is not of the form NAME=VALUE."),
        (("writes", "i001", "-p", "effects=x", "-p", "seconds=99"), "seconds is 99.0, which is more than 60."),
        (("wrtes", "i001"), "There is no recipe 'wrtes'; did you mean writes?"),
        (("wrong", "i001"), "The recipe 'wrong' cannot be used"),
        (("writes", "i009", "-p", "effects=x"), "i009 is not in the site"),
    ):
        assert sentence in cm(up, "launch", *arguments, code=2).stderr

    assert cm(up, "jobs", "--json", "-n", "100").stdout == before
