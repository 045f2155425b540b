"""Which commands a batch server is asked with, and what their ends mean."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cloudmesh_actors.clients.batch import commands
from cloudmesh_actors.clients.batch.commands import JSON, SLURM, WAYS, XML, Programs
from cloudmesh_actors.errors import AuthenticationFailed, NodeError, ProtocolError, Unreachable, Unsupported

PLACES = "qstat=/opt/bin/qstat\npbsnodes=/opt/bin/pbsnodes\n"

TORQUE_6 = "Version: 6.1.3\nCommit: 7dcbe96c2ba4b13d9fbf6a5d4c6d4c4a3b6d6b1e\n"
USAGE = "Unknown option: version\nUsage:\n    qstat [-f] [-a|-i|-r] [-n [-1]] [-G|-M] [-u *user_list*] [-? | --help]\n"


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        (TORQUE_6, "torque"),
        ("version: 2.5.13\n", "torque"),
        ("Version: 4.2.10\nRevision: \n", "torque"),
        ("pbs_version = 23.06.06\n", "openpbs"),
        ("pbs_version = PBSPro_12.2.404.152084\n", "openpbs"),
        (USAGE, "slurm"),
        ("", "unknown"),
        ("Job Id: 1.server\n    Job_Name = x\n", "unknown"),
    ],
)
def test_the_kind_of_server_is_known_by_what_qstat_says_of_its_version(version: str, kind: str) -> None:
    assert commands.recognise(PLACES + version) == Programs("/opt/bin/qstat", "/opt/bin/pbsnodes", kind)


def test_a_greeting_before_the_answer_is_skipped() -> None:
    greeting = "*** Welcome! pbs_version 99 was removed; qstat=old ***\n"

    assert commands.recognise(greeting + PLACES + TORQUE_6) == Programs("/opt/bin/qstat", "/opt/bin/pbsnodes", "torque")


@pytest.mark.parametrize("output", ["", "This account is currently not available.\n", "qstat=/usr/bin/qstat\n"])
def test_an_answer_that_names_no_programs_is_none(output: str) -> None:
    assert commands.recognise(output) is None


class TestProbe:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        for name, says in (("qstat", TORQUE_6), ("pbsnodes", "")):
            (tmp_path / name).write_text(f"#!/bin/sh\nprintf '%s' '{says}' >&2\nexit 1\n")
            (tmp_path / name).chmod(0o755)
        return tmp_path

    def run(self, path: Path) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{path}:/usr/bin:/bin"}
        return subprocess.run(commands.probe(), env=environment, capture_output=True, text=True, check=False)

    def test_it_prints_what_is_recognised_whatever_the_exit_status_of_version(self, path: Path) -> None:
        ended = self.run(path)

        assert ended.returncode == 0
        assert commands.recognise(ended.stdout) == Programs(f"{path}/qstat", f"{path}/pbsnodes", "torque")

    def test_a_qstat_that_prints_everything_whatever_it_is_asked_is_cut_short(self, path: Path) -> None:
        (path / "qstat").write_text("#!/bin/sh\nyes 'Job Id: 1.server'\n")

        assert len(self.run(path).stdout) < 4096


def test_words_are_kept_apart_and_times_are_utc() -> None:
    jobs, queues, nodes = Programs("/opt/my pbs/qstat", "/opt/pbsnodes", "openpbs").commands(JSON)

    environment = ["env", "LC_ALL=C", "TZ=UTC0"]
    assert jobs == [*environment, "/opt/my pbs/qstat", "-f", "-F", "json", "-t"]
    assert queues == [*environment, "/opt/my pbs/qstat", "-Q", "-f", "-F", "json"]
    assert nodes == [*environment, "/opt/pbsnodes", "-av", "-F", "json"]


def test_history_is_never_asked_of_openpbs() -> None:
    assert "-x" in XML.jobs
    assert all("-x" not in way.jobs for kind in ("openpbs", "slurm", "unknown") for way in WAYS[kind])


@pytest.mark.parametrize(
    ("exit_status", "stdout", "stderr", "none"),
    [
        (153, b"", "", True),
        (153, b"\n", "", True),
        (153, b"", "Problem loading jobs.", False),
        (255, b"", "", False),
        (0, b"", "", False),
        (153, b"Job Id:\t1\n", "", False),
    ],
)
def test_only_a_silent_153_says_that_there_are_no_jobs(
    exit_status: int, stdout: bytes, stderr: str, none: bool
) -> None:
    assert commands.has_no_jobs(exit_status, stdout, stderr) is none


@pytest.mark.parametrize(
    ("queues", "empty"),
    [
        (b"Queue: a\n    total_jobs = 0\n\nQueue: b\n    total_jobs = 0\n", True),
        (b"Queue: a\n    total_jobs = 0\n\nQueue: b\n    total_jobs = 2\n", False),
        (b"<Data><Queue><name>a</name><total_jobs>0</total_jobs></Queue></Data>", True),
        (b'{"Queue":{"a":{"total_jobs":\t0}}}', True),
        (b'{"Queue":{"a":{"total_jobs":10}}}', False),
        (b"Queue:\ta\n\tqueue_type = Execution\n", False),
        (b"", False),
    ],
)
def test_queues_are_empty_only_when_they_say_so(queues: bytes, empty: bool) -> None:
    assert commands.all_queues_are_empty(queues) is empty


@pytest.mark.parametrize(
    ("stderr", "usage"),
    [
        ("qstat: invalid option -- 'F'\nusage: \nqstat [-f] ...", True),
        ("qstat: illegal option -- t", True),
        (USAGE, True),
        ("qstat: cannot connect to server i136 (errno=111)", False),
    ],
)
def test_a_program_that_is_too_old_complains_of_its_options(stderr: str, usage: bool) -> None:
    assert commands.is_usage(b"", stderr) is usage
    assert not commands.is_usage(b"Job Id: 1\n", stderr)


@pytest.mark.parametrize(
    ("exit_status", "stderr", "error"),
    [
        (111, "Connection refused\nqstat: cannot connect to server i136 (errno=111) Connection refused", Unreachable),
        (170, "Connection refused\nqstat: cannot connect to server i136 (errno=15010)", Unreachable),
        (2, "Problem loading jobs.", Unreachable),
        (1, "perl: error: Unable to contact slurm controller (connect failure)", Unreachable),
        (159, "qstat: Unauthorized Request", AuthenticationFailed),
        (1, "perl: error: Munge encode failed: Failed to access 'munge.socket'", AuthenticationFailed),
        (127, "env: '/opt/bin/qstat': No such file or directory", Unsupported),
        (126, "env: '/opt/bin/qstat': Permission denied", Unsupported),
        (1, "qstat: End of universe", ProtocolError),
        (0, "", ProtocolError),
    ],
)
def test_a_failure_says_the_host_the_command_and_what_the_program_said(
    exit_status: int, stderr: str, error: type[NodeError]
) -> None:
    command = Programs("/opt/bin/qstat", "/opt/bin/pbsnodes", "slurm").commands(SLURM)[0]

    failure = commands.failure("login.example.org", command, exit_status, stderr)

    assert type(failure) is error
    assert str(failure).startswith("login.example.org: ")
    assert stderr.splitlines()[-1] in str(failure) if stderr else "no reason given" in str(failure)
    assert "LC_ALL" not in str(failure)


def test_a_job_that_goes_while_it_is_listed_makes_no_failure() -> None:
    assert commands.is_whole(153, b"Job Id: 1.server\n", "qstat: Unknown Job Id 2.server")
    assert not commands.is_whole(153, b"", "qstat: Unknown Job Id 2.server")
    assert not commands.is_whole(1, b"Job Id: 1.server\n", "qstat: End of File")
