"""The Makefile and its helpers, as an operator runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleets import FleetUnderTest, fleet

PROJECT = Path(__file__).parents[2]

TARGETS = (
    "setup", "workers-up", "workers-down", "workers-restart", "workers-status", "workers-clean", "logs", "web-up",
    "web-down", "up", "down",
    "demo", "demo-down", "test", "lint", "bench-NAME", "help",
)  # fmt: skip


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """make in the checkout, with the environment of this Python instead of one of its own."""
    inherited = {name: value for name, value in os.environ.items() if not re.match("CLOUDMESH_|MAKE|MFLAGS", name)}
    command = ["make", f"VENV={sys.prefix}", "SETUP=no", *arguments]
    return subprocess.run(
        command, cwd=PROJECT, env={**inherited, **environment}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip


def test_make_alone_lists_every_target_with_a_sentence() -> None:
    done = make()

    listed = dict(re.findall(r"^  (\S+) +(\S.*)$", done.stdout, flags=re.MULTILINE))
    assert set(TARGETS) <= set(listed)
    assert done.stdout == make("help").stdout
    assert all(len(line) <= 120 for line in done.stdout.splitlines())


def test_every_target_is_in_the_help() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    phony = {name for line in re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE) for name in line.split()}
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE))

    assert phony == described


@pytest.fixture
def small(tmp_path: Path) -> Iterator[FleetUnderTest]:
    with fleet(tmp_path / "log files", WORKERS="rack=1", SENSORS_INTERVAL=300) as it:
        yield it


def test_a_fleet_goes_up_shows_itself_and_is_cleaned_away(small: FleetUnderTest) -> None:
    variables = [f"LOG_DIR={small.log_dir}", "WORKERS=rack=1"]

    up = make("workers-up", *variables)
    status = make("workers-status", *variables)
    down = make("workers-down", *variables)
    clean = make("workers-clean", *variables)

    assert up.stdout.startswith("valkey, rack, beat started; all ready after "), up.stdout + up.stderr
    assert re.search(r"^rack +rack +\d+ ", status.stdout, flags=re.MULTILINE)
    assert down.stdout == "all workers are down\n"
    assert clean.stdout.startswith("all workers are down; ")
    assert [path.name for path in small.log_dir.iterdir()] == ["state"]


def test_a_failure_is_one_line_of_ours_and_one_of_make(tmp_path: Path) -> None:
    up = make("workers-up", "LOG_DIR=/dev/null/logs")

    assert up.returncode == 2
    ours, makes = up.stderr.splitlines()
    assert ours.startswith("CLOUDMESH_LOG_DIR is '/dev/null/logs', which cannot be made")
    assert "workers-up" in makes


@pytest.mark.parametrize("value", ["/a b", "it's", "50%", "a;b"])
def test_a_variable_reaches_the_settings_as_it_is(value: str) -> None:
    shown = make("--eval", "show: ; @printenv CLOUDMESH_SITE", "show", f"SITE={value}")

    assert shown.stdout == f"{value}\n"


def test_a_variable_that_is_not_given_leaves_the_environment_alone() -> None:
    show = ("--eval", "show: ; @printenv CLOUDMESH_SITE CLOUDMESH_LOG_DIR || true", "show")

    assert make(*show).stdout == ""
    assert make(*show, CLOUDMESH_LOG_DIR="/var/log/cm").stdout == "/var/log/cm\n"
    assert make(*show, LOG_DIR="/srv/log").stdout == "/srv/log\n"


def test_the_demonstration_knows_nothing_of_the_operators_own_site() -> None:
    shown = make("-n", "demo", "SITE=/etc/site.yml", "BROKER_URL=amqp://mq/")

    for name in ("SITE", "BROKER_URL", "STORE_URL", "STATE_DIR"):
        assert f"--unset=CLOUDMESH_{name} " in shown.stdout
    assert "CLOUDMESH_LOG_DIR=logs/demo" in shown.stdout


# -- set-up


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with what the helpers need, and no Python."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("bash", "env", "dirname", "touch", "mktemp", "cp", "rm", "tee", "chmod", "test", "tail", "cat", "id"):
        found = next(place / name for place in map(Path, ("/usr/bin", "/bin")) if (place / name).exists())
        (folder / name).symlink_to(found)
    return folder


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def run(name: str, *arguments: str, tools: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROJECT / "bin" / name, *arguments], cwd=PROJECT, env={"PATH": str(tools), **environment},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_python_that_is_too_old_is_told_in_one_line(tools: Path, tmp_path: Path) -> None:
    script(tools / "python3", 'if [ "$1" = --version ]; then echo "Python 3.9.2"; else exit 1; fi')

    done = run("setup", str(tmp_path / "venv"), "python3", "requirements.lock", tools=tools)

    assert done.returncode == 1
    assert done.stderr == (
        "make setup: Python 3.11 or newer is needed; python3 is Python 3.9.2. Set PYTHON=/path/to/python3.\n"
    )


def test_a_newer_python_beside_the_old_one_is_found(tools: Path, tmp_path: Path) -> None:
    script(tools / "python3", "exit 1")
    script(tools / "python3.12", '[ "$1" = -c ] && exit 0; echo "$0 $*"; mkdir -p "$4/bin"')
    (tools / "mkdir").symlink_to("/bin/mkdir")

    done = run("setup", str(tmp_path / "venv"), "python3", "requirements.lock", tools=tools)

    assert done.stdout.startswith("making the virtual environment")


def test_a_python_without_venv_names_the_debian_package(tools: Path, tmp_path: Path) -> None:
    script(tools / "python3", '[[ "$2" == *ensurepip* ]] && exit 1; exit 0')

    done = run("setup", str(tmp_path / "venv"), "python3", "requirements.lock", tools=tools)

    assert done.returncode == 1
    assert done.stderr == (
        "make setup: python3 cannot make virtual environments; install the Debian package python3-venv.\n"
    )


def test_set_up_is_not_repeated_until_the_lock_changes(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / ".ready").touch()
    command = ["make", "-C", str(PROJECT), "-n", f"VENV={venv}", "setup"]

    ready = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    os.utime(venv / ".ready", (0, 0))
    outdated = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "bin/setup" not in ready
    assert "bin/setup" in outdated


# -- the servers that tests need


def debian(tools: Path, tmp_path: Path, *, uid: int, sudo: bool, apt: str = "") -> None:
    """A Debian in which `here` is installed; what apt-get is asked, and whether services may start, lands in a file."""
    script(tools / "dpkg-query", '[ "${@: -1}" = here ] && echo -n installed || exit 1')
    script(tools / "id", f"echo {uid}")
    script(tools / "sudo", 'shift; exec "$@"' if sudo else "exit 1")
    script(tools / "apt-get", f'echo "$*" >> {tmp_path}/apt; "$POLICY_RC_D"; echo "policy $?" >> {tmp_path}/apt; {apt}')
    (tools / "true").symlink_to("/bin/true")


@pytest.mark.parametrize(("uid", "sudo"), [(0, False), (1000, True)])
def test_only_what_is_missing_is_installed_and_no_service_is_started(
    tools: Path, tmp_path: Path, uid: int, sudo: bool
) -> None:
    debian(tools, tmp_path, uid=uid, sudo=sudo)
    policy = tmp_path / "policy-rc.d"

    done = run("debian-packages", "here", "missing", "gone", tools=tools, POLICY_RC_D=str(policy))

    asked, allowed = (tmp_path / "apt").read_text().splitlines()
    assert asked.startswith("install ")
    assert asked.endswith(" missing gone")
    assert allowed == "policy 101"
    assert not policy.exists()
    assert done.stdout == "installing the Debian packages missing gone\n"


def test_a_policy_that_was_there_is_there_again_also_after_a_failure(tools: Path, tmp_path: Path) -> None:
    debian(tools, tmp_path, uid=0, sudo=False, apt="exit 100")
    policy = tmp_path / "policy-rc.d"
    script(policy, "exit 42")
    before = policy.read_text()

    done = run("debian-packages", "missing", tools=tools, POLICY_RC_D=str(policy))

    assert "policy 101" in (tmp_path / "apt").read_text()
    assert policy.read_text() == before
    assert policy.stat().st_mode & 0o777 == 0o755
    assert done.returncode == 0
    assert "tests that need them are skipped: missing" in done.stdout


def test_without_root_what_is_missing_is_named_and_the_tests_go_on(tools: Path, tmp_path: Path) -> None:
    debian(tools, tmp_path, uid=1000, sudo=False)

    done = run("debian-packages", "here", "missing", tools=tools)

    assert done.returncode == 0
    assert done.stdout == ("not installed, so tests that need them are skipped: missing (that needs root or sudo)\n")
    assert not (tmp_path / "apt").exists()


def test_when_nothing_is_missing_nothing_is_said_or_done(tools: Path, tmp_path: Path) -> None:
    debian(tools, tmp_path, uid=0, sudo=False)

    done = run("debian-packages", "here", tools=tools)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "apt").exists()
