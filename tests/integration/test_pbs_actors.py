"""The actors of pbs on simulated batch servers, of each dialect and with each fault, from several processes at once."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from cloudmesh_actors import broker, jobs, pbs, settings, site, store
from cloudmesh_actors.errors import ArgumentError
from cloudmesh_actors.pbs import actors
from workers import beat

DIALECTS = ("torque-xml", "torque-text", "openpbs-json", "openpbs-text", "slurm")
FAULTS = {
    "away": "unreachable", "denied": "authentication", "truncated": "protocol", "garbage": "protocol",
    "empty": "protocol",
}  # fmt: skip
CLUSTERS = [*DIALECTS, *FAULTS, "slow"]


@pytest.fixture(autouse=True)
def small_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["clusters:"]
    for number, name in enumerate(CLUSTERS):
        lines.append(f'  {name}: {{nodes: "n{number}x[01-16]", queues: {{server: s-{name}, names: [batch, long]}}}}')
    lines.append("batch_servers:")
    for name in CLUSTERS:
        how = f"dialect: {name}" if name in DIALECTS else f"fault: {name}"
        lines.append(f"  s-{name}: {{driver: simulator, seed: 3, {how}}}")
    (tmp_path / "site.yaml").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("CLOUDMESH_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("CLOUDMESH_BROKER_URL", "stub://")
    settings.reset()
    site.reset()
    broker.reset()
    store.reset()


def test_a_snapshot_of_every_dialect_has_jobs_queues_and_nodes() -> None:
    results = actors.refresh([f"s-{name}" for name in DIALECTS])

    assert [result["server"] for result in results] == [f"s-{name}" for name in DIALECTS]
    for result in results:
        assert (result["ok"], result["error"], result["error_kind"], result["damaged"]) == (True, None, None, 0)
        assert min(result["jobs"], result["queues"], result["nodes"]) > 0
        assert 0 <= result["age"] < 60
    assert len({result["snapshot"] for result in results}) == len(DIALECTS)


@pytest.mark.parametrize("cluster", DIALECTS)
def test_what_is_stored_is_what_was_counted(cluster: str) -> None:
    [result] = actors.qstat(cluster)

    jobs, queues, nodes = pbs.jobs(cluster), pbs.queues(cluster), pbs.nodes(cluster)
    assert (len(jobs), len(queues), len(nodes)) == (result["jobs"], result["queues"], result["nodes"])
    assert {job.cluster for job in jobs} == {node.cluster for node in nodes} == {cluster}
    assert [queue.name for queue in queues if queue.cluster != cluster] == []
    held = {slots.host for job in jobs for slots in job.nodes}
    assert held <= {node.name for node in nodes}
    assert any("Job_Name" in pbs.attributes(job.id, cluster) for job in jobs)


def test_the_jobs_of_a_user_are_counted() -> None:
    actors.qstat("slurm")
    user = pbs.users("slurm")[0]

    [result] = actors.qstat("slurm", user=user.user)

    assert result["jobs"] == user.jobs == len(pbs.jobs("slurm", user=user.user))


@pytest.mark.parametrize(("fault", "kind"), FAULTS.items())
def test_a_server_in_trouble_is_a_sentence_and_never_no_jobs(fault: str, kind: str) -> None:
    [result] = actors.pbsnodes(fault)

    assert (result["ok"], result["error_kind"], result["snapshot"], result["age"]) == (False, kind, None, None)
    assert result["error"].startswith(f"s-{fault}: ")
    assert pbs.jobs(fault) == []
    assert [state.ok for state in pbs.servers(fault)] == [False]


def test_the_last_good_snapshot_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(path.read_text().replace("dialect: slurm}", "dialect: slurm, max_age: 0}"))
    [good] = actors.qinfo("slurm")
    path.write_text(path.read_text().replace("dialect: slurm, max_age: 0}", "max_age: 0, fault: away}"))

    [bad] = actors.qinfo("slurm")

    assert (bad["ok"], bad["error_kind"]) == (False, "unreachable")
    assert (bad["snapshot"], bad["queues"], bad["nodes"]) == (good["snapshot"], good["queues"], good["nodes"])
    assert len(pbs.jobs("slurm")) == good["jobs"]


def test_results_are_small_json() -> None:
    results = actors.refresh()

    assert orjson.loads(orjson.dumps(results)) == results
    assert len(orjson.dumps(results)) < 500 * len(CLUSTERS)


@pytest.mark.parametrize(
    ("send", "sentence"),
    [
        (lambda: actors.qstat.send("torque-xm"), "no cluster 'torque-xm'; did you mean torque-xml?"),
        (lambda: actors.refresh.send(["s-slurn"]), "no batch server 's-slurn'; did you mean s-slurm?"),
        (lambda: actors.refresh.send("s-slurm, s-nobody"), "no batch server 's-nobody'"),
        (lambda: actors.qinfo.send(7), "it should be a valid string"),
    ],
)
def test_what_the_site_has_not_is_refused_in_the_sender(send: Any, sentence: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        send()
    assert sentence in str(refused.value)


def test_beat_sends_one_job_for_all_batch_servers_if_there_are_any(tmp_path: Path) -> None:
    job_id = beat.refresh_batch_servers()
    assert job_id is not None
    assert (jobs.get(job_id).actor, jobs.get(job_id).queue, jobs.get(job_id).args) == ("pbs.refresh", "pbs", [])

    (tmp_path / "site.yaml").write_text("clusters: {india: {nodes: i1}}\n")
    site.reset()
    assert beat.refresh_batch_servers() is None


def ask_from_threads(count: int) -> list[tuple[int, int]]:
    """What so many threads of a process of its own are told, at once."""
    with ThreadPoolExecutor(count) as pool:
        results = [result for answer in pool.map(actors.qstat, ["slow"] * count) for result in answer]
    return [(result["snapshot"], result["jobs"]) for result in results]


def test_sixteen_askers_in_four_processes_are_one_question() -> None:
    store.current()
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        answers = [answer for part in pool.map(ask_from_threads, [4] * 4) for answer in part]

    # the ids of snapshots are counted up and never given again: a second question would have got the next one
    assert len(answers) == 16
    assert set(answers) == {(1, answers[0][1])}
