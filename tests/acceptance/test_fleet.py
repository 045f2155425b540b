"""The fleet as processes: up, down, clean, status; killed workers, a killed supervisor, foreign files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from fleets import FleetUnderTest, eventually, fleet, is_alive
from servers import require
from sshd import free_port

SEVEN = ["l1", "l2", "p1", "p2", "q1", "rain", "rack"]

#: The smallest fleet that can work; it is up in a third of the time.
SMALL = {"WORKERS": "rack=1", "THREADS": "4"}


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, as pytest's own may not."""
    with tempfile.TemporaryDirectory(prefix="cm-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetUnderTest]:
    """A small fleet; each test begins by bringing it up."""
    with fleet(tmp_path_factory.mktemp("fleet") / "logs", **SMALL) as it:
        yield it


@pytest.fixture
def small(running: FleetUnderTest) -> FleetUnderTest:
    running.up()
    return running


@pytest.fixture
def private(tmp_path: Path) -> Iterator[FleetUnderTest]:
    """A small fleet for one test alone."""
    with fleet(tmp_path / "logs", **SMALL) as it:
        yield it


@contextmanager
def process(it: FleetUnderTest, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m workers NAME`` in the foreground, gone after the block."""
    command = [sys.executable, "-P", "-m", "workers", name]
    with subprocess.Popen(command, env=it.environment, stdout=subprocess.DEVNULL) as running:
        try:
            yield running
        finally:
            running.kill()


def test_all_seven_workers_are_ready_after_up_with_a_log_and_a_pid_file_each_and_little_memory(tmp_path: Path) -> None:
    with fleet(tmp_path / "logs") as whole:
        up = whole.run("up")
        workers = whole.status()

        assert list(workers) == [*SEVEN, "beat"]
        assert {worker.state for worker in workers.values()} == {"ready"}
        assert "all ready after" in up.stdout
        for name in [*SEVEN, "beat"]:
            assert whole.pid(name) == workers[name].pid
            assert (whole.log_dir / f"{name}.log").stat().st_size > 0
            assert workers[name].memory <= 90e6
        queues = {worker.name: worker.queue for worker in workers.values()}
        assert [queues[name] for name in SEVEN] == [
            "launcher", "launcher", "provisioner", "provisioner", "pbs", "rain", "rack",
        ]  # fmt: skip

        left = whole.processes()
        whole.run("down")
        assert not any(map(is_alive, left))
        assert not list(whole.log_dir.glob("*.pid"))


def test_up_again_leaves_everything_as_it_is(small: FleetUnderTest) -> None:
    before = {name: worker.pid for name, worker in small.status().items()}

    again = small.run("up")

    assert again.stdout == "valkey, rack, beat were ready already\n"
    assert {name: worker.pid for name, worker in small.status().items()} == before


def test_two_ups_at_once_make_one_fleet(private: FleetUnderTest) -> None:
    command = [sys.executable, "-P", "-m", "workers", "up"]
    ups = [
        subprocess.Popen(command, env=private.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    words = [up.communicate(timeout=150)[0] for up in ups]

    assert [up.returncode for up in ups] == [0, 0, 0], words
    assert sum("started" in word for word in words) == 1
    assert len(private.processes()) == 4  # supervisord, valkey, rack, beat


def test_a_killed_worker_comes_back_with_a_fresh_pid_file(small: FleetUnderTest) -> None:
    killed = small.pid("rack")

    os.kill(killed, signal.SIGKILL)

    eventually(lambda: small.pid("rack") != killed)
    eventually(lambda: small.status()["rack"].state == "ready")
    assert small.status()["rack"].pid == small.pid("rack")


def test_a_killed_broker_comes_back(small: FleetUnderTest) -> None:
    killed = small.pid("valkey")

    os.kill(killed, signal.SIGKILL)

    eventually(lambda: small.pid("valkey") != killed)
    small.up()


def test_a_killed_supervisor_leaves_nothing_behind_and_up_mends_it(small: FleetUnderTest) -> None:
    supervisor, *below = small.processes()

    supervisor.kill()

    eventually(lambda: not any(map(is_alive, below)))
    assert "started" in small.run("up").stdout
    assert small.status()["rack"].state == "ready"


def test_a_worker_that_was_stopped_by_hand_is_started_and_the_others_are_left_alone(small: FleetUnderTest) -> None:
    beat = small.pid("beat")
    small.supervisor().stop(["rack"], 30)

    up = small.run("up")

    assert up.stdout.startswith("rack started; ")
    assert small.pid("beat") == beat


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of the fleet's."""
    with subprocess.Popen(["sleep", "600"]) as running:
        yield running
        running.kill()


def test_stale_and_foreign_pid_files_harm_nobody(small: FleetUnderTest, bystander: subprocess.Popen[bytes]) -> None:
    names = {"rack": b"%d" % bystander.pid, "beat": b"", "valkey": b"\xff", "supervisord": b"1"}
    for name, content in names.items():
        (small.log_dir / f"{name}.pid").write_bytes(content)

    small.run("down")

    assert bystander.poll() is None
    assert (small.log_dir / "rack.pid").read_bytes() == names["rack"]

    small.up()

    assert small.pid("rack") == small.status()["rack"].pid
    assert small.pid("beat") == small.status()["beat"].pid
    assert bystander.poll() is None


def test_a_change_that_concerns_some_workers_leaves_the_others_alone(small: FleetUnderTest) -> None:
    before = small.pid("rack")

    more = FleetUnderTest(small.log_dir, **{**SMALL, "WORKERS": "rack=2"}).run("up")
    assert more.stdout.startswith("rack2 started; ")
    assert small.pid("rack") == before

    small.up()
    assert small.pid("rack") == before
    assert sorted(small.supervisor().processes()) == ["beat", "rack", "valkey", "web"]

    beat = small.pid("beat")
    FleetUnderTest(small.log_dir, **{**SMALL, "THREADS": "2"}).up()
    assert small.pid("rack") != before
    assert small.pid("beat") == beat


def test_another_setting_restarts_the_fleet_with_it(small: FleetUnderTest) -> None:
    rack = small.pid("rack")

    FleetUnderTest(small.log_dir, **SMALL, GRACE=7).up()

    assert small.pid("rack") != rack
    assert small.supervisor().environment()["CLOUDMESH_GRACE"] == "7"


def test_cleaning_one_of_two_fleets_deletes_its_own_files_and_nothing_else(
    small: FleetUnderTest, private: FleetUnderTest, tmp_path: Path
) -> None:
    private.log_dir.mkdir()
    foreign = ["notes.txt", "l1.log", "rack.log.bak", "rack.logs", "pbs.log", "beat.log.old"]
    for name in foreign:
        (private.log_dir / name).write_text("precious")
    (private.log_dir / "sub").mkdir()
    (private.log_dir / "sub" / "rack.log").write_text("precious")
    private.up()
    assert private.pid("rack") != small.pid("rack")
    (private.log_dir / "rack.log.1").write_text("rotated")
    (tmp_path / "link").symlink_to(private.log_dir)

    clean = FleetUnderTest(tmp_path / "link", **SMALL).run("clean")

    assert sorted(path.name for path in private.log_dir.iterdir()) == sorted([*foreign, "state", "sub"])
    assert (private.log_dir / "sub" / "rack.log").read_text() == "precious"
    assert (private.log_dir / "state" / "store.db").exists()
    assert clean.stdout.startswith("all workers are down; ")
    assert private.status()["rack"].state == "down"
    assert small.status()["rack"].state == "ready"


def test_clean_and_down_of_a_fleet_that_never_was_up_are_no_error(private: FleetUnderTest) -> None:
    assert private.run("down").stdout == "all workers were down already\n"
    assert private.run("clean").stdout == "all workers are down; 0 logs and pid files deleted\n"


def test_a_worker_that_cannot_start_is_named_with_its_reason_and_the_others_are_up(
    private: FleetUnderTest, tmp_path: Path
) -> None:
    private.log_dir.mkdir()
    (private.log_dir / "rack.log").mkdir()

    up = private.run("up", check=False)

    assert up.returncode == 1
    assert up.stderr.splitlines()[0] == "rack is not ready: it ended each time it was started."
    assert "rack.log: Is a directory" in up.stderr
    assert "Traceback" not in up.stderr
    assert private.status()["beat"].state == "ready"
    assert private.status()["rack"].state == "failed"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"THREADS": "many"}, "CLOUDMESH_THREADS is 'many': "),
        ({"LOG_DIR": "/dev/null/logs"}, "CLOUDMESH_LOG_DIR is '/dev/null/logs', which cannot be made: Not a directory"),
        ({"RUNTIME_ROOT": "/tmp/" + "x" * 90}, "CLOUDMESH_RUNTIME_ROOT is "),
        ({"SITE": "/nowhere.yml"}, "/nowhere.yml"),
        ({"BROKER_URL": "redis://:hunter2@127.0.0.1:1/0"}, "The broker redis://"),
        ({"BROKER_URL": "stub://"}, "CLOUDMESH_BROKER_URL is a broker for tests"),
        ({"STORE_URL": "postgresql+psycopg://cm:hunter2@127.0.0.1:1/cm"}, "The store postgresql+psycopg://"),
    ],
)
def test_what_is_wrong_before_anything_starts_is_one_line(
    tmp_path: Path, settings: dict[str, str], sentence: str
) -> None:
    it = FleetUnderTest(tmp_path / "logs", **{**SMALL, **settings})

    up = it.run("up", check=False)

    assert up.returncode in {2, 3, 4}
    assert sentence in up.stderr
    assert "hunter2" not in up.stderr
    assert len(up.stderr.splitlines()) == 1, up.stderr


def test_a_directory_for_sockets_that_somebody_else_has_made_is_refused(tmp_path: Path, short_path: Path) -> None:
    it = FleetUnderTest(tmp_path / "logs", **SMALL, RUNTIME_ROOT=short_path)
    it.runtime_dir.mkdir(mode=0o755)
    it.runtime_dir.chmod(0o755)

    up = it.run("up", check=False)

    assert up.returncode == 2
    assert "is not private to this user" in up.stderr


def test_in_the_foreground_it_ends_with_down_as_systemd_wants_it(private: FleetUnderTest) -> None:
    with process(private, "run") as foreground:
        eventually(lambda: private.supervisor().pid() == foreground.pid)
        private.up()
        assert private.supervisor().pid() == foreground.pid

        private.run("down")

        assert foreground.wait(30) == 0


def test_the_status_is_a_table_that_fits_80_columns(small: FleetUnderTest) -> None:
    lines = small.run("status").stdout.splitlines()

    assert lines[0].split() == ["worker", "queue", "pid", "uptime", "memory", "done", "failed", "depth", "last", "job"]
    assert lines[1].split()[:3] == ["rack", "rack", str(small.pid("rack"))]
    assert all(len(line) <= 80 for line in lines)


def test_an_unknown_command_is_a_wrong_usage(private: FleetUnderTest) -> None:
    assert private.run("--help").stdout.startswith("usage: python -m workers")
    assert private.run("--nonsense", check=False).returncode == 2


def test_a_worker_in_the_foreground_stops_at_once_and_a_second_signal_changes_nothing(small: FleetUnderTest) -> None:
    log = small.log_dir / "q1.log"
    with process(small, "q1") as worker:
        eventually(lambda: log.exists() and '"worker.ready"' in log.read_text())  # nobody else is ever q1 here

        worker.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGTERM)

        assert worker.wait(30) == 0
    assert '"worker.ended"' in log.read_text()
    assert not (small.log_dir / "q1.pid").exists()


def test_nothing_in_the_fleet_listens_on_the_network(small: FleetUnderTest) -> None:
    listening = [
        (process.name(), connection.laddr)
        for process in small.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert listening == []


def test_a_worker_waits_for_its_broker_instead_of_ending(tmp_path: Path) -> None:
    redis_server = require("redis-server")
    port = free_port()
    it = FleetUnderTest(tmp_path / "logs", **SMALL, BROKER_URL=f"redis://127.0.0.1:{port}/0")
    log = it.log_dir / "rack.log"
    with process(it, "rack") as worker:
        eventually(lambda: log.exists() and '"worker.waiting"' in log.read_text())
        assert '"worker.ready"' not in log.read_text()

        command = [redis_server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", tmp_path]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as broker:
            try:
                eventually(lambda: '"worker.ready"' in log.read_text())
                worker.terminate()
                assert worker.wait(30) == 0
            finally:
                broker.kill()
