"""Whether a node greets on SSH: a real sshd, also behind another one, and servers that are none."""

from __future__ import annotations

import getpass
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sshd
from sshd import Sshd

from cloudmesh_actors.clients.greeting import greeting
from cloudmesh_actors.errors import DeadlineExceeded, NodeError, ProtocolError, Unreachable
from cloudmesh_actors.site import Host


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd.running(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@contextmanager
def saying(words: bytes | None) -> Iterator[int]:
    """A server that says something to whoever connects; None: nothing. Gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                if words is None:
                    connection.recv(1)  # until the other end has had enough
                else:
                    connection.sendall(words)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join(20)


def host(port: int, jump: str | None = None, **more: Path) -> Host:
    return Host("i001", "127.0.0.1", port, getpass.getuser(), jump=jump, **more)


def test_a_real_server_greets(server: Sshd) -> None:
    assert greeting(host(server.port), 30).startswith("SSH-2.0-OpenSSH")


def test_a_node_behind_another_host_is_asked_through_that_one(server: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(server.known_hosts_line())
    jump = f"{getpass.getuser()}@127.0.0.1:{server.port}"

    behind = host(server.port, jump, key_file=server.user_key, known_hosts=known)

    assert greeting(behind, 30).startswith("SSH-2.0-OpenSSH")


def test_a_node_that_is_away_behind_another_host_is_a_sentence(server: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(server.known_hosts_line())
    behind = host(1, f"{getpass.getuser()}@127.0.0.1:{server.port}", key_file=server.user_key, known_hosts=known)

    with pytest.raises(Unreachable, match=r"^i001 at 127.0.0.1:1, through "):
        greeting(behind, 30)


def test_words_before_the_greeting_are_passed_over() -> None:
    with saying(b"Welcome to this cluster\r\nSSH-2.0-dropbear\r\n") as port:
        assert greeting(host(port), 30) == "SSH-2.0-dropbear"


@pytest.mark.parametrize(
    ("words", "seconds", "error"),
    [(b"220 mail ready\r\n", 30, ProtocolError), (b"x" * 20_000, 30, ProtocolError), (None, 0.3, DeadlineExceeded)],
    ids=["mail", "endless", "silent"],
)
def test_what_is_no_ssh_server_is_a_sentence(words: bytes | None, seconds: float, error: type[NodeError]) -> None:
    with saying(words) as port, pytest.raises(error, match=r"^i001 at 127"):
        greeting(host(port), seconds)


def test_a_node_that_is_off_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        greeting(host(1))


def test_a_host_without_ssh_is_always_there() -> None:
    assert greeting(Host("i001", "", driver="simulator")) == "simulator"
