"""What the README says is done: its shell commands and its Python are run, in a fleet of their own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fleets import FleetUnderTest, fleet
from sshd import free_port

from cloudmesh_actors import settings, site

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent

#: Lines that are not run as they stand, and why.
NOT_RUN = {
    "make test": "this is one of its tests",
    "make workers-up SITE=/etc/cloudmesh/site.yaml": "its site file is checked instead",
    "cm-actors site check --probe": "its BMCs are nobody's; the check is run without probes",
}


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def shell_lines() -> list[str]:
    """The commands of all shell blocks, without their comments."""
    lines = (line.partition("  #")[0].strip() for block in blocks("sh") for line in block.splitlines())
    return [line for line in lines if line]


def is_assignment(line: str) -> bool:
    return re.match(r"[A-Z_]+=", line) is not None


def commands() -> list[str]:
    return [line for line in shell_lines() if line not in NOT_RUN and not is_assignment(line)]


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetUnderTest]:
    with fleet(tmp_path_factory.mktemp("readme") / "logs", WORKERS="rack=1 pbs=1", WEB_PORT=free_port()) as it:
        it.run("up")
        run(it, [str(BIN / "cm-actors"), "send", "rack.read_sensors", "i001", "--wait"])  # there is something to show
        yield it


def run(it: FleetUnderTest, command: str | list[str]) -> str:
    """What a command prints that is run in the checkout with the README's settings."""
    environment = {**it.environment, "SETUP": "no", "VENV": str(BIN.parent)}
    done = subprocess.run(
        command, shell=isinstance(command, str), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_line_that_is_not_run_is_there() -> None:
    assert set(NOT_RUN) <= set(shell_lines())
    assert len(commands()) >= 6


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_works(it: FleetUnderTest, command: str) -> None:
    assert run(it, command.replace(".venv/bin/", f"{BIN}/"))


def test_the_first_job_prints_readings_of_four_nodes(it: FleetUnderTest) -> None:
    first = next(command for command in commands() if "read_sensors" in command and "send" in command)

    words = run(it, first.replace(".venv/bin/", f"{BIN}/"))

    assert [node for node in ("i001", "i002", "i003", "i004") if node not in words] == []
    assert "Inlet Temp" in words


def test_the_python_of_the_readme_works(it: FleetUnderTest) -> None:
    (program,) = blocks("python")

    words = run(it, [sys.executable, "-W", "error", "-c", program])

    assert words.startswith("done rack ")
    assert words.count(" sensors\n") == 64
    assert "'unit': 'F'" in words
    jobs = json.loads(run(it, [str(BIN / "cm-actors"), "jobs", "--json"]))
    assert {"rack.read_sensors", "rack.power"} <= {job["actor"] for job in jobs}


def test_the_readmes_site_file_is_right(it: FleetUnderTest, tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    password = tmp_path / "bmc-password"
    password.write_text("secret\n")
    password.chmod(0o600)
    file = tmp_path / "site.yaml"
    file.write_text(text.replace(str(password_file(text)), str(password)))

    loaded = site.load(file)

    assert len(loaded.bmcs) == 64
    assert loaded.bmcs["i064"].address == "10.1.0.64"
    assert loaded.nodes("@rack:r2") == loaded.nodes("i[041-064]")
    with_site = FleetUnderTest(it.log_dir, **it.settings, SITE=file)
    assert run(with_site, [str(BIN / "cm-actors"), "site", "check"])


def password_file(text: str) -> Path:
    return Path(yaml.safe_load(text)["bmcs"]["i[001-064]"]["password"]["file"])


def test_the_readmes_settings_are_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assignments = dict(line.split("=", 1) for line in shell_lines() if is_assignment(line))
    for name, value in assignments.items():
        if name.endswith("_FILE"):
            file = tmp_path / name
            file.write_text("secret\n")
            file.chmod(0o600)
            value = str(file)
        monkeypatch.setenv(name, value)

    read = settings.read()

    assert len(assignments) == 4
    assert read.resolved_broker_url == "amqp://cloudmesh:secret@mq.example.org/"
    assert read.resolved_store_url == "postgresql+psycopg://cloudmesh:secret@db.example.org/cloudmesh"
