"""The commands against a real store and a broker in memory, in this process."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from cloudmesh_actors import broker, jobs, leases, roster, store
from cloudmesh_actors.actor import import_families
from cloudmesh_actors.cli import confirm, main
from cloudmesh_actors.rack import records

SITE = """
clusters:
  india: {nodes: "i[001-020]"}
bmcs:
  "i[001-020]": {driver: simulator, faults: {i003: silent, i004: wrong-password}}
"""


class Program:
    """Runs `cm-actors` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What it prints on stdout; it has to end with `code`."""
        self._capsys.readouterr()
        ended = main([*arguments])
        told = self._capsys.readouterr()
        self.err = told.err
        assert ended == code, told.err
        return told.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def cm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    (tmp_path / "site.yaml").write_text(SITE)
    for name, value in {"LOG_DIR": tmp_path / "logs", "BROKER_URL": "stub://", "SITE": tmp_path / "site.yaml"}.items():
        monkeypatch.setenv(f"CLOUDMESH_{name}", str(value))
    monkeypatch.setenv("COLUMNS", "80")
    broker.reset()
    store.reset()
    import_families()
    yield Program(capsys)
    broker.reset()
    store.current().close()
    store.reset()


@pytest.fixture
def worker(cm: Program) -> Iterator[None]:
    """A worker in this process."""
    roster.register("rack", "rack").ready()
    running = dramatiq.Worker(broker.current(), queues={"rack"}, worker_timeout=50, worker_threads=2)
    running.start()
    yield
    running.stop()


def test_a_job_that_is_sent_is_listed_aborted_and_sent_again(cm: Program) -> None:
    assert cm.json("jobs") == []
    job_id = cm("send", "rack.temperature", "i001", "unit=F").strip()

    assert cm("abort", job_id[:8]) == ""
    assert cm.err == f"The job {job_id[:8]} will not run.\n"
    cm("abort", job_id)
    assert "had ended before: it is aborted" in cm.err
    again = cm.json("retry", job_id)

    assert again["retry_of"] == job_id
    assert [(job["id"], job["state"]) for job in cm.json("jobs")] == [(again["id"], "queued"), (job_id, "aborted")]
    assert [job["id"] for job in cm.json("jobs", "--state", "aborted", "--actor", "rack.temperature")] == [job_id]
    assert cm.json("jobs", "--queue", "pbs") == []
    assert len(cm.json("jobs", "-n", "1")) == 1
    whole = cm.json("job", again["id"][:8])
    assert (whole["args"], whole["kwargs"], whole["nodes"]) == (["i001", "F"], {}, [])
    cm("retry", again["id"], code=2)
    assert "it can be retried when it has ended" in cm.err


@pytest.mark.parametrize("command", ["job", "abort", "retry"])
def test_an_unknown_job_is_wrong_usage(cm: Program, command: str) -> None:
    assert cm(command, "nothing", code=2) == ""
    assert cm.err == "There is no job 'nothing'.\n"


def test_without_a_worker_the_wait_says_so_and_ends_in_time(cm: Program) -> None:
    assert cm("send", "rack.events", "i001", "--wait", "--timeout", "1.5", "--json", code=1) == ""

    (job,) = jobs.latest()
    assert "No worker serves the queue rack; start some with `make workers-up`.\n" in cm.err
    assert (
        f"The job {job.id} is still queued after 1.5 s; it goes on. See it with `cm-actors job {job.id[:8]}`" in cm.err
    )


def test_ctrl_c_ends_the_wait_and_not_the_job(cm: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "wait", interrupted)

    assert cm("rack", "events", "i001", code=130) == ""

    (job,) = jobs.latest()
    assert job.state == "queued"
    assert f"The job {job.id[:8]} goes on. See it with `cm-actors job {job.id[:8]}`, stop it with" in cm.err


@pytest.mark.usefixtures("worker")
def test_sensors_are_read_by_a_worker_and_shown_again_from_the_store(cm: Program) -> None:
    entries = cm.json("rack", "sensors", "i[001-004]", code=1)

    assert [(entry["node"], entry["ok"]) for entry in entries] == [
        ("i001", True), ("i002", True), ("i003", False), ("i004", False),
    ]  # fmt: skip
    assert {"name", "kind", "value", "unit", "state"} <= entries[0]["readings"][0].keys()
    assert "2 nodes ok, 2 failed" in cm.err

    stored = cm.json("rack", "sensors", "i[001-004]", "--stored", code=1)
    assert [entry["readings"] for entry in stored] == [entry["readings"] for entry in entries]

    shown = cm("rack", "sensors", "i[001,005]", "--stored", code=1)
    assert max(map(len, shown.splitlines())) <= 80
    assert "i001: read " in shown
    assert cm.err == "i005: nothing is stored; `cm-actors rack sensors` reads them.\n"


@pytest.mark.usefixtures("worker")
def test_nodes_that_failed_are_told_in_tables_and_in_the_list_of_jobs(cm: Program) -> None:
    shown = cm("rack", "temperature", "i[001-004]", "--unit", "f", code=1)

    lines = shown.splitlines()
    assert lines[0].split() == ["node", "sensor", "value", "unit", "state"]
    assert "°F" in lines[1]
    assert [line.partition(":")[0] for line in lines if line.startswith("i00") and ":" in line] == ["i003", "i004"]
    (job,) = cm.json("jobs")
    assert job["nodes"] == {"ok": 2, "failed": 2}
    assert "2 failed" in cm("jobs")
    assert "ok      i[001-002] (2)" in cm("job", job["id"])


@pytest.mark.usefixtures("worker")
def test_power_and_events(cm: Program) -> None:
    assert cm("rack", "power", "i[001-002]").splitlines()[1].split() == ["i[001-002]", "on"]
    assert [entry["power"] for entry in cm.json("rack", "power", "i[001-002]", "off")] == ["off", "off"]
    assert cm("rack", "power", "i[001-002]", "off").splitlines()[1].split() == ["i[001-002]", "off", "already", "off"]
    assert [entry["node"] for entry in cm.json("rack", "events", "i[001-002]")] == ["i001", "i002"]
    assert cm("rack", "events", "i[001-002]").startswith("node")


@pytest.mark.usefixtures("worker")
def test_a_job_of_an_actor_without_a_table_prints_json(cm: Program) -> None:
    shown = cm("send", "rack.power_status", "i001", "--wait")
    assert shown.splitlines()[0].split() == ["node", "power"]


def test_an_aborted_job_still_has_an_entry_for_every_node(cm: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def aborted(job_id: str, *_args: object, **_options: object) -> jobs.Job:
        return jobs.abort(job_id)

    monkeypatch.setattr(jobs, "wait", aborted)

    entries = cm.json("rack", "sensors", "i[001-002]", code=1)

    assert [(entry["node"], entry["ok"], entry["readings"]) for entry in entries] == [
        ("i001", False, []),
        ("i002", False, []),
    ]
    assert entries[0]["error"] == "It was aborted before it began."


@pytest.mark.parametrize("action", ["off", "cycle", "soft"])
def test_to_switch_off_many_nodes_unasked_is_refused(cm: Program, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("9\n"))

    assert cm("rack", "power", "i[001-009]", action, code=2) == ""

    assert cm.err.startswith(f"power {action}, 9 nodes: i[001-009]\n")
    assert cm.err.endswith(
        f"power {action}, 9 nodes: nobody is there to be asked. Nothing was sent; add --yes if it is meant.\n"
    )
    assert jobs.latest() == []


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "sent"), [("9\n", True), ("8\n", False), ("yes\n", False), ("", False)])
def test_to_switch_off_many_nodes_their_number_is_typed(
    cm: Program, monkeypatch: pytest.MonkeyPatch, typed: str, sent: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))

    cm("rack", "power", "i[001-009]", "off", "--timeout", "0.1", code=1 if sent else 2)

    assert cm.err.startswith("power off, 9 nodes: i[001-009]\n")
    assert "\nType the number of nodes to go on: " in cm.err
    assert len(jobs.latest()) == sent


@pytest.mark.parametrize(
    "arguments", [["i[001-008]", "off"], ["i[001-020]", "on"], ["i[001-020]", "status"], ["i[001-020]", "off", "--yes"]]
)
def test_nobody_is_asked_for_few_nodes_or_what_does_no_harm(
    cm: Program, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(confirm, "_answer", lambda _question: pytest.fail("nobody should be asked"))

    cm("rack", "power", *arguments, "--timeout", "0.1", code=1)

    assert len(jobs.latest()) == 1


def test_a_dry_run_shows_what_would_be_hit_and_sends_nothing(cm: Program) -> None:
    assert cm("rack", "power", "@india!i001", "off", "--dry-run").splitlines() == [
        "power off, 19 nodes: i[002-020]",
        "i[002-020]: in no cluster with batch queues",
        "what they draw was not measured",
    ]
    assert cm.err == ""
    plan = cm.json("rack", "power", "i001", "cycle", "--dry-run", "--yes")
    assert (plan["action"], plan["folded"], [entry["node"] for entry in plan["nodes"]]) == (
        "power cycle", "i001", ["i001"],
    )  # fmt: skip
    assert jobs.latest() == []


@pytest.mark.usefixtures("worker")
def test_what_would_be_hit_is_shown_before_a_few_nodes_are_switched_off(cm: Program) -> None:
    cm("rack", "sensors", "i001")
    leases.take(["i002"], job_id="1a2b3c4d5e", actor="rain.deploy_system")

    cm("rack", "power", "i[001-002]", "off", code=1)

    title, _, watts, held, *_ = cm.err.splitlines()
    assert title == "power off, 2 nodes: i[001-002]"
    assert re.fullmatch(r"\d{3} W on 1 of 2, measured up to \d s ago", watts)
    assert re.fullmatch(r"i002 is held by job 1a2b3c4d \(rain.deploy_system\) since \d s; it would be refused", held)


@pytest.mark.usefixtures("worker")
def test_to_switch_on_harms_nobody_and_only_leases_are_shown(cm: Program) -> None:
    cm("rack", "power", "i[001-002]", "on")
    assert "nodes: i[001-002]" not in cm.err

    leases.take(["i002"], job_id="1a2b3c4d5e", actor="rain.deploy_system")
    cm("rack", "power", "i[001-002]", "on", code=1)
    assert cm.err.startswith("i002 is held by job 1a2b3c4d")


@pytest.mark.usefixtures("worker")
def test_nodes_of_other_jobs_are_refused_or_waited_for(cm: Program) -> None:
    leases.take(["i001"], job_id="1a2b3c4d5e", actor="rain.deploy_system", ttl=600)
    entries = cm.json("rack", "power", "i[001-002]", "off", code=1)
    assert [(entry["ok"], entry["error_kind"]) for entry in entries] == [(False, "lease_held"), (True, None)]

    leases.take(["i001"], job_id="1a2b3c4d5e", actor="rain.deploy_system", ttl=0.5)
    assert cm.json("rack", "power", "i001", "off", "--wait-lease", "60")[0]["ok"]
    assert jobs.get(jobs.latest(1)[0].id).args == ["i001", "off", 60.0]


def test_leases_are_listed_and_released_only_when_it_is_meant(cm: Program) -> None:
    assert cm("leases") == ""
    assert cm.err == "Nobody holds a lease.\n"
    leases.take(["i001", "i002"], job_id="1a2b3c4d5e", actor="rain.deploy_system")

    head, first, second = cm("leases").splitlines()
    assert head.split() == ["node", "job", "actor", "held", "for", "expires", "in", "fence"]
    assert [line.split()[:3] for line in (first, second)] == [
        ["i001", "1a2b3c4d", "rain.deploy_system"], ["i002", "1a2b3c4d", "rain.deploy_system"],
    ]  # fmt: skip
    [entry] = cm.json("leases", "i002")
    assert (entry["node"], entry["job_id"], entry["fence"]) == ("i002", "1a2b3c4d5e", 1)
    assert 0 < entry["expires_in"] <= 60
    assert datetime.fromisoformat(entry["taken_at"]).tzinfo is not None

    cm("leases", "i002", "--release", code=2)
    assert "1a2b3c4d (rain.deploy_system) may still work on i002" in cm.err
    cm("leases", "--release", "--yes", code=2)
    assert cm.json("leases", "i[002-003]", "--release", "--yes") == ["i002"]
    assert [entry["node"] for entry in cm.json("leases")] == ["i001"]


def remember(node: str, at: datetime, value: float) -> None:
    reading = {"name": "CPU1 Temp", "kind": "temperature", "value": value, "unit": "C", "state": "ok", "thresholds": {}}
    records.remember([{"node": node, "ok": True, "error": None, "error_kind": None, "readings": [reading]}], at)


def test_history_is_a_curve_a_table_and_json(cm: Program) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for minute in range(30):
        remember("i001", now - timedelta(minutes=30 - minute), 40.0 + minute)

    shown = cm("rack", "history", "i001", "cpu1 temp", "--since", "2h").splitlines()
    points = cm.json("rack", "history", "i001", "CPU1 Temp", "--since", "10m")

    assert shown[0] == "i001  CPU1 Temp  °C"
    assert (shown[1][0], shown[1][-1], len(shown[1])) == ("▁", "█", 30)
    assert len(shown) == 3 + 16
    assert [point["value"] for point in points][-9:] == [float(value) for value in range(61, 70)]
    assert len(points) <= 10
    assert points[-1]["time"].endswith("Z")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["i001", "cpu1 tmp"], "did you mean 'CPU1 Temp'?"),
        (["i001", "zzz"], "there are CPU1 Temp."),
        (["i002", "cpu1 temp"], "i002: nothing is stored"),
        (["i[001-002]", "cpu1 temp"], "a history is of one"),
        (["i001", "cpu1 temp", "--since", "soon"], "is no time"),
    ],
)
def test_a_history_that_is_not_there_is_wrong_usage(cm: Program, arguments: list[str], sentence: str) -> None:
    remember("i001", datetime.now(UTC), 40.0)

    assert cm("rack", "history", *arguments, code=2) == ""
    assert sentence in cm.err


def test_queues_have_their_depths_and_workers(cm: Program) -> None:
    cm("send", "rack.events", "i001")
    roster.register("rack", "rack").ready()

    rows = {row["queue"]: row for row in cm.json("queues")}

    assert list(rows) == ["launcher", "provisioner", "pbs", "rain", "rack"]
    assert (rows["rack"]["ready"], rows["rack"]["workers"], rows["pbs"]["ready"]) == (1, 1, 0)
    assert rows["rack"]["oldest"] > 0
    assert (rows["pbs"]["oldest"], rows["rack"]["paused"]) == (None, None)
    headings = "queue ready delayed running set aside oldest workers paused"
    assert cm("queues").splitlines()[0].split() == headings.split()


def test_node_sets_are_folded_expanded_and_counted(cm: Program) -> None:
    assert cm("site", "nodes", "i[001-003]", "i005") == "i[001-003,005]\n"
    assert cm("site", "nodes", "@india!i[003-020]", "-e") == "i001 i002\n"
    assert cm("site", "nodes", "i[001-002]", "-e", "-S", "\\n") == "i001\ni002\n"
    assert cm("site", "nodes", "@all", "--count") == "20\n"
    assert cm.json("site", "nodes", "i001") == {"nodes": ["i001"], "folded": "i001", "count": 1}


def test_the_site_check_tells_what_is_not_well_with_its_servers(cm: Program) -> None:
    assert cm("site", "check").startswith("ok ")
    shown = cm("site", "check", "--probe", code=1)
    findings = cm.json("site", "check", "--probe", code=1)

    assert "bmc i003: the simulated BMC" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert {finding["name"] for finding in findings if finding["level"] == "error"} == {"i003", "i004"}


def test_the_site_check_tells_every_mistake(cm: Program, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("clusters:\n  india: {nods: 'i[001-004]'}\nrack: {}\n")

    findings = cm.json("site", "check", code=4)

    assert len(findings) >= 2
    assert {finding["level"] for finding in findings} == {"error"}
    shown = "".join(line[9:].rstrip() for line in cm("site", "check", code=4).splitlines())
    assert shown.count(f"{tmp_path}/site.yaml:") == len(findings)


def test_an_upgrade_of_the_store_is_told(cm: Program) -> None:
    first, second = cm.json("store", "upgrade"), cm.json("store", "upgrade")

    assert (first["before"], second["before"]) == (None, second["now"])
    cm("store", "upgrade")
    assert cm.err.endswith(f"is at schema {store.SCHEMA_VERSION} already.\n")


def test_a_store_of_a_newer_release_is_left_alone(cm: Program) -> None:
    cm("store", "upgrade")
    with store.current().write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    assert cm("store", "upgrade", code=3) == ""
    assert "was made by a newer release" in cm.err


def test_a_missing_store_and_a_missing_broker_have_code_3(cm: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    from cloudmesh_actors import settings

    broker.reset()
    monkeypatch.setenv("CLOUDMESH_BROKER_URL", "redis://me:pass-word@127.0.0.1:1/0")
    settings.reset()

    for command in (["queues"], ["send", "rack.events", "i001"], ["rack", "events", "i001"]):
        assert cm(*command, code=3) == ""
        assert "redis://me:***@127.0.0.1:1/0 does not answer" in cm.err
        assert "pass-word" not in cm.err


def test_completion_offers_commands_actors_and_jobs(
    cm: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = cm("send", "rack.events", "i001").strip()
    monkeypatch.setenv("_CM_ACTORS_COMPLETE", "complete_bash")
    offers = {
        "cm-actors sto": "store",
        "cm-actors send rack.power_": "rack.power_status",
        f"cm-actors job {job_id[:4]}": job_id,
        "cm-actors rack power i001 cy": "cycle",
    }
    for words, offered in offers.items():
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        assert cm().split() == [offered]
