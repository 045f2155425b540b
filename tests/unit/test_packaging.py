"""What set-up installs: pinned, from anywhere, and all that setup.cfg asks for."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from workers.__main__ import COMMANDS

PROJECT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def canonical(requirement: str) -> str:
    """The normalised name of a requirement (PEP 503)."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def pinned(lock: str) -> dict[str, str]:
    lines = (PROJECT / lock).read_text().splitlines()
    return {canonical(line): line for line in lines if line and not line.lstrip().startswith("#")}


def declared() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(PROJECT / "setup.cfg")
    return config


def wanted(text: str) -> set[str]:
    return {canonical(line) for line in text.split("\n") if line.strip()}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_and_comes_from_no_particular_place(lock: str) -> None:
    for line in pinned(lock).values():
        assert re.match(r"^[a-z0-9.-]+(\[[a-z,]+\])?==[0-9][^ ]*( ; .*)?$", line), line
    assert "://" not in (PROJECT / lock).read_text()


def test_the_lock_has_what_the_package_needs() -> None:
    config = declared()
    needed = wanted(config["options"]["install_requires"]) | wanted(config["options.extras_require"]["postgresql"])

    assert needed <= set(pinned("requirements.lock"))


def test_the_lock_for_tests_has_the_same_versions_and_more() -> None:
    runtime, development = pinned("requirements.lock"), pinned("requirements-dev.lock")

    assert runtime.items() <= development.items()
    assert wanted(declared()["options.extras_require"]["dev"]) - {"cloudmesh-actors"} <= set(development)


def test_systemd_runs_commands_that_there_are() -> None:
    unit = (PROJECT / "workers" / "cloudmesh-actors.service").read_text()

    commands = dict(re.findall(r"^Exec(Start|Stop)=\S+ -P -m workers (\S+)(?: --web)?$", unit, flags=re.MULTILINE))

    assert commands == {"Start": "run", "Stop": "down"}
    assert set(commands.values()) <= COMMANDS
