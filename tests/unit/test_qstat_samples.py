"""What real servers printed, and what it means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloudmesh_actors.pbs.model import BatchJob, BatchNode, BatchQueue, JobState, NodeState, Slots
from cloudmesh_actors.pbs.qstat import Dialect, QstatError, Records, parse_jobs, parse_nodes, parse_queues

DATA = Path(__file__).parents[1] / "data" / "pbs"
EXPECTED: dict[str, Any] = json.loads((DATA / "expected.json").read_text())
PARSERS = {"jobs": parse_jobs, "queues": parse_queues, "nodes": parse_nodes}


def of_kind(kind: str) -> list[str]:
    return sorted(name for name, expected in EXPECTED.items() if expected["kind"] == kind)


def jobs_of(name: str) -> Records[BatchJob]:
    return parse_jobs((DATA / name).read_bytes())


@pytest.mark.parametrize("name", of_kind("jobs"))
def test_jobs_of_a_real_server_are_read_as_they_are(name: str) -> None:
    jobs = jobs_of(name)

    assert len(jobs) == EXPECTED[name]["n"]
    assert not jobs.damaged
    assert [seen_job(job) for job in jobs] == EXPECTED[name].get("items", [])


def seen_job(job: BatchJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.name,
        "owner": job.owner,
        "state": job.state,
        "queue": job.queue,
        "walltime_req": job.walltime_requested,
        "walltime_used": job.walltime_used,
        "nodect": job.node_count,
        "exec_host": job.attributes.get("exec_host"),
    }


@pytest.mark.parametrize("name", of_kind("queues"))
def test_queues_of_a_real_server_are_read_as_they_are(name: str) -> None:
    queues = parse_queues((DATA / name).read_bytes())

    assert len(queues) == EXPECTED[name]["n"]
    assert not queues.damaged
    assert [seen_queue(queue) for queue in queues] == EXPECTED[name]["items"]
    for queue, expected in zip(queues, EXPECTED[name]["items"], strict=True):
        printed = (expected["state_count"] or "").split()
        assert queue.states == {word: int(count) for word, count in (item.split(":") for item in printed)}


def seen_queue(queue: BatchQueue) -> dict[str, Any]:
    return {
        "id": queue.name,
        "type": queue.type,
        "total": queue.total,
        "enabled": queue.enabled,
        "started": queue.started,
        "state_count": queue.attributes.get("state_count"),
    }


@pytest.mark.parametrize("name", of_kind("nodes"))
def test_nodes_of_a_real_server_are_read_as_they_are(name: str) -> None:
    nodes = parse_nodes((DATA / name).read_bytes())

    assert len(nodes) == EXPECTED[name]["n"]
    assert not nodes.damaged
    for node, expected in zip(nodes, EXPECTED[name]["items"], strict=True):
        assert (node.name, sorted(node.states)) == (expected["id"], expected["states"])
        assert node.slots == expected.get("np", expected.get("ncpus"))
        assert sorted(node.jobs) == expected.get("jobs", sorted(node.jobs))


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize("name", of_kind("other"))
def test_a_brief_table_is_refused_with_the_advice_to_ask_for_more(name: str, kind: str) -> None:
    with pytest.raises(QstatError, match="ask with -f"):
        PARSERS[kind]((DATA / name).read_bytes())


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_listing_of_something_else_never_reads_as_none(name: str, kind: str) -> None:
    is_empty = EXPECTED[name].get("n") == 0  # <Data></Data> is the same of all three
    if EXPECTED[name]["kind"] == kind or is_empty:
        return

    with pytest.raises(QstatError):
        PARSERS[kind]((DATA / name).read_bytes())


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        ("real-torque.qstat-f.txt", Dialect.TEXT),
        ("real-torque.qstat-x.xml", Dialect.XML),
        ("real-openpbs23dev.qstat-f.txt", Dialect.TEXT),
        ("real-openpbs23dev.qstat-fjson.json", Dialect.JSON),
        ("real-slurm-torque.qstat-f.txt", Dialect.SLURM),
    ],
)
def test_the_dialect_is_found_from_the_output(name: str, dialect: Dialect) -> None:
    assert jobs_of(name).dialect is dialect


def test_the_dialect_of_nodes_is_found_from_their_indentation() -> None:
    torque, slurm = (DATA / f"real-{name}.pbsnodes-a.txt" for name in ("torque", "slurm-torque"))

    assert parse_nodes(torque.read_bytes()).dialect is Dialect.TEXT
    assert parse_nodes(slurm.read_bytes()).dialect is Dialect.SLURM


def test_text_and_xml_of_one_server_say_the_same() -> None:
    text, xml = jobs_of("real-torque.qstat-f.txt"), jobs_of("real-torque.qstat-x.xml")
    times = {"Execution_Time", "ctime", "qtime", "mtime", "etime", "start_time", "comp_time"}

    for one, other in zip(text, xml, strict=True):
        assert without_attributes(one) == without_attributes(other)
        assert one.attributes.keys() == other.attributes.keys()
        assert {key for key in one.attributes if one.attributes[key] != other.attributes[key]} <= times


def test_text_and_json_of_one_server_say_the_same() -> None:
    text, json_ = jobs_of("real-openpbs23dev.qstat-f.txt"), jobs_of("real-openpbs23dev.qstat-fjson.json")

    for one, other in zip(text, json_, strict=True):
        assert without_attributes(one) == without_attributes(other)
        different = {key for key in one.attributes if one.attributes[key] != other.attributes.get(key)}
        assert different <= {"Variable_List"}  # the JSON printer makes numbers of 007 and 1e5


def without_attributes(job: BatchJob) -> dict[str, Any]:
    return {name: getattr(job, name) for name in job.__slots__ if name != "attributes"}


def test_a_running_job_of_torque_has_hosts_slots_and_times() -> None:
    job = jobs_of("real-torque.qstat-x.xml")[0]

    assert job.nodes == [("i1", 2)]
    assert (job.node_count, job.cpus, job.memory_used) == (1, 2, 6452 * 1024)
    assert (job.submitted, job.started, job.ended) == (1795350692, 1795350692, None)
    assert job.state is JobState.RUNNING
    assert job.attributes["Resource_List.nodes"] == "1:ppn=2"


def test_a_job_of_slurm_starts_and_ends_when_scontrol_says_so() -> None:
    jobs = {job.id: job for job in jobs_of("real-slurm-torque.qstat-f.txt")}

    running, completed, queued = jobs["1"], jobs["2"], jobs["12"]
    assert (running.submitted, running.started, running.ended) == (1795349339, 1795349340, None)
    assert completed.nodes == [("i1", 4), ("i2", 4)]
    assert completed.cpus == 8
    assert (completed.started, completed.ended) == (1795349340, 1795349355)
    assert (queued.started, queued.ended) == (None, None)  # what is printed is expected, not so


def test_an_array_is_one_job_that_says_it_is_one() -> None:
    begun, begun_too = [job for job in jobs_of("real-openpbs23dev.qstat-f.txt") if job.is_array]

    assert (begun.id, begun.state) == ("39[].i136", JobState.BEGUN)
    assert begun_too.attributes["array_indices_submitted"] == "0-10:5"


def test_values_that_were_wrapped_or_hold_line_breaks_are_whole() -> None:
    jobs = {job.name: job.attributes for job in jobs_of("real-openpbs23dev.qstat-f.txt")}

    assert (
        jobs["simple"]["Submit_arguments"] == "-N simple -q batch -l select=1:ncpus=2 -l walltime=01:30:00 /home/s.sh"
    )
    assert "NL=line1\nline2,PATH=" in jobs["envvars"]["Variable_List"]
    assert f"X={'x' * 300}," in jobs["longenv"]["Variable_List"]
    assert "L1=café," in jobs["funcs"]["Variable_List"]


def test_nodes_have_memory_load_properties_and_the_jobs_of_shared_slots() -> None:
    node = parse_nodes((DATA / "real-torque.pbsnodes-x.xml").read_bytes())[0]

    assert node == BatchNode(
        name="i1",
        states=frozenset({NodeState.JOB_EXCLUSIVE}),
        slots=8,
        jobs=["2.i136", "4.i136", "3.i136", "6[1].i136", "6[2].i136", "0.i136", "12.i136"],
        properties=["compute"],
        memory=24683656 * 1024,
        load=2.04,
        attributes=node.attributes,
    )


def test_nodes_of_slurm_have_the_memory_they_were_configured_with() -> None:
    node = parse_nodes((DATA / "real-slurm-torque.pbsnodes-a.txt").read_bytes())[0]

    assert (node.memory, node.properties, node.load) == (4000 * 1024**2, ["xeon", "ib"], None)


def test_the_limits_of_a_queue_are_told_apart() -> None:
    queues = {queue.name: queue for queue in parse_queues((DATA / "real-torque.qstat-Qf.txt").read_bytes())}

    assert queues["bravo-long"].limits == {"max_queuable": "200", "max_user_run": "15"}
    assert queues["long"].limits == {"resources_max.walltime": "168:00:00"}


def test_slots_are_named_pairs() -> None:
    assert Slots("i1", 2) == ("i1", 2)
