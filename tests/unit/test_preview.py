"""What an action would hit, from the store: batch jobs with their users, watts, leases; and what is not known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pbs_fakes
import pytest
from pbs_fakes import Asked, job, listing, node, running

from cloudmesh_actors import leases, preview, settings, store
from cloudmesh_actors.errors import UnknownNode, Unreachable
from cloudmesh_actors.pbs.freshness import Window
from cloudmesh_actors.pbs.listing import Listing
from cloudmesh_actors.pbs.model import JobState
from cloudmesh_actors.preview import Batch, Hosts, Plan, plan, watts_of
from cloudmesh_actors.rack import records

INDIA = [node(f"i{number:03}") for number in range(1, 5)]


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "site.yaml").write_text(pbs_fakes.SITE)
    monkeypatch.setenv("CLOUDMESH_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(tmp_path / "state"))
    settings.reset()
    yield
    store.reset()


def take(taken: Listing) -> None:
    assert Window(taken.server, 0, lambda: taken, store.current()).refresh()


def fail(server: str = "torque1") -> None:
    Window(server, 0, Asked(lambda _: Unreachable(f"{server}: nobody answers.")), store.current()).refresh()


def hits(found: Plan) -> dict[str, list[str]]:
    return {harm.node: [job.id for job in harm.batch_jobs] for harm in found.nodes}


class TestBatchJobs:
    def test_each_node_has_those_that_hold_it_with_their_users(self) -> None:
        take(listing([running(1, "i001", "i002"), running(2, "i002", owner="bob"), job(3)], nodes=INDIA))

        found = plan("power off", "i[001-003]")

        assert hits(found) == {"i001": ["1.torque1"], "i002": ["1.torque1", "2.torque1"], "i003": []}
        assert {job.owner: nodes for job, nodes in found.batch_jobs.items()} == {
            "alice": ["i001", "i002"],
            "bob": ["i002"],
        }
        assert found.doubts() == []
        assert found.batch_age == pytest.approx(0.0, abs=60)
        [first] = found.nodes[0].batch_jobs
        assert (first.cluster, first.queue, first.server) == ("india", "batch", "torque1")

    @pytest.mark.parametrize("state", ["RUNNING", "EXITING", "SUSPENDED", "INTERRUPTED", "BEGUN"])
    def test_all_states_that_hold_a_node_count(self, state: str) -> None:
        take(listing([running(1, "i001", state=JobState[state])], nodes=INDIA))

        assert hits(plan("power off", "i001")) == {"i001": ["1.torque1"]}

    def test_hosts_are_matched_with_and_without_their_domain(self) -> None:
        take(listing([running(1, "I001.india.example.org"), running(2, "i0011")], nodes=INDIA))

        assert hits(plan("power off", "i[001-002]")) == {"i001": ["1.torque1"], "i002": []}

    def test_the_list_of_batch_nodes_tells_of_jobs_too(self) -> None:
        there = node("i001", "job-exclusive", jobs=["7", "8.torque1", "9[2].torque1"])
        lost = running(8, owner="bob")  # it does not tell on which nodes it runs
        take(listing([lost, running(7, "i001"), running(6)], nodes=[there, *INDIA[1:]]))

        found = plan("power off", "i001")

        assert [(job.id, job.owner) for job in found.nodes[0].batch_jobs] == [
            ("7.torque1", "alice"), ("8.torque1", "bob"), ("9[2].torque1", None),
        ]  # fmt: skip
        assert found.doubts() == ["1 running batch jobs (6.torque1, …) may be there: it is not told on which nodes."]

    def test_a_job_of_another_cluster_that_does_not_tell_its_nodes_is_no_doubt(self) -> None:
        take(listing([running(1, queue="delta")], nodes=INDIA))

        assert plan("power off", "i001").doubts() == []

    def test_a_job_of_another_server_on_the_node_counts(self) -> None:
        take(listing([running(1, "b001", id="1.torque2")], nodes=[], server="torque2"))

        found = plan("power off", "b[001-002]")

        assert [harm.batch for harm in found.nodes] == [Batch.KNOWN, Batch.NONE]
        assert [server.server for server in found.servers] == ["torque2"]


class TestWhatIsNotKnown:
    def test_without_a_snapshot_it_is_said(self) -> None:
        take(listing(nodes=INDIA))

        found = plan("power off", "i001,e[001-002]")

        assert [harm.batch for harm in found.nodes] == [Batch.UNKNOWN, Batch.UNKNOWN, Batch.KNOWN]
        assert found.doubts() == ["e[001-002]: which batch jobs run there is not known; `cm-actors pbs refresh` asks."]
        assert found.batch_age is None

    def test_an_old_snapshot_is_said_to_be_old_and_shown(self) -> None:
        old = datetime.now(UTC).timestamp() - 3000
        take(listing([running(1, "i001")], nodes=INDIA, taken_at=old))

        found = plan("power off", "i[001-002]")

        assert [(harm.batch, len(harm.batch_jobs)) for harm in found.nodes] == [(Batch.OLD, 1), (Batch.OLD, 0)]
        assert found.doubts() == ["torque1: what is known of it is 50 min old; others may run by now."]
        assert found.batch_age == pytest.approx(3000, abs=60)

    def test_one_that_could_not_be_renewed_too(self) -> None:
        take(listing(nodes=INDIA))
        fail()

        found = plan("power off", "i001")

        assert found.nodes[0].batch is Batch.OLD
        assert "(torque1: nobody answers.); others may run by now" in found.doubts()[0]

    def test_a_node_that_the_batch_server_does_not_list(self) -> None:
        take(listing([running(1, "i003")], nodes=INDIA[:1]))

        found = plan("power off", "i[001-003]")

        assert [harm.batch for harm in found.nodes] == [Batch.KNOWN, Batch.UNLISTED, Batch.KNOWN]
        assert found.doubts()[0].startswith("i002: no batch server has nodes of these names; ")

    def test_records_that_could_not_be_read(self) -> None:
        take(listing(nodes=INDIA, damaged=("a job is cut off", "another")))

        assert plan("power off", "i001").doubts() == ["torque1: 2 of its records could not be read."]

    def test_a_cluster_without_batch_queues_has_no_batch_jobs(self) -> None:
        found = plan("power off", "@bravo")

        assert {harm.batch for harm in found.nodes} == {Batch.NONE}
        assert (found.doubts(), found.servers, found.batch_age) == ([], (), None)

    def test_nodes_that_the_site_has_not(self) -> None:
        with pytest.raises(UnknownNode):
            plan("power off", "i009")


def reading(name: str, value: float | None, unit: str = "W") -> dict[str, Any]:
    return {"name": name, "kind": "power", "value": value, "unit": unit, "state": "ok"}


class TestWatts:
    def test_the_latest_reading_and_its_age(self) -> None:
        read = [reading("PSU1 Power", 200.5), reading("PSU2 Power", 100.0), reading("CPU1 Temp", 60.0, "C")]
        entries = [
            {"node": "i001", "error": None, "error_kind": None, "readings": read},
            {"node": "i002", "error": "i002: gone.", "error_kind": "unreachable", "readings": []},
        ]
        records.remember(entries, datetime.now(UTC))

        found = plan("power off", "i[001-003]")

        watts = [harm.watts for harm in found.nodes]
        assert watts[0] is not None
        assert (watts[0].value, watts[1:]) == (300.5, [None, None])
        assert 0 <= watts[0].age < 60
        assert found.watts == 300.5

    @pytest.mark.parametrize(
        ("readings", "value"),
        [
            ([], None),
            ([reading("PSU1 Power", None)], None),
            ([reading("PS1 Input Power", 120.0), reading("PS2 Input Power", 80.0)], 200.0),
            ([reading("Pwr Consumption", 210.0), reading("PS1 Input Power", 120.0)], 210.0),
            ([reading("System Level", 180.0), reading("CPU Power", 90.0)], 180.0),
            ([reading("Power Supply 1", 0.0)], 0.0),
        ],
    )
    def test_a_sensor_of_the_whole_node_goes_before_the_sum_of_its_supplies(
        self, readings: list[dict[str, Any]], value: float | None
    ) -> None:
        assert watts_of(readings) == value


def test_leases_are_shown_with_their_job() -> None:
    leases.take(["i002"], job_id="1a2b3c4d5e", actor="rain.deploy_system")

    found = plan("power off", ["i001", "i002"])

    assert [harm.lease and harm.lease.job_id for harm in found.nodes] == [None, "1a2b3c4d5e"]


def test_as_json() -> None:
    take(listing([running(1, "i001")], nodes=INDIA))
    leases.take(["i001"], job_id="1a2b3c4d5e", actor="rain.deploy_system")

    made = plan("power off", "i[001-004]").as_json()

    first = made["nodes"][0]
    assert (made["action"], made["count"], made["folded"], made["needs_count"]) == (
        "power off", 4, "i[001-004]", False,
    )  # fmt: skip
    assert (first["node"], first["batch"], first["watts"]) == ("i001", "known", None)
    assert first["batch_jobs"] == [
        {"id": "1.torque1", "owner": "alice", "name": "run1", "queue": "batch", "cluster": "india", "server": "torque1"}
    ]
    assert (first["lease"]["job_id"], first["lease"]["actor"]) == ("1a2b3c4d5e", "rain.deploy_system")
    assert made["nodes"][1]["lease"] is None


def test_how_many_nodes_are_many_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not plan("power off", "i[001-004]").needs_count
    monkeypatch.setenv("CLOUDMESH_CONFIRM_ABOVE", "3")
    settings.reset()
    store.reset()

    assert plan("power off", "i[001-004]").needs_count


@pytest.mark.parametrize(
    ("host", "nodes"),
    [
        ("i001", ["i001"]),
        ("i001.example.org", ["i001"]),
        ("I002", ["i002.example.org"]),
        ("i002.example.org", ["i002.example.org"]),
        ("i002.elsewhere.org", ["i002.example.org"]),
        ("twin", ["twin.a", "twin.b"]),
        ("twin.b", ["twin.b"]),
        ("10.0.0.1", ["10.0.0.1"]),
        ("10.0.0.2", []),
        ("fe80::1", []),
        ("i00", []),
    ],
)
def test_names_of_hosts(host: str, nodes: list[str]) -> None:
    known = Hosts(["i001", "i002.example.org", "twin.a", "twin.b", "10.0.0.1"])

    assert list(known.named(host)) == nodes


def test_ages_are_told_in_one_unit() -> None:
    spans = (0, 59.6, 119, 120, 7199, 7200, 172_799, 172_800)

    assert [preview.age(seconds) for seconds in spans] == [
        "0 s", "60 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days",
    ]  # fmt: skip
