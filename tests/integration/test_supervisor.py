"""A real supervisord, driven over its socket."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cloudmesh_actors.errors import FleetError
from workers import files
from workers.supervisor import Process, Supervisor

HEAD = """
[unix_http_server]
file = {folder}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisord]
logfile = {folder}/log
pidfile = {folder}/supervisord.pid
childlogdir = {folder}
"""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    path = Path(f"/tmp/cmtest-{os.getpid()}-{time.monotonic_ns()}")
    path.mkdir(mode=0o700)
    yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


@pytest.fixture
def supervisor(folder: Path) -> Iterator[Supervisor]:
    it = Supervisor(folder / "supervisor.sock")
    yield it
    it.shut_down(20)


def configure(folder: Path, **programs: str) -> Path:
    file = folder / "supervisord.conf"
    sections = "".join(
        f"[program:{name}]\ncommand = {command}\nstartsecs = 0\nstdout_logfile = NONE\nstderr_logfile = NONE\n"
        for name, command in programs.items()
    )
    file.write_text(HEAD.format(folder=folder) + sections)
    return file


def start(supervisor: Supervisor, configuration: Path, **environment: str) -> None:
    lock = files.take_lock(configuration.with_name("supervisord.lock"), "taken")
    supervisor.start(configuration, {**os.environ, **environment}, lock)
    os.close(lock)


def eventually(holds: Callable[[], object], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def state(supervisor: Supervisor, name: str) -> Process:
    return supervisor.processes()[name]


def test_a_supervisor_that_does_not_run_has_no_pid_and_no_processes(folder: Path) -> None:
    supervisor = Supervisor(folder / "supervisor.sock")

    assert supervisor.pid() is None
    assert supervisor.processes() == {}
    supervisor.shut_down(1)


def test_it_starts_in_the_background_with_the_environment_it_was_given(folder: Path, supervisor: Supervisor) -> None:
    start(supervisor, configure(folder, a="sleep 600"), CLOUDMESH_SITE="/etc/ä site")

    assert supervisor.environment()["CLOUDMESH_SITE"] == "/etc/ä site"
    assert supervisor.pid() not in (None, os.getpid())
    eventually(lambda: state(supervisor, "a").state == "RUNNING")


def test_shutting_down_ends_it_and_what_it_runs(folder: Path, supervisor: Supervisor) -> None:
    start(supervisor, configure(folder, a="sleep 600"))
    eventually(lambda: state(supervisor, "a").pid)
    child = psutil.Process(state(supervisor, "a").pid)

    supervisor.shut_down(20)

    assert not child.is_running()
    assert supervisor.pid() is None


def test_a_lock_it_was_given_is_held_while_it_lives_and_by_none_of_its_children(
    folder: Path, supervisor: Supervisor
) -> None:
    start(supervisor, configure(folder, a="sleep 600"))
    eventually(lambda: state(supervisor, "a").pid)
    pid, child = supervisor.pid(), state(supervisor, "a").pid
    assert pid

    with pytest.raises(FleetError, match="taken"):
        files.take_lock(folder / "supervisord.lock", "taken")

    os.kill(pid, signal.SIGKILL)
    os.close(files.take_lock(folder / "supervisord.lock", "taken", wait_s=20))
    os.kill(child, signal.SIGKILL)


def test_a_stale_socket_does_not_keep_a_new_one_from_starting(folder: Path, supervisor: Supervisor) -> None:
    start(supervisor, configure(folder))
    pid = supervisor.pid()
    assert pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: supervisor.pid() is None)
    assert supervisor.path.exists()

    start(supervisor, configure(folder))

    assert supervisor.pid() not in (None, pid)


def test_an_update_touches_only_what_has_changed(folder: Path, supervisor: Supervisor) -> None:
    start(supervisor, configure(folder, same="sleep 600", changed="sleep 600", gone="sleep 600"))
    eventually(lambda: all(process.pid for process in supervisor.processes().values()))
    before = supervisor.processes()

    configure(folder, same="sleep 600", changed="sleep 700", new="sleep 600")
    supervisor.update(20)

    eventually(lambda: all(process.pid for process in supervisor.processes().values()))
    after = supervisor.processes()
    assert sorted(after) == ["changed", "new", "same"]
    assert after["same"].pid == before["same"].pid
    assert after["changed"].pid != before["changed"].pid


def test_a_process_that_was_stopped_can_be_begun_again_and_twice_is_once(folder: Path, supervisor: Supervisor) -> None:
    start(supervisor, configure(folder, a="sleep 600"))
    eventually(lambda: state(supervisor, "a").state == "RUNNING")

    supervisor.stop(["a", "unknown"], 20)
    supervisor.stop(["a"], 20)
    assert state(supervisor, "a").state == "STOPPED"

    supervisor.begin("a")
    supervisor.begin("a")
    eventually(lambda: state(supervisor, "a").state == "RUNNING")


def test_several_are_stopped_at_the_same_time_and_the_late_ones_are_named(folder: Path, supervisor: Supervisor) -> None:
    stubborn = f"{sys.executable} -c 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)'"
    start(supervisor, configure(folder, quick="sleep 600", stubborn=stubborn))
    eventually(lambda: state(supervisor, "stubborn").pid)
    stubborn_one = psutil.Process(state(supervisor, "stubborn").pid)
    eventually(lambda: stubborn_one.num_threads() and "python" in stubborn_one.name())
    eventually(lambda: _ignores_sigterm(stubborn_one.pid))

    with pytest.raises(FleetError, match=r"^stubborn did not end within 1 s$"):
        supervisor.stop(["quick", "stubborn"], 1)

    assert state(supervisor, "quick").state == "STOPPED"
    stubborn_one.kill()


def _ignores_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
    return bool(int(ignored, 16) & 1 << signal.SIGTERM - 1)


def test_a_configuration_that_is_wrong_is_an_error_in_its_own_words(folder: Path, supervisor: Supervisor) -> None:
    file = configure(folder)
    file.write_text("[supervisord]\nnodaemon = perhaps\n")

    with pytest.raises(FleetError, match=r"supervisord did not start: Error: .*perhaps"):
        start(supervisor, file)


def test_a_command_that_is_not_there_is_told(folder: Path, supervisor: Supervisor) -> None:
    start(supervisor, configure(folder, a="/nowhere/at/all"))

    eventually(lambda: "can't find command" in state(supervisor, "a").spawn_error)


def test_something_else_at_the_socket_is_an_error_not_an_absence(folder: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "supervisor.sock"))
        other.listen()
        supervisor = Supervisor(folder / "supervisor.sock", call_timeout_s=0.2)

        with pytest.raises(FleetError, match="does not answer"):
            supervisor.pid()
