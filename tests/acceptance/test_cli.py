"""`cm-actors` as a process, against a fleet of its own: an embedded broker and one worker."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleets import FleetUnderTest, eventually, fleet

from cloudmesh_actors import jobs

PROGRAM = Path(sys.executable).with_name("cm-actors")

#: i[011-030] take their time, two at once: a job on them can be stopped in the middle.
SITE = """
clusters:
  india: {nodes: "i[001-040]"}
bmcs:
  "i[001-040]": {driver: simulator, faults: {i003: silent, i004: wrong-password, "i[011-030]": slow}}
"""


class Program:
    """`cm-actors` with the settings of a fleet."""

    def __init__(self, of: FleetUnderTest) -> None:
        self.fleet = of
        self.environment = {**of.environment, "COLUMNS": "80"}

    def run(self, *arguments: str, code: int = 0, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run it; it has to end with `code`."""
        environment = {**self.environment, **{f"CLOUDMESH_{name}": value for name, value in settings.items()}}
        done = subprocess.run(
            [PROGRAM, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What it prints with --json."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it."""
        return subprocess.Popen(
            [PROGRAM, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def state(self, job_id: str) -> str:
        """A job's state, as the store has it; quicker than a process."""
        with self.fleet.here():
            return jobs.get(job_id).state

    def ids(self) -> set[str]:
        """The ids of all jobs."""
        with self.fleet.here():
            return {job.id for job in jobs.latest(1000)}

    def on_a_terminal(self, *arguments: str, answer: str = "", question: str = "") -> tuple[int, str]:
        """Run it on a terminal, and type `answer` when it has asked `question`; returns exit code and screen."""
        environment = {name: value for name, value in self.environment.items() if name != "NO_COLOR"} | {
            "TERM": "xterm"
        }
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(PROGRAM, [str(PROGRAM), *arguments], environment)
        screen, deadline = "", time.monotonic() + 60
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                screen += os.read(terminal, 65_536).decode(errors="replace")
            except OSError:  # the other end is closed
                break
            if answer and question in screen:
                os.write(terminal, answer.encode())
                answer = ""
        else:
            os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), screen


@pytest.fixture(scope="module")
def cm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "site.yaml").write_text(SITE)
    settings = {"WORKERS": "rack=1", "THREADS": "2", "FANOUT": "2", "SITE": folder / "site.yaml"}
    with fleet(folder / "logs", **settings) as it:
        it.run("up")
        yield Program(it)


def test_a_job_is_sent_waited_for_listed_and_found_in_the_logs(cm: Program) -> None:
    done = cm.run("send", "rack.read_sensors", "i[001-002]", "--wait")

    lines = done.stdout.splitlines()
    assert lines[0].split() == ["node", "sensor", "value", "unit", "state"]
    assert any("Temp" in line and "°C" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert "2 nodes ok" in done.stderr

    job = cm.json("jobs", "--actor", "rack.read_sensors")[0]
    assert {"id", "actor", "queue", "state", "runs", "worker", "enqueued_at", "started_at", "ended_at", "progress",
            "error"} <= job.keys()  # fmt: skip
    assert (job["state"], job["worker"], job["runs"], job["queue"]) == ("done", "rack", 1, "rack")
    assert job["enqueued_at"].endswith("Z")
    assert (job["progress"]["done"], job["progress"]["total"]) == (2, 2)
    assert job["id"][:8] in cm.run("jobs").stdout
    assert job["id"] in cm.run("job", job["id"][:8]).stdout
    events = cm.run("logs", "--job", job["id"], "--json").stdout.splitlines()
    assert events
    assert {json.loads(event)["job_id"] for event in events} == {job["id"]}


def test_silent_and_refusing_bmcs_are_sentences_while_the_others_are_read(cm: Program) -> None:
    done = cm.run("rack", "sensors", "i[001-004]", code=1)

    assert "2 nodes ok, 2 failed" in done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines() if line.startswith(("i003", "i004"))] == [
        "i003",
        "i004",
    ]
    entries = cm.json("rack", "sensors", "i[001-004]", code=1)
    assert [(entry["node"], entry["error_kind"]) for entry in entries] == [
        ("i001", None), ("i002", None), ("i003", "unreachable"), ("i004", "authentication"),
    ]  # fmt: skip


def test_a_running_job_is_aborted_and_sent_again(cm: Program) -> None:
    job_id = cm.run("send", "rack.read_sensors", "i[011-030]").stdout.strip()
    eventually(lambda: cm.state(job_id) == "running")

    cm.run("abort", job_id)

    eventually(lambda: cm.state(job_id) == "aborted")
    assert len(cm.json("job", job_id)["nodes"]) < 20
    again = cm.json("retry", job_id)
    assert again["retry_of"] == job_id
    cm.run("abort", again["id"])


def test_ctrl_c_ends_the_command_and_the_job_goes_on(cm: Program) -> None:
    before = cm.ids()
    waiting = cm.start("rack", "temperature", "i[011-012]")
    assert waiting.stderr
    told = waiting.stderr.readline()

    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=30)

    (job_id,) = cm.ids() - before
    assert told.startswith(f"rack.temperature {job_id[:8]} is ")
    assert (waiting.returncode, out) == (130, "")
    assert f"The job {job_id[:8]} goes on. See it with `cm-actors job {job_id[:8]}`" in err
    eventually(lambda: cm.state(job_id) == "done")


def test_on_a_terminal_a_bar_moves_and_states_have_colours(cm: Program) -> None:
    code, screen = cm.on_a_terminal("rack", "temperature", "i[011-012]")

    assert code == 0
    assert "rack.temperature running" in screen
    assert "\x1b[32mok" in screen


def test_many_nodes_are_switched_off_only_when_their_number_is_typed(cm: Program) -> None:
    switch = ("rack", "power", "i[031-039]", "off")
    question = "Type the number of nodes to go on: "

    refused = cm.run(*switch, code=2)
    wrong, screen = cm.on_a_terminal(*switch, answer="1\n", question=question)
    before = cm.json("rack", "power", "i[031-039]")
    right, _ = cm.on_a_terminal(*switch, answer="9\n", question=question)
    after = cm.json("rack", "power", "i[031-039]")

    assert "Nothing was sent; add --yes" in refused.stderr
    assert (wrong, "Nothing was sent." in screen, right) == (2, True, 0)
    assert {entry["power"] for entry in before} == {"on"}
    assert {entry["power"] for entry in after} == {"off"}


def test_workers_and_queues_are_shown(cm: Program) -> None:
    (rack,) = [worker for worker in cm.json("workers") if worker["name"] == "rack"]
    queues = {row["queue"]: row for row in cm.json("queues")}

    assert (rack["state"], rack["pid"]) == ("ready", cm.fleet.pid("rack"))
    assert queues["rack"]["workers"] == 1
    assert max(map(len, cm.run("workers").stdout.splitlines())) <= 80


def test_a_broker_or_a_store_that_is_away_is_a_sentence_and_code_3(cm: Program) -> None:
    broker = cm.run("rack", "events", "i001", code=3, BROKER_URL="amqp://me:pass-word@127.0.0.1:1/")
    store = cm.run("jobs", code=3, STORE_URL="sqlite:////proc/nowhere/store.db")

    assert "amqp://me:***@127.0.0.1:1/ does not answer" in broker.stderr
    assert "/proc/nowhere" in store.stderr
    for done in (broker, store):
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1
