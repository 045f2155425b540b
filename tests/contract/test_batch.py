"""What every batch client keeps to: the simulated one in each dialect, and the real one on a private Slurm."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, get_args

import psutil
import pytest
import slurm_site
import sshd
from slurm_site import SlurmSite

from cloudmesh_actors.clients.batch.model import BatchClient, RawSnapshot
from cloudmesh_actors.clients.batch.remote import RemoteBatchServer
from cloudmesh_actors.clients.batch.simulator import SimulatedBatchServer
from cloudmesh_actors.clients.batch.world import BEGINNING
from cloudmesh_actors.errors import AuthenticationFailed, DeadlineExceeded, Unreachable
from cloudmesh_actors.pbs.model import BatchJob, BatchNode, BatchQueue, JobState
from cloudmesh_actors.pbs.qstat import parse_jobs, parse_nodes, parse_queues
from cloudmesh_actors.site.model import BatchDialect, BatchFault, BatchServer, Cluster

ENOUGH_S = 60.0

#: What the jobs of a busy Slurm do.
BUSY = ["PENDING", "RUNNING", "RUNNING"]

#: States of jobs that hold slots, and of those that have ended.
ACTIVE, ENDED = {JobState.RUNNING, JobState.EXITING}, {JobState.COMPLETED, JobState.FINISHED}


class Bench(Protocol):
    """A batch server to test, in the condition that a test asks for."""

    queues: set[str]
    nodes: set[str]

    def busy(self) -> BatchClient: ...
    def without_jobs(self) -> BatchClient: ...
    def end_a_job(self) -> str: ...
    def away(self) -> BatchClient: ...
    def denied(self) -> BatchClient: ...
    def hanging(self) -> BatchClient: ...


class SimulatedBench:
    def __init__(self, dialect: BatchDialect) -> None:
        self._server = BatchServer("torque1", "", driver="simulator", dialect=dialect, seed=5)
        self._nodes = tuple(f"i{number:03}" for number in range(1, 33))
        self._now = 1_795_000_000.25
        self.queues, self.nodes = {"batch", "long", "delta"}, {*self._nodes, "d1", "d2"}

    def _client(self, fault: BatchFault | None = None, *, seconds: float = ENOUGH_S) -> BatchClient:
        clusters = [
            Cluster("india", self._nodes, "torque1", ("batch", "long")),
            Cluster("delta", ("d1", "d2"), "torque1", ("delta",)),
        ]
        server = replace(self._server, fault=fault)
        return SimulatedBatchServer(server, seconds, clusters=clusters, clock=lambda: self._now, sleep=lambda _: None)

    def busy(self) -> BatchClient:
        return self._client()

    def without_jobs(self) -> BatchClient:
        self._now = BEGINNING - 86_400
        return self._client()

    def end_a_job(self) -> str:
        running = next(job for job in Seen(self._client().snapshot()).jobs if job.state in ACTIVE)
        self._now += 4 * 3600
        return running.id

    def away(self) -> BatchClient:
        return self._client("away")

    def denied(self) -> BatchClient:
        return self._client("denied")

    def hanging(self) -> BatchClient:
        return self._client("slow", seconds=1)


class RealBench:
    def __init__(self, slurm: SlurmSite, client: BatchClient, folder: Path, stack: ExitStack) -> None:
        self._kept = client
        self.queues, self.nodes = set(slurm_site.QUEUES), {*slurm_site.NODES, "i3"}
        self._slurm, self._folder, self._stack = slurm, folder, stack

    def busy(self) -> BatchClient:
        if sorted(self._slurm.states()) != BUSY:
            self._submit()
            sshd.await_true(lambda: sorted(self._slurm.states()) == BUSY, "no jobs run")
        return self._kept

    def _submit(self) -> None:
        self._slurm.cancel_all()
        self._slurm.sbatch("-n", "4", "-J", "two words", "-t", "90")
        self._slurm.qsub("-N", "viaqsub", "-q", "long", "-l", "nodes=2:ppn=2,walltime=01:00:00")
        self._slurm.sbatch("--hold", "-J", "waiting")

    def without_jobs(self) -> BatchClient:
        self._slurm.forget_jobs()
        return self._kept

    def end_a_job(self) -> str:
        number = self._slurm.run("squeue", "--noheader", "--states=R", "--format=%i").split()[0]
        self._slurm.run("scancel", number)
        self._slurm.await_state(number, "CANCELLED")
        return number

    def away(self) -> BatchClient:
        return self._another_login_host("SlurmctldPort", str(sshd.free_port()))

    def denied(self) -> BatchClient:
        return self._another_login_host("AuthInfo", f"socket={self._folder}/no-munge")

    def hanging(self) -> BatchClient:
        pid = self._slurm.daemons["slurmctld"].pid
        psutil.Process(pid).suspend()
        self._stack.callback(psutil.Process(pid).send_signal, signal.SIGCONT)
        return self._stack.enter_context(remote(self._slurm.server, seconds=2))

    def _another_login_host(self, name: str, value: str) -> BatchClient:
        """The client of one whose Slurm is configured otherwise."""
        lines = (self._slurm.folder / "slurm.conf").read_text().splitlines()
        changed = [f"{name}={value}" if line.startswith(f"{name}=") else line for line in lines]
        assert changed != lines
        (self._folder / "slurm.conf").write_text("\n".join([*changed, "MessageTimeout=2\n"]))
        more = f"SetEnv SLURM_CONF={self._folder}/slurm.conf HOME={self._folder}\n"
        server = self._stack.enter_context(sshd.running(self._folder, more=more))
        return self._stack.enter_context(remote(server))


@contextmanager
def remote(server: sshd.Sshd, *, seconds: float = ENOUGH_S) -> Iterator[BatchClient]:
    """A real client of a login host."""
    known_hosts = server.folder / "known_hosts"
    known_hosts.write_text(server.known_hosts_line())
    site = BatchServer("torque1", "127.0.0.1", server.port, slurm_site.USER, server.user_key, known_hosts)
    client = RemoteBatchServer(site, seconds)
    yield client
    client.close()


class Seen:
    """What a snapshot says, read."""

    def __init__(self, raw: RawSnapshot) -> None:
        jobs = parse_jobs(raw.jobs, empty_ok=raw.jobs_empty)
        queues, nodes = parse_queues(raw.queues), parse_nodes(raw.nodes)
        assert (jobs.damaged, queues.damaged, nodes.damaged) == ((), (), ())
        self.taken_at = raw.taken_at
        self.jobs: list[BatchJob] = jobs
        self.queues: list[BatchQueue] = queues
        self.nodes: list[BatchNode] = nodes


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmSite]:
    # the server's own time zone is far from ours, and from UTC
    with slurm_site.running(tmp_path_factory.mktemp("slurm"), zone="Australia/Sydney") as site:
        yield site


@pytest.fixture(scope="module")
def kept(slurm: SlurmSite) -> Iterator[BatchClient]:
    with remote(slurm.server) as client:
        yield client


@pytest.fixture(params=[*get_args(BatchDialect), "real"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param != "real":
        yield SimulatedBench(request.param)
        return
    with ExitStack() as stack:
        slurm, kept = request.getfixturevalue("slurm"), request.getfixturevalue("kept")
        yield RealBench(slurm, kept, tmp_path, stack)


class TestSnapshot:
    def test_it_has_the_servers_queues_and_nodes(self, bench: Bench) -> None:
        seen = Seen(bench.busy().snapshot())

        assert {queue.name for queue in seen.queues} == bench.queues
        assert {node.name for node in seen.nodes} == bench.nodes
        assert {job.queue for job in seen.jobs} <= bench.queues

    def test_its_jobs_have_an_owner_a_name_and_times(self, bench: Bench) -> None:
        seen = Seen(bench.busy().snapshot())

        assert {job.state for job in seen.jobs} >= {JobState.RUNNING, JobState.QUEUED}
        for job in seen.jobs:
            assert job.owner
            assert job.name
            assert job.cpus
            assert job.walltime_requested
            assert job.submitted is not None
            assert seen.taken_at - 6 * 3600 < job.submitted <= seen.taken_at + 2

    def test_running_jobs_hold_nodes_and_have_begun_and_queued_ones_do_not(self, bench: Bench) -> None:
        seen = Seen(bench.busy().snapshot())

        for job in seen.jobs:
            if job.state in ACTIVE:
                assert {place.host for place in job.nodes} <= bench.nodes
                assert sum(place.slots for place in job.nodes) == job.cpus
                assert job.started is not None
                assert (job.submitted or 0) <= job.started <= seen.taken_at + 2
            elif job.state is JobState.QUEUED:
                assert not job.nodes
                assert job.started is None

    def test_a_node_has_the_slots_that_its_jobs_hold(self, bench: Bench) -> None:
        seen = Seen(bench.busy().snapshot())
        held: defaultdict[str, int] = defaultdict(int)
        for job in seen.jobs:
            for host, slots in job.nodes if job.state in ACTIVE else ():
                held[host] += slots

        slots = {node.name: node.slots or 0 for node in seen.nodes}
        assert held
        assert all(held[name] <= slots[name] for name in held)
        assert not {node.name for node in seen.nodes if "down" in node.states} & held.keys()

    def test_names_with_blanks_are_whole(self, bench: Bench) -> None:
        names = {job.name.partition("-")[0] for job in Seen(bench.busy().snapshot()).jobs}

        assert {"two words", "fluid dynamics"} & names

    def test_a_job_that_ends_runs_no_more(self, bench: Bench) -> None:
        client = bench.busy()
        client.snapshot()

        ended = bench.end_a_job()

        again = {job.id: job for job in Seen(client.snapshot()).jobs}
        assert ended not in again or again[ended].state in ENDED

    def test_a_server_without_jobs_is_no_error(self, bench: Bench) -> None:
        seen = Seen(bench.without_jobs().snapshot())

        assert seen.jobs == []
        assert seen.queues

    def test_it_says_when_it_was_taken_and_of_which_server_it_is(self, bench: Bench) -> None:
        client = bench.busy()
        first = client.snapshot()
        second = client.snapshot()

        assert first.server == "torque1"
        assert first.dialect in get_args(BatchDialect)
        assert first.taken_at <= second.taken_at

    def test_threads_share_a_client(self, bench: Bench) -> None:
        client = bench.busy()

        with ThreadPoolExecutor(4) as pool:
            seen = list(pool.map(lambda _: Seen(client.snapshot()), range(4)))

        assert len({tuple(job.id for job in one.jobs) for one in seen}) == 1


class TestTrouble:
    @pytest.mark.parametrize(
        ("trouble", "error"),
        [("away", Unreachable), ("denied", AuthenticationFailed), ("hanging", DeadlineExceeded)],
    )
    def test_it_is_a_sentence_and_never_a_server_without_jobs(
        self, bench: Bench, trouble: str, error: type[Exception]
    ) -> None:
        client: BatchClient = getattr(bench, trouble)()

        with pytest.raises(error, match=r"^(torque1|127\.0\.0\.1:\d+): .{20,}\.$"):
            client.snapshot()

    def test_a_client_may_be_closed_twice_and_used_again(self, bench: Bench) -> None:
        client = bench.busy()
        client.snapshot()
        client.close()
        client.close()

        assert Seen(client.snapshot()).jobs


class TestOnlyTheRealThing:
    @pytest.fixture
    def real(self, slurm: SlurmSite, kept: BatchClient, tmp_path: Path) -> Iterator[RealBench]:
        with ExitStack() as stack:
            yield RealBench(slurm, kept, tmp_path, stack)

    def test_jobs_are_as_scontrol_tells_them(self, real: RealBench, slurm: SlurmSite) -> None:
        seen = Seen(real.busy().snapshot())
        numbers = slurm.run("squeue", "--noheader", "--states=R,PD", "--format=%i").split()

        assert len(numbers) == 3
        for job in (job for job in seen.jobs if job.id in numbers):
            told = slurm.job(job.id)
            assert job.owner == told["UserId"].partition("(")[0]
            assert job.queue == told["Partition"]
            assert job.state.name == {"PENDING": "QUEUED"}.get(told["JobState"], told["JobState"])
            assert job.submitted == seconds(told["SubmitTime"])
            assert job.cpus == int(told["NumCPUs"])
            if job.state in ACTIVE:
                assert job.started == seconds(told["StartTime"])
                hosts = slurm.run("scontrol", "show", "hostnames", told["NodeList"])
                assert {host for host, _ in job.nodes} == set(hosts.split())

    def test_nothing_that_was_asked_is_left_when_a_server_hangs(self, real: RealBench, slurm: SlurmSite) -> None:
        with pytest.raises(DeadlineExceeded):
            real.hanging().snapshot()

        sshd.await_true(lambda: not asking(slurm), "qstat still runs")

    def test_a_server_that_hung_is_asked_again(self, real: RealBench, slurm: SlurmSite) -> None:
        client = real.hanging()
        with pytest.raises(DeadlineExceeded):
            client.snapshot()

        slurm.daemons["slurmctld"].send_signal(signal.SIGCONT)

        assert eventually(lambda: {queue.name for queue in Seen(client.snapshot()).queues}) == real.queues


def asking(slurm: SlurmSite) -> list[psutil.Process]:
    """The commands that run behind the private sshd."""
    below = psutil.Process(slurm.server.pid).children(recursive=True)
    return [process for process in below if "qstat" in " ".join(process.cmdline())]


def eventually(ask: Callable[[], set[str]]) -> set[str]:
    """What comes in the end, while the server still wakes up."""
    end = time.monotonic() + ENOUGH_S
    while True:
        try:
            return ask()
        except DeadlineExceeded:
            assert time.monotonic() < end


def seconds(told: str) -> int:
    """Seconds since the epoch of what scontrol says, in UTC."""
    return int(datetime.fromisoformat(told).replace(tzinfo=UTC).timestamp())
