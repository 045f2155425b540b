"""The rack's actors, called as plain functions on a simulated site."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import orjson
import pytest

from cloudmesh_actors import leases, runs, settings, steps, store
from cloudmesh_actors.errors import ArgumentError, LeaseLost, NodeError
from cloudmesh_actors.rack import actors, records

SITE = """
clusters:
  india: {nodes: "i[001-008]"}
bmcs:
  "i[001-007]":
    driver: simulator
    seed: 5
    faults: {i002: silent, i003: wrong-password, i004: no-reading, i005: hot, i006: sessions-exhausted}
"""
NODES = [f"i{number:03}" for number in range(1, 9)]
KINDS = {
    "i002": "unreachable",
    "i003": "authentication",
    "i006": "sessions",
    "i008": "error",
}


@pytest.fixture(autouse=True)
def small_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    monkeypatch.setenv("CLOUDMESH_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("CLOUDMESH_BROKER_URL", "stub://")
    settings.reset()
    store.reset()


def test_all_that_can_be_read_is_read_and_each_failure_is_a_sentence_of_its_own() -> None:
    results = actors.read_sensors("@india")

    assert [result["node"] for result in results] == NODES
    assert {result["node"]: result["error_kind"] for result in results if not result["ok"]} == KINDS
    for result in results:
        assert datetime.fromisoformat(result["time"]).tzinfo is not None
        assert bool(result["readings"]) == result["ok"] == (result["error"] is None)
        assert result["ok"] or result["node"] in result["error"]


def test_a_reading_that_is_missing_is_null() -> None:
    [result] = actors.read_sensors("i004")

    missing = [reading for reading in result["readings"] if reading["state"] == "no reading"]
    assert missing
    assert all(reading["value"] is None for reading in missing)


def test_results_are_small_json() -> None:
    results = actors.read_sensors("i001")

    assert orjson.loads(orjson.dumps(results)) == results
    assert len(orjson.dumps(results)) < 4000


def test_what_is_read_is_kept() -> None:
    results = actors.read_sensors("i[001-004]")

    kept = records.latest()
    assert [{name: entry[name] for name in ("node", "error", "readings")} for entry in kept] == [
        {name: result[name] for name in ("node", "error", "readings")} for result in results
    ]
    assert "CPU1 Temp" in [column.name for column in records.sensors_of("i001")]


@pytest.mark.parametrize(("unit", "value"), [("C", 93.0), ("F", 199.4)])
def test_the_hottest_sensor(unit: str, value: float) -> None:
    [result] = actors.temperature("i005", unit=unit)  # type: ignore[arg-type]

    assert (result["sensor"], result["value"], result["unit"], result["state"]) == (
        "CPU1 Temp",
        value,
        unit,
        "critical",
    )
    assert records.latest(["i005"])


def test_power_goes_off_and_on_and_stays_so_for_everybody() -> None:
    assert [entry["power"] for entry in actors.power_status("i[001,005]")] == ["on", "on"]

    switched = actors.power("i[001,005]", "off")
    assert [(entry["ok"], entry["power"], entry["note"]) for entry in switched] == [(True, "off", "switched off")] * 2
    assert [entry["power"] for entry in actors.power_status("i[001,005]")] == ["off", "off"]

    [again] = actors.power("i001", "off")
    assert again["note"] == "already off"
    [cycled] = actors.power("i001", "cycle")
    assert (cycled["power"], cycled["note"]) == ("on", "switched on")


def test_a_node_that_is_off_has_no_readings_of_what_is_off() -> None:
    actors.power("i001", "off")
    [result] = actors.read_sensors("i001")

    states = {reading["name"]: reading["state"] for reading in result["readings"]}
    assert states["CPU1 Temp"] == "no reading"
    assert states["Inlet Temp"] == "ok"


def test_power_of_many_tells_of_each() -> None:
    results = actors.power("i[001-003]", "off")

    assert [result["ok"] for result in results] == [True, False, False]
    assert [result["power"] for result in results] == ["off", None, None]


def test_events_tell_when_a_node_was_switched() -> None:
    actors.power("i001", "cycle")
    quiet, told = actors.events("i[007,001]")[1], actors.events("i001")[0]

    assert quiet["events"] == []
    assert [event["text"][-5:] for event in told["events"]] == ["S5/G2", "S0/G0"]
    assert datetime.fromisoformat(told["events"][0]["time"]).tzinfo is not None


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: actors.read_sensors.send("i[001-"), "nodes"),
        (lambda: actors.read_sensors.send("i009"), "i009"),
        (lambda: actors.temperature.send("i001", unit="K"), "unit"),
        (lambda: actors.power.send("i001", "explode"), "action"),
        (lambda: actors.power.send("i001"), "action"),
    ],
)
def test_what_is_wrong_is_refused_by_the_sender(call: object, part: str) -> None:
    with pytest.raises(ArgumentError, match=part):
        call()  # type: ignore[operator]


def test_power_is_never_tried_again_by_itself() -> None:
    assert actors.power.options["max_retries"] == 0
    assert actors.read_sensors.options["max_retries"] > 0


def test_kinds_are_those_of_the_error_tree() -> None:
    known = {error.kind for error in NodeError.__subclasses__()} | {NodeError.kind}

    assert set(KINDS.values()) <= known


class TestLeases:
    """Of nodes that other jobs work on; in a run, as a worker has it."""

    @pytest.fixture
    def run(self) -> Iterator[runs.RecordedRun]:
        row = steps.Queued("mine", "mine", None, None, "rack.power", "rack", "{}", "me@here", 1.0, None)
        with store.current().write() as connection:
            steps.insert(connection, store.current(), [row])
        run = runs.RecordedRun(store.current(), job_id="mine", step_id="mine", number=2, stopping=runs.StopSignal())
        runs.enter(run)
        yield run
        runs.leave()

    @pytest.mark.usefixtures("run")
    def test_a_node_of_another_job_is_refused_and_the_others_go_on(self) -> None:
        leases.take(["i005"], job_id="another-job", actor="rain.deploy_system")

        results = actors.power.fn("i[001,005,007]", "off")

        assert [(entry["ok"], entry["error_kind"], entry["power"]) for entry in results] == [
            (True, None, "off"), (False, "lease_held", None), (True, None, "off"),
        ]  # fmt: skip
        assert results[1]["error"].startswith("i005: held by job another- (rain.deploy_system) since 0 s; ")
        assert [lease.job_id for lease in leases.holders()] == ["another-job"]

    @pytest.mark.usefixtures("run")
    def test_it_waits_when_it_is_told_to(self) -> None:
        leases.take(["i001"], job_id="another-job", actor="rain.deploy_system", ttl=0.3)

        [result] = actors.power.fn("i001", "off", wait_lease=60)

        assert (result["ok"], result["power"]) == (True, "off")

    def test_after_a_crash_the_same_job_goes_on_with_its_own(
        self, run: runs.RecordedRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLOUDMESH_POWER_DEADLINE", "0.5")
        settings.reset()
        store.reset()
        run.mark("i001", "off sent")
        before = leases.take(["i001"], job_id="mine", actor="rack.power")["i001"]

        runs.enter(runs.RecordedRun(store.current(), job_id="mine", step_id="mine", number=3, stopping=run._stopping))
        [result] = actors.power.fn("i001", "cycle")

        assert result["error_kind"] == "unknown"  # whether off was sent; it is not sent again
        with pytest.raises(LeaseLost):
            leases.check(before)
        assert leases.holders() == []

    def test_when_another_job_has_it_by_then_it_is_said_how_far_the_first_run_came(self, run: runs.RecordedRun) -> None:
        run.mark("i001", "off sent")
        leases.take(["i001"], job_id="another-job", actor="rain.deploy_system")

        [result] = actors.power.fn("i001", "cycle")

        assert result["error_kind"] == "lease_held"
        assert result["error"].endswith("An earlier run of this job got as far as 'off sent'; look at the node.")

    def test_outside_a_worker_there_is_no_lease(self) -> None:
        actors.power("i001", "off")

        assert leases.holders() == []


def test_nodes_are_switched_on_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDMESH_POWER_ON_GROUP", "1")
    monkeypatch.setenv("CLOUDMESH_POWER_ON_INTERVAL", "0.4")
    settings.reset()
    actors.power("i[001,005,007]", "off")
    began = time.monotonic()

    results = actors.power("i[001,005,007]", "on")

    assert [entry["note"] for entry in results] == ["switched on"] * 3
    assert time.monotonic() - began >= 0.8
