"""The probes of ``cm-actors site check --probe`` against real servers of their protocols, in this process."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from xmlrpc.server import SimpleXMLRPCServer

import paramiko
import pytest

from cloudmesh_actors import probes
from cloudmesh_actors.errors import AuthenticationFailed, DeadlineExceeded, ProtocolError, Unreachable
from cloudmesh_actors.site import BatchServer, Cobbler

HOST = "127.0.0.1"

#: Long enough for a handshake on a busy machine; tests of silence use less.
TIMEOUT_S = 20.0


@contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that hands each connection to `handle`; gives its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            handle(self.request)

    with socketserver.ThreadingTCPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def ssh_server(*keys: paramiko.PKey) -> Iterator[int]:
    """An SSH server with these host keys; nobody can log in."""

    def greet(connection: socket.socket) -> None:
        with paramiko.Transport(connection) as transport:
            for key in keys:
                transport.add_server_key(key)
            transport.start_server(event=threading.Event(), server=paramiko.ServerInterface())
            transport.join(TIMEOUT_S)

    with serving(greet) as port:
        yield port


@pytest.fixture(scope="module")
def ecdsa() -> paramiko.PKey:
    return paramiko.ECDSAKey.generate()


@pytest.fixture(scope="module")
def rsa() -> paramiko.PKey:
    return paramiko.RSAKey.generate(2048)


def known_hosts(folder: Path, port: int, key: paramiko.PKey) -> Path:
    file = folder / "known_hosts"
    file.write_text(f"# trusted\n[{HOST}]:{port} {key.get_name()} {key.get_base64()}\n")
    return file


def login(port: int, file: Path, **others: str) -> BatchServer:
    return BatchServer("torque1", host=HOST, port=port, user="alice", known_hosts=file, **others)  # type: ignore[arg-type]


def test_a_login_node_with_the_known_host_key_greets(tmp_path: Path, ecdsa: paramiko.PKey) -> None:
    with ssh_server(ecdsa) as port:
        seen = probes.batch_server(login(port, known_hosts(tmp_path, port, ecdsa)), TIMEOUT_S)
    assert seen.startswith("SSH-2.0-paramiko")
    assert ecdsa.fingerprint in seen


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_of_several_host_keys_the_known_one_is_asked_for(
    tmp_path: Path, ecdsa: paramiko.PKey, rsa: paramiko.PKey, kind: str
) -> None:
    key = {"ecdsa": ecdsa, "rsa": rsa}[kind]
    with ssh_server(ecdsa, rsa) as port:
        assert key.fingerprint in probes.batch_server(login(port, known_hosts(tmp_path, port, key)), TIMEOUT_S)


def test_an_unknown_host_key_is_told_with_its_fingerprint(tmp_path: Path, ecdsa: paramiko.PKey) -> None:
    with ssh_server(ecdsa) as port, pytest.raises(AuthenticationFailed, match="has none for it") as caught:
        probes.batch_server(login(port, tmp_path / "nothing"), TIMEOUT_S)
    assert ecdsa.fingerprint in str(caught.value)


def test_a_changed_host_key_is_refused(tmp_path: Path, ecdsa: paramiko.PKey) -> None:
    other = paramiko.ECDSAKey.generate()
    with ssh_server(ecdsa) as port, pytest.raises(AuthenticationFailed, match="has another"):
        probes.batch_server(login(port, known_hosts(tmp_path, port, other)), TIMEOUT_S)


def test_behind_a_jump_host_that_host_is_tried(tmp_path: Path, ecdsa: paramiko.PKey) -> None:
    with ssh_server(ecdsa) as port:
        server = login(1, known_hosts(tmp_path, port, ecdsa), jump=f"alice@{HOST}:{port}")
        assert probes.batch_server(server, TIMEOUT_S).startswith(f"its jump host alice@{HOST}:{port}: SSH-2.0")


@pytest.mark.parametrize("words", [b"220 mail.example.org ESMTP\r\n", b"", b"\0" * 500])
def test_what_is_no_ssh_server_is_told_so_without_a_traceback(
    tmp_path: Path, words: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda connection: connection.sendall(words)) as port, pytest.raises(ProtocolError, match="SSH"):
        probes.batch_server(login(port, tmp_path / "known_hosts"), TIMEOUT_S)
    assert capfd.readouterr() == ("", "")


@contextmanager
def silence() -> Iterator[int]:
    """A server that takes connections and says nothing until the end."""
    over = threading.Event()
    with serving(lambda _: over.wait(TIMEOUT_S) and None) as port:
        try:
            yield port
        finally:
            over.set()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


def test_a_silent_login_node_is_given_up(tmp_path: Path) -> None:
    with silence() as port, pytest.raises(ProtocolError, match="SSH"):
        probes.batch_server(login(port, tmp_path / "known_hosts"), 0.3)


def test_a_login_node_that_is_not_there_is_unreachable(tmp_path: Path, closed_port: int) -> None:
    with pytest.raises(Unreachable, match=f"{HOST}:{closed_port} cannot be reached: Connection refused"):
        probes.batch_server(login(closed_port, tmp_path / "known_hosts"), TIMEOUT_S)


@contextmanager
def xml_rpc(**methods: Callable[[], object]) -> Iterator[str]:
    with SimpleXMLRPCServer((HOST, 0), logRequests=False) as server, ExitStack() as stack:
        for name, method in methods.items():
            server.register_function(method, name)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield f"http://{HOST}:{server.server_address[1]}/RPC2"


def test_a_cobbler_tells_its_version() -> None:
    with xml_rpc(version=lambda: 3.3) as url:
        assert probes.cobbler(Cobbler("main", url), TIMEOUT_S) == "Cobbler 3.3"


def test_an_xml_rpc_server_that_is_no_cobbler_is_told_so() -> None:
    with xml_rpc(other=lambda: 1) as url, pytest.raises(ProtocolError, match="does not answer as a Cobbler does"):
        probes.cobbler(Cobbler("main", url), TIMEOUT_S)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n\r\nhello",
        b"HTTP/1.0 502 Bad Gateway\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_what_is_no_xml_rpc_server_is_told_so(answer: bytes) -> None:
    def reply(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(answer)

    with serving(reply) as port, pytest.raises(ProtocolError, match="does not answer as a Cobbler does"):
        probes.cobbler(Cobbler("main", f"http://{HOST}:{port}/RPC2"), TIMEOUT_S)


def test_a_silent_cobbler_is_given_up() -> None:
    with silence() as port, pytest.raises(DeadlineExceeded, match=r"does not answer within 0\.3 s"):
        probes.cobbler(Cobbler("main", f"http://{HOST}:{port}/RPC2"), 0.3)


def test_a_cobbler_that_is_not_there_is_unreachable(closed_port: int) -> None:
    for scheme in ("http", "https"):
        with pytest.raises(Unreachable, match="Connection refused"):
            probes.cobbler(Cobbler("main", f"{scheme}://{HOST}:{closed_port}/"), TIMEOUT_S)


def test_simulated_servers_are_not_talked_to() -> None:
    assert probes.batch_server(BatchServer("t", host="", driver="simulator")) == "simulated"
    assert probes.cobbler(Cobbler("c", url="", driver="simulator")) == "simulated"
