"""Batch servers of every kind behind a private sshd, played by scripts: how each is asked, and what can go wrong."""

from __future__ import annotations

import shutil
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import sshd
from pbs_printers import json, slurm, text, xml
from sshd import await_true

from cloudmesh_actors.clients.batch.remote import RemoteBatchServer
from cloudmesh_actors.errors import AuthenticationFailed, DeadlineExceeded, NodeError, Unreachable, Unsupported
from cloudmesh_actors.pbs.qstat import QstatError, parse_jobs, parse_nodes, parse_queues
from cloudmesh_actors.site.model import BatchServer

USER = psutil.Process().username()

#: What the probe and the prefixes of commands need of a host.
TOOLS = ("sh", "env", "timeout", "head", "cat", "sleep", "touch", "bash")

JOBS = [("1.server", {"Job_Name": "x", "Job_Owner": "alice@host", "job_state": "Q", "queue": "batch"})]
QUEUES = [("batch", {"queue_type": "Execution", "total_jobs": "1", "enabled": "True", "started": "True"})]
NO_QUEUES = [("batch", {"queue_type": "Execution", "total_jobs": "0", "enabled": "True", "started": "True"})]
NODES = [("i1", {"state": "free", "np": "8", "ntype": "cluster"})]

TORQUE, OPENPBS = "echo 'Version: 6.1.3' >&2; exit 1", "echo pbs_version = 23.06.06"
SLURM = "echo 'Unknown option: version' >&2; exit 2"
USAGE = "echo \"qstat: invalid option -- '$1'\" >&2; echo 'usage: qstat' >&2; exit 2"


class LoginHost:
    """A login host whose PATH is one folder."""

    def __init__(self, folder: Path, server: sshd.Sshd) -> None:
        self.bin, self.server = folder / "bin", server
        self._folder, self._asked = folder, folder / "asked"
        (folder / "known_hosts").write_text(server.known_hosts_line())

    def install(self, name: str, script: str, files: dict[str, str] | None = None) -> None:
        """A program that notes how it was called, and does this."""
        for file, content in (files or {}).items():
            (self._folder / file).write_text(content, newline="")
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self._asked}\ncd {self._folder}\n{textwrap.dedent(script)}\n')
        path.chmod(0o755)

    def serve(self, version: str, jobs: str, queues: str, nodes: str) -> None:
        """A batch server that understands every option and prints this."""
        files = {"jobs.out": jobs, "queues.out": queues, "nodes.out": nodes}
        self.install("qstat", f"case $1 in --version) {version};; -Q) cat queues.out;; *) cat jobs.out;; esac", files)
        self.install("pbsnodes", "cat nodes.out")

    @property
    def asked(self) -> list[str]:
        """How the programs were called, oldest first."""
        return self._asked.read_text().splitlines() if self._asked.exists() else []

    def client(self, seconds: float = 20.0) -> RemoteBatchServer:
        known_hosts = self._folder / "known_hosts"
        server = BatchServer("torque1", "127.0.0.1", self.server.port, USER, self.server.user_key, known_hosts)
        return RemoteBatchServer(server, seconds)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LoginHost]:
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    with sshd.running(tmp_path, more=f"SetEnv PATH={tmp_path}/bin HOME={tmp_path}\n") as server:
        yield LoginHost(tmp_path, server)


@pytest.fixture
def client(host: LoginHost) -> Iterator[RemoteBatchServer]:
    client = host.client()
    yield client
    client.close()


class TestWays:
    def test_torque_is_asked_for_xml_with_subjobs(self, host: LoginHost, client: RemoteBatchServer) -> None:
        host.serve(TORQUE, xml(JOBS), text(QUEUES, "queues"), xml(NODES, "nodes"))

        raw = client.snapshot()

        assert (raw.server, raw.dialect, raw.jobs_empty) == ("torque1", "torque-xml", False)
        assert [job.id for job in parse_jobs(raw.jobs)] == ["1.server"]
        assert [queue.name for queue in parse_queues(raw.queues)] == ["batch"]
        assert [node.name for node in parse_nodes(raw.nodes)] == ["i1"]
        assert host.asked == ["qstat --version", "qstat -x -t", "qstat -Q -f", "pbsnodes -x"]

    def test_openpbs_is_asked_for_json(self, host: LoginHost, client: RemoteBatchServer) -> None:
        host.serve(OPENPBS, json(JOBS), json(QUEUES, "queues"), json(NODES, "nodes"))

        raw = client.snapshot()

        assert raw.dialect == "openpbs-json"
        assert host.asked[1:] == ["qstat -f -F json -t", "qstat -Q -f -F json", "pbsnodes -av -F json"]

    def test_slurms_wrapper_is_asked_for_text(self, host: LoginHost, client: RemoteBatchServer) -> None:
        host.serve(SLURM, slurm(JOBS), slurm(QUEUES, "queues"), slurm(NODES, "nodes"))

        assert client.snapshot().dialect == "slurm"
        assert host.asked[1:] == ["qstat -f", "qstat -Q -f", "pbsnodes -a"]

    def test_a_program_that_says_nothing_of_its_version_is_asked_for_text(
        self, host: LoginHost, client: RemoteBatchServer
    ) -> None:
        host.serve("cat jobs.out", text(JOBS), text(QUEUES, "queues"), text(NODES, "nodes"))

        assert client.snapshot().dialect == "unknown"
        assert host.asked[1:] == ["qstat -f", "qstat -Q -f", "pbsnodes -a"]

    @pytest.mark.parametrize(
        ("version", "known", "dialect", "tried"),
        [
            (TORQUE, "-x", "torque-xml", ["-x -t", "-x"]),
            (TORQUE, "-f", "torque-text", ["-x -t", "-x", "-f"]),
            (OPENPBS, "-f -t", "openpbs-text", ["-f -F json -t", "-f -t"]),
        ],
    )
    def test_an_old_version_is_asked_as_it_understands(
        self, host: LoginHost, client: RemoteBatchServer, version: str, known: str, dialect: str, tried: list[str]
    ) -> None:
        host.serve(version, text(JOBS), text(QUEUES, "queues"), text(NODES, "nodes"))
        script = (
            f'case "$*" in --version) {version};; -Q*) cat queues.out;; "{known}") cat jobs.out;; *) {USAGE};; esac'
        )
        host.install("qstat", script)

        first, second = client.snapshot(), client.snapshot()

        assert first.dialect == second.dialect == dialect
        assert [line for line in host.asked if line.startswith("qstat -") and "Q" not in line] == [
            "qstat --version",
            *(f"qstat {options}" for options in tried),
            f"qstat {known}",
        ]

    def test_what_was_found_out_is_remembered_until_it_fails(self, host: LoginHost, client: RemoteBatchServer) -> None:
        host.serve(TORQUE, xml(JOBS), text(QUEUES, "queues"), xml(NODES, "nodes"))
        client.snapshot()
        client.snapshot()
        assert host.asked.count("qstat --version") == 1

        host.serve(OPENPBS, json(JOBS), json(QUEUES, "queues"), json(NODES, "nodes"))
        host.install("pbsnodes", f"case $1 in -av) cat nodes.out;; *) {USAGE};; esac")
        with pytest.raises(NodeError):
            client.snapshot()

        assert client.snapshot().dialect == "openpbs-json"
        assert host.asked.count("qstat --version") == 2

    def test_commands_run_in_english_and_in_utc(self, host: LoginHost, client: RemoteBatchServer) -> None:
        host.serve(TORQUE, xml(JOBS), text(QUEUES, "queues"), xml(NODES, "nodes"))
        host.install("pbsnodes", 'echo "$LC_ALL $TZ" > environment; cat nodes.out')

        client.snapshot()

        assert (host.bin.parent / "environment").read_text() == "C UTC0\n"

    def test_a_greeting_of_the_shell_is_no_hindrance(self, host: LoginHost, client: RemoteBatchServer) -> None:
        host.serve(TORQUE, xml(JOBS), text(QUEUES, "queues"), xml(NODES, "nodes"))
        (host.bin.parent / ".bashrc").write_text("echo '*** Maintenance on Sunday: qstat=off ***'\n")

        raw = client.snapshot()

        assert raw.dialect == "torque-xml"
        assert [job.id for job in parse_jobs(raw.jobs)] == ["1.server"]

    def test_the_time_of_a_snapshot_is_that_of_its_first_command(
        self, host: LoginHost, client: RemoteBatchServer
    ) -> None:
        host.serve(TORQUE, xml(JOBS), text(QUEUES, "queues"), xml(NODES, "nodes"))
        host.install("pbsnodes", "sleep 1; cat nodes.out")

        began = time.time()
        raw = client.snapshot()

        assert began <= raw.taken_at <= time.time() - 1


class TestNoJobs:
    def test_torque_that_prints_nothing_is_believed_when_its_queues_are_empty(
        self, host: LoginHost, client: RemoteBatchServer
    ) -> None:
        host.serve(TORQUE, "", text(NO_QUEUES, "queues"), text(NODES, "nodes"))

        raw = client.snapshot()

        assert raw.jobs_empty
        assert parse_jobs(raw.jobs, empty_ok=raw.jobs_empty) == []

    def test_torque_that_prints_nothing_is_not_believed_when_its_queues_have_jobs(
        self, host: LoginHost, client: RemoteBatchServer
    ) -> None:
        host.serve(TORQUE, "", text(QUEUES, "queues"), text(NODES, "nodes"))

        raw = client.snapshot()

        assert not raw.jobs_empty
        with pytest.raises(QstatError):
            parse_jobs(raw.jobs, empty_ok=raw.jobs_empty)

    def test_slurms_wrapper_says_so_by_its_exit_status(self, host: LoginHost, client: RemoteBatchServer) -> None:
        host.serve(SLURM, "", slurm(QUEUES, "queues"), slurm(NODES, "nodes"))
        host.install("qstat", f"case $1 in --version) {SLURM};; -Q) cat queues.out;; *) exit 153;; esac")

        assert client.snapshot().jobs_empty


class TestTrouble:
    @pytest.mark.parametrize("missing", ["qstat", "pbsnodes"])
    def test_a_host_without_the_commands(self, host: LoginHost, client: RemoteBatchServer, missing: str) -> None:
        host.serve(TORQUE, xml(JOBS), text(QUEUES, "queues"), xml(NODES, "nodes"))
        (host.bin / missing).unlink()

        with pytest.raises(Unsupported, match=rf"^127.0.0.1:\d+: {missing}: not found; name a host"):
            client.snapshot()

    def test_a_command_that_goes_away_later(self, host: LoginHost, client: RemoteBatchServer) -> None:
        host.serve(TORQUE, xml(JOBS), text(QUEUES, "queues"), xml(NODES, "nodes"))
        client.snapshot()
        (host.bin / "qstat").unlink()

        with pytest.raises(Unsupported, match=r"qstat.*No such file"):
            client.snapshot()

    def test_a_server_that_does_not_let_us_look(self, host: LoginHost, client: RemoteBatchServer) -> None:
        host.serve(TORQUE, xml(JOBS), text(QUEUES, "queues"), xml(NODES, "nodes"))
        host.install("pbsnodes", "echo 'pbsnodes: Unauthorized Request' >&2; exit 159")

        with pytest.raises(AuthenticationFailed, match=r"pbsnodes -x' failed with status 159 \(pbsnodes: Unauthorized"):
            client.snapshot()

    def test_a_server_that_is_away(self, host: LoginHost, client: RemoteBatchServer) -> None:
        complaint = "qstat: cannot connect to server i136 (errno=111) Connection refused"
        host.serve(TORQUE, xml(JOBS), text(QUEUES, "queues"), xml(NODES, "nodes"))
        host.install("qstat", f"case $1 in --version) {TORQUE};; *) echo '{complaint}' >&2; exit 111;; esac")

        with pytest.raises(Unreachable, match="its batch server is away; the login host answers"):
            client.snapshot()

    def test_output_before_a_failure_is_not_taken(self, host: LoginHost, client: RemoteBatchServer) -> None:
        host.serve(TORQUE, xml(JOBS), text(QUEUES, "queues"), xml(NODES, "nodes"))
        host.install("qstat", f"case $1 in --version) {TORQUE};; -Q) cat queues.out;; *) cat jobs.out; exit 3;; esac")

        with pytest.raises(NodeError, match="failed with status 3"):
            client.snapshot()

    def test_a_login_without_a_shell(self, host: LoginHost, client: RemoteBatchServer) -> None:
        with (host.server.folder / "user_key.pub").open("r+") as file:
            key = file.read()
            file.seek(0)
            file.write(f'command="echo This account is not available." {key}')

        with pytest.raises(Unsupported, match="runs no commands"):
            client.snapshot()

    def test_a_server_that_hangs_is_given_up_and_nothing_is_left_there(self, host: LoginHost) -> None:
        host.serve(TORQUE, xml(JOBS), text(QUEUES, "queues"), xml(NODES, "nodes"))
        host.install("qstat", f"case $1 in --version) {TORQUE};; *) echo $$ > pid; sleep 60;; esac")
        client = host.client(seconds=1)

        with pytest.raises(DeadlineExceeded, match=r"qstat -x -t.* was not over after 1 s"):
            client.snapshot()

        pid = int((host.bin.parent / "pid").read_text())
        await_true(lambda: not psutil.pid_exists(pid))
        client.close()

    def test_sshd_that_dies_in_mid_output_is_an_error_and_the_next_snapshot_is_whole(
        self, host: LoginHost, client: RemoteBatchServer
    ) -> None:
        host.serve(TORQUE, xml(JOBS * 1000), text(QUEUES, "queues"), xml(NODES, "nodes"))
        whole = (host.bin / "qstat").read_text()
        half = "head -c 10000 jobs.out; touch began; sleep 60"
        host.install("qstat", f"case $1 in --version) {TORQUE};; -Q) cat queues.out;; *) {half};; esac")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(client.snapshot)
            await_true((host.bin.parent / "began").exists)
            for process in psutil.Process(host.server.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            with pytest.raises(Unreachable, match="broke off while"):
                asked.result()

        (host.bin / "qstat").write_text(whole)
        assert len(parse_jobs(client.snapshot().jobs)) == 1000


def test_twenty_megabytes_of_jobs_come_whole_and_soon(host: LoginHost, client: RemoteBatchServer) -> None:
    attributes = {**JOBS[0][1], "Variable_List": "x" * 1000}
    jobs = xml([(f"{number}.server", attributes) for number in range(18_000)])
    assert len(jobs) > 20_000_000
    host.serve(TORQUE, jobs, text(QUEUES, "queues"), xml(NODES, "nodes"))

    assert client.snapshot().jobs == jobs.encode()
