"""The fabfile's own thinking; the rest is tested against a real sshd."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from invoke.exceptions import Exit
from paramiko import PKey
from paramiko.ssh_exception import AuthenticationException, BadHostKeyException, SSHException

FABFILE = Path(__file__).parents[2] / "fabfile.py"


@pytest.fixture(scope="module")
def fabfile() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fabfile", FABFILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_here_nothing_is_set_that_was_not_asked_for(fabfile: ModuleType) -> None:
    assert fabfile.variables([], "", None) == {}
    assert fabfile.variables([], "/var/log/cm", None) == {"LOG_DIR": "/var/log/cm"}


def test_each_host_of_several_has_a_log_directory_of_its_own(fabfile: ModuleType) -> None:
    assert fabfile.variables([], "", "head1") == {"LOG_DIR": "logs/head1"}
    assert fabfile.variables(["LOG_DIR=/shared"], "", "head2") == {"LOG_DIR": "/shared/head2"}
    assert fabfile.variables(["SITE=a=b"], "/shared", "head2") == {"SITE": "a=b", "LOG_DIR": "/shared/head2"}


@pytest.mark.parametrize("setting", ["SITE", "=x", "site=x", "A B=x", "A;rm=x", ""])
def test_a_setting_of_another_form_is_refused(fabfile: ModuleType, setting: str) -> None:
    with pytest.raises(Exit, match="is not of the form NAME=VALUE"):
        fabfile.checked(setting)


def test_a_password_is_refused_and_its_place_named(fabfile: ModuleType) -> None:
    with pytest.raises(Exit, match="BROKER_PASSWORD_FILE") as refused:
        fabfile.checked("BROKER_URL=amqp://me:hunter2@mq:5672/")

    assert "hunter2" not in str(refused.value)
    assert fabfile.checked("BROKER_URL=amqp://me@mq:5672/") == ("BROKER_URL", "amqp://me@mq:5672/")


@pytest.mark.parametrize("value", ["plain", "two words", "it's", '"', "$HOME", "$(touch x)", "`touch x`", "a;b", "#c"])
def test_a_value_reaches_make_as_it_is(fabfile: ModuleType, tmp_path: Path, value: str) -> None:
    (tmp_path / "Makefile").write_text("show:\n\t@printenv SITE\nexport SITE\n")

    command = fabfile.make_command("show", {"SITE": value}, str(tmp_path))

    assert subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout == f"{value}\n"


def test_without_a_directory_it_is_the_fabfiles(fabfile: ModuleType) -> None:
    assert f"-C {FABFILE.parent} " in fabfile.make_command("workers-up", {}, "")


def test_known_hosts_of_the_ssh_configuration_come_first(fabfile: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()

    found = fabfile.known_hosts({"userknownhostsfile": f"{tmp_path}/a {tmp_path}/missing {tmp_path}/b"})

    assert found[:2] == [tmp_path / "a", tmp_path / "b"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BadHostKeyException("head1", PKey(), PKey()), "CHANGED"),
        (AuthenticationException("no"), "does not accept this user or key"),
        (SSHException("Server 'head1' not found in known_hosts"), "not in known_hosts"),
        (ConnectionRefusedError(111, "Connection refused"), "no connection"),
    ],
)
def test_why_there_is_no_connection_is_a_sentence(fabfile: ModuleType, error: Exception, words: str) -> None:
    assert words in fabfile.refusal(error)
