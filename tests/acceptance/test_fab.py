"""fab, as an operator runs it: here, and on another host through a real sshd."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sshd
from fleets import fleet
from sshd import Sshd

FABFILE = Path(__file__).parents[2] / "fabfile.py"

#: Stands in for the project's: it shows what it was asked.
MAKEFILE = """
.PHONY: workers-up workers-down workers-clean workers-status
workers-up workers-down workers-clean workers-status:
\t@echo "$@ in $(CURDIR) with LOG_DIR=$(LOG_DIR) SITE=$(SITE)"
\t@test ! -e fail || { echo "rack is not ready" >&2; exit 3; }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd.running(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    return folder


@pytest.fixture
def home(tmp_path: Path, server: Sshd) -> Path:
    """A home directory whose known_hosts has the server's key."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    (folder / ".ssh" / "known_hosts").write_text(server.known_hosts_line())
    return folder


def fab(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fabric", "-r", str(FABFILE.parent), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name not in {"LOG_DIR", "SITE", "MAKEFLAGS"}}
    environment |= {"HOME": str(home), "SSH_AUTH_SOCK": ""}
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )


def there(server: Sshd) -> list[str]:
    return ["-H", f"127.0.0.1:{server.port}", "-i", str(server.user_key)]


@pytest.mark.parametrize(
    ("task", "target"),
    [("start", "workers-up"), ("stop", "workers-down"), ("clean", "workers-clean"), ("status", "workers-status")],
)
def test_each_task_runs_its_make_target_here(home: Path, project: Path, task: str, target: str) -> None:
    done = fab(home, f"queue.{task}", "--directory", project)

    assert done.stdout == f"{target} in {project} with LOG_DIR= SITE=\n"
    assert done.returncode == 0


def test_on_a_host_logs_are_in_a_directory_with_its_name(home: Path, project: Path, server: Sshd) -> None:
    done = fab(
        home, *there(server), "queue.start", "-d", project, "--log-dir", "/shared/logs", "--setting", "SITE=a b.yml"
    )

    assert done.stdout == f"workers-up in {project} with LOG_DIR=/shared/logs/127.0.0.1 SITE=a b.yml\n"
    assert done.returncode == 0


def test_a_target_that_fails_ends_fab_with_its_code_and_names_the_host(home: Path, project: Path, server: Sshd) -> None:
    (project / "fail").touch()

    done = fab(home, *there(server), "queue.start", "-d", project)

    assert done.returncode == 2  # make's
    assert "rack is not ready" in done.stderr
    assert done.stderr.splitlines()[-1] == "127.0.0.1: make workers-up failed"


def test_an_unknown_host_is_refused_in_one_sentence(home: Path, project: Path, server: Sshd) -> None:
    (home / ".ssh" / "known_hosts").unlink()

    done = fab(home, *there(server), "queue.start", "-d", project)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("127.0.0.1: its host key is not in known_hosts;")
    assert len(done.stderr.splitlines()) == 1


def test_a_host_whose_key_has_changed_is_refused(home: Path, project: Path, server: Sshd, tmp_path: Path) -> None:
    sshd.make_key(tmp_path / "other")
    kind, key, *_ = (tmp_path / "other.pub").read_text().split()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")

    done = fab(home, *there(server), "queue.stop", "-d", project)

    assert done.returncode == 1
    assert done.stderr.startswith("127.0.0.1: its host key has CHANGED;")


def test_a_key_that_the_host_does_not_take_is_told(home: Path, project: Path, server: Sshd, tmp_path: Path) -> None:
    sshd.make_key(tmp_path / "other")

    done = fab(home, "-H", f"127.0.0.1:{server.port}", "-i", tmp_path / "other", "queue.start", "-d", project)

    assert done.returncode == 1
    assert done.stderr.startswith("127.0.0.1: it does not accept this user or key")


def test_a_host_that_is_down_is_told(home: Path, project: Path) -> None:
    done = fab(home, "-H", f"127.0.0.1:{sshd.free_port()}", "queue.start", "-d", project)

    assert done.returncode == 1
    assert done.stderr.startswith("127.0.0.1: no connection (")


def test_a_password_on_the_command_line_is_refused_before_it_travels(home: Path, project: Path) -> None:
    done = fab(home, "queue.start", "-d", project, "--setting", "BROKER_URL=amqp://me:hunter2@mq/")

    assert done.returncode == 1
    assert "BROKER_PASSWORD_FILE" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_a_fleet_on_a_host_is_started_shown_and_cleaned_away(home: Path, server: Sshd, tmp_path: Path) -> None:
    settings = [f"VENV={sys.prefix}", "SETUP=no", "WORKERS=rack=1"]
    options = ["-l", tmp_path, *(word for setting in settings for word in ("--setting", setting))]

    with fleet(tmp_path / "127.0.0.1") as it:
        started = fab(home, *there(server), "queue.start", *options)
        rack = it.pid("rack")
        status = fab(home, *there(server), "queue.status", *options)
        cleaned = fab(home, *there(server), "queue.clean", *options)

    assert started.stdout.startswith("valkey, rack, beat started; all ready after "), started.stdout + started.stderr
    assert re.search(rf"^rack +rack +{rack} ", status.stdout, flags=re.MULTILINE)
    assert cleaned.stdout.startswith("all workers are down; ")
    assert not psutil.pid_exists(rack)
    assert [path.name for path in (tmp_path / "127.0.0.1").iterdir()] == ["state"]
