"""The simulated batch server: the same world for everybody, in which jobs start, run and end."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors import site
from cloudmesh_actors.clients.batch.client import client_for, forget
from cloudmesh_actors.clients.batch.model import RawSnapshot
from cloudmesh_actors.clients.batch.simulator import SLOWNESS_S, SimulatedBatchServer
from cloudmesh_actors.clients.batch.world import BEGINNING, KEPT_S, SLOTS, World
from cloudmesh_actors.errors import DeadlineExceeded
from cloudmesh_actors.pbs.qstat import QstatError, parse_jobs, parse_nodes, parse_queues
from cloudmesh_actors.site.model import BatchDialect, BatchServer, Cluster

NOW = 1_795_000_000
INDIA = Cluster("india", tuple(f"i{number:03}" for number in range(1, 41)), "torque1", ("batch", "long", "shared"))
DELTA = Cluster("delta", ("d1", "d2", "d3", "d4"), "torque1", ("delta", "shared"))
WORLD = World("torque1", 7, [INDIA, DELTA])

moments = st.integers(BEGINNING, BEGINNING + 10 * 365 * 86_400)


def snapshot(dialect: BatchDialect = "torque-xml", *, now: float = NOW, **changes: object) -> RawSnapshot:
    server = BatchServer("torque1", "", driver="simulator", dialect=dialect, seed=7)
    client = SimulatedBatchServer(
        replace(server, **changes),  # type: ignore[arg-type]
        60.0,
        clusters=[INDIA, DELTA],
        clock=lambda: now,
        sleep=lambda _: None,
    )
    return client.snapshot()


class TestWorld:
    @given(moments)
    def test_no_slot_is_held_twice_and_no_job_runs_on_a_node_that_is_down(self, now: int) -> None:
        down = {node.name for node in WORLD.nodes if node.is_down}
        held: defaultdict[str, set[int]] = defaultdict(set)
        for job in WORLD.jobs(now):
            for share in job.shares if job.phase(now) == "running" else ():
                slots = set(range(share.first, share.first + share.slots))
                assert not held[share.node] & slots
                assert slots <= set(range(SLOTS))
                held[share.node] |= slots

        assert not held.keys() & down

    @given(moments)
    def test_a_number_belongs_to_one_job(self, now: int) -> None:
        numbers = [job.number for job in WORLD.jobs(now)]

        assert numbers == sorted(set(numbers))
        assert all(number >= 0 for number in numbers)

    @given(moments, st.integers(0, 3 * 3600))
    def test_a_job_stays_what_it_is_and_goes_on_living(self, now: int, later: int) -> None:
        order = ("held", "queued", "running", "ended")
        before, after = ({job.number: job for job in WORLD.jobs(at)} for at in (now, now + later))

        for number in before.keys() & after.keys():
            assert before[number] == after[number]
            assert order.index(before[number].phase(now)) <= order.index(after[number].phase(now + later))
        for number in before.keys() - after.keys():
            assert before[number].ended + KEPT_S <= now + later

    @given(moments)
    def test_a_job_ends_within_its_walltime_and_runs_on_its_queues_nodes(self, now: int) -> None:
        queues_of = {name: cluster.queues for cluster in (INDIA, DELTA) for name in cluster.nodes}
        for job in WORLD.jobs(now):
            assert job.submitted <= now
            assert job.submitted <= job.held_until <= job.started < job.ended <= job.started + job.walltime
            assert all(job.queue in queues_of[share.node] for share in job.shares)

    def test_in_a_day_jobs_wait_run_and_end_in_every_queue(self) -> None:
        seen: defaultdict[str, set[str]] = defaultdict(set)
        for now in range(NOW, NOW + 86_400, 600):
            for job in WORLD.jobs(now):
                seen[job.queue].add(job.phase(now))

        assert seen.keys() == {"batch", "long", "shared", "delta"}
        assert all(phases == {"held", "queued", "running", "ended"} for phases in seen.values())

    def test_two_processes_see_the_same_and_another_seed_another_world(self) -> None:
        assert World("torque1", 7, [INDIA, DELTA]).jobs(NOW) == WORLD.jobs(NOW)
        assert World("torque1", 8, [INDIA, DELTA]).jobs(NOW) != WORLD.jobs(NOW)
        assert World("torque2", 7, [INDIA, DELTA]).jobs(NOW) != WORLD.jobs(NOW)

    def test_numbers_grow_with_time(self) -> None:
        lowest = [min(job.number for job in WORLD.jobs(now)) for now in range(NOW, NOW + 10 * 86_400, 86_400)]

        assert all(earlier < later for earlier, later in pairwise(lowest))

    def test_before_the_beginning_there_is_nothing(self) -> None:
        assert WORLD.jobs(BEGINNING - 86_400) == []

    def test_a_cluster_without_queues_has_nodes_and_no_jobs(self) -> None:
        world = World("torque1", 7, [replace(INDIA, queues=())])

        assert len(world.nodes) == 40
        assert world.jobs(NOW) == []

    def test_a_queue_with_fewer_nodes_than_queues_is_there_all_the_same(self) -> None:
        world = World("torque1", 7, [Cluster("small", ("n1",), "torque1", ("a", "b", "c"))])

        assert world.queues == ("a", "b", "c")
        assert {job.queue for job in world.jobs(NOW)} <= {"a"}


class TestDialects:
    @pytest.mark.parametrize("dialect", get_args(BatchDialect))
    def test_each_tells_of_the_world_as_it_is(self, dialect: BatchDialect) -> None:
        raw = snapshot(dialect)
        told = {job.id.partition(".")[0]: job for job in parse_jobs(raw.jobs)}
        shown = {
            str(job.number): job
            for job in WORLD.jobs(NOW)
            if not (job.phase(NOW) == "ended" and dialect.startswith("openpbs"))
        }

        assert told.keys() == shown.keys()
        for number, job in shown.items():
            phase, seen = job.phase(NOW), told[number]
            assert (seen.name, seen.owner, seen.queue) == (job.name, job.owner, job.queue)
            assert (seen.walltime_requested, seen.cpus, seen.submitted) == (job.walltime, job.cpus, job.submitted)
            if phase == "running":
                assert [tuple(place) for place in seen.nodes] == [(share.node, share.slots) for share in job.shares]
                assert seen.started == job.started
            if phase == "running" and dialect != "slurm":
                assert seen.walltime_used == NOW - job.started
                assert seen.memory == job.memory
            if phase == "ended":
                assert seen.ended == job.ended

    @pytest.mark.parametrize("dialect", get_args(BatchDialect))
    def test_states_are_pbs_letters(self, dialect: BatchDialect) -> None:
        letters = {"held": "H", "queued": "Q", "running": "R", "ended": "C"}
        if dialect == "slurm":
            letters["held"] = "Q"
        told = {job.id.partition(".")[0]: job.state.value for job in parse_jobs(snapshot(dialect).jobs)}

        expected = {str(job.number): letters[job.phase(NOW)] for job in WORLD.jobs(NOW)}
        assert told == {number: expected[number] for number in told}
        assert set(told.values()) >= {"Q", "R"}

    @pytest.mark.parametrize("dialect", [name for name in get_args(BatchDialect) if name != "slurm"])
    def test_queues_count_the_jobs_that_are_listed(self, dialect: BatchDialect) -> None:
        raw = snapshot(dialect)
        jobs, queues = parse_jobs(raw.jobs), parse_queues(raw.queues)

        for queue in queues:
            mine = [job.state.name for job in jobs if job.queue == queue.name]
            assert queue.total == len(mine) == sum(queue.states.values())
            assert (queue.states["Running"], queue.states["Queued"]) == (mine.count("RUNNING"), mine.count("QUEUED"))
            assert (queue.enabled, queue.started) == (True, True)

    @pytest.mark.parametrize("dialect", [name for name in get_args(BatchDialect) if name != "slurm"])
    def test_nodes_name_the_jobs_that_run_on_them(self, dialect: BatchDialect) -> None:
        raw = snapshot(dialect)
        running: defaultdict[str, set[str]] = defaultdict(set)
        for job in parse_jobs(raw.jobs):
            for place in job.nodes if job.state.value == "R" else ():
                running[place.host].add(job.id)

        for node in parse_nodes(raw.nodes):
            assert set(node.jobs) == running[node.name]
            assert node.slots == SLOTS


class TestFaults:
    @pytest.mark.parametrize("dialect", get_args(BatchDialect))
    @pytest.mark.parametrize("fault", ["truncated", "garbage", "empty"])
    def test_a_faulty_output_never_reads_as_no_jobs(self, dialect: BatchDialect, fault: str) -> None:
        raw = snapshot(dialect, fault=fault)

        with pytest.raises(QstatError):
            parse_jobs(raw.jobs, empty_ok=raw.jobs_empty)

    def test_a_slow_server_takes_its_time(self) -> None:
        slept: list[float] = []
        server = BatchServer("torque1", "", driver="simulator", fault="slow")
        SimulatedBatchServer(server, 60.0, clusters=[DELTA], sleep=slept.append).snapshot()
        with pytest.raises(DeadlineExceeded, match=r"^torque1: .* 1 s"):
            SimulatedBatchServer(server, 1.0, clusters=[DELTA], sleep=slept.append).snapshot()

        assert slept == [SLOWNESS_S, 1.0]


class TestClientFor:
    def test_the_built_in_site_has_a_server_with_the_queues_of_its_clusters(self) -> None:
        raw = client_for(site.current().batch_servers["futuregrid"]).snapshot()

        names = {queue.name for queue in parse_queues(raw.queues)}
        assert names == {queue for cluster in site.current().clusters.values() for queue in cluster.queues}
        assert {node.name for node in parse_nodes(raw.nodes)} == set(site.current().all_nodes)
        forget()

    def test_a_server_keeps_its_client_until_the_site_says_something_else(self) -> None:
        server = BatchServer("torque1", "", driver="simulator")
        first = client_for(server)

        assert client_for(replace(server)) is first
        assert client_for(replace(server, seed=3)) is not first
        forget()
        assert client_for(replace(server, seed=3)) is not first
        forget()
