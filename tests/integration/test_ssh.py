"""Commands over SSH, on private sshds."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import sshd
from servers import require
from sshd import await_true

from cloudmesh_actors.clients import ssh as module
from cloudmesh_actors.clients import sshopen
from cloudmesh_actors.clients.ssh import SESSIONS, Login, Ssh
from cloudmesh_actors.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    HostKeyError,
    NodeError,
    ProtocolError,
    Unreachable,
)

USER = psutil.Process().username()
ENOUGH_S = 20.0

Make = Callable[..., Ssh]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Sshd]:
    folder = tmp_path_factory.mktemp("sshd")
    with sshd.running(folder, more=f"SetEnv HOME={folder}\n") as server:
        (folder / "known_hosts").write_text(server.known_hosts_line())
        yield server


@pytest.fixture
def make(server: sshd.Sshd) -> Iterator[Make]:
    """Makes clients of the server, or of something else, and closes them in the end."""
    made: list[Ssh] = []

    def make(connect_seconds: float = 10.0, **other: object) -> Ssh:
        known_hosts = server.folder / "known_hosts"
        login = {
            "host": "127.0.0.1",
            "port": server.port,
            "user": USER,
            "key_file": server.user_key,
            "known_hosts": known_hosts,
        }
        made.append(Ssh(Login(**{**login, **other}), connect_seconds=connect_seconds))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make: Make) -> Ssh:
    return make()


def printed(client: Ssh, *command: str) -> bytes:
    return client.run(command, seconds=ENOUGH_S).stdout


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def logins(server: sshd.Sshd) -> int:
    return (server.folder / "sshd.log").read_text().count("Accepted publickey")


def sessions(server: sshd.Sshd) -> list[psutil.Process]:
    """The processes that serve connections."""
    return psutil.Process(server.pid).children(recursive=True)


def cut(server: sshd.Sshd) -> None:
    """End all connections of a server at once, as a crash does."""
    for process in sessions(server):
        if "sshd" in process.name():
            with suppress(psutil.NoSuchProcess):
                process.kill()


class TestCommands:
    def test_words_arrive_as_they_are(self, client: Ssh) -> None:
        words = ["it's", "$HOME", "a b", "*", "; false", "`id`", '"', "", "ü", "a\nb"]

        assert printed(client, "printf", "%s|", *words).decode() == "".join(f"{word}|" for word in words)

    def test_bytes_arrive_as_they_are(self, client: Ssh) -> None:
        assert printed(client, *python("import os; os.write(1, bytes(range(256)))")) == bytes(range(256))

    def test_an_exit_status_and_complaints_are_told_and_are_no_error(self, client: Ssh) -> None:
        ended = client.run(["sh", "-c", "echo seen; echo oh >&2; exit 3"], seconds=ENOUGH_S)

        assert (ended.exit_status, ended.stdout, ended.stderr) == (3, b"seen\n", "oh")

    def test_a_command_that_is_not_there_ends_with_127(self, client: Ssh) -> None:
        ended = client.run(["no-such-program"], seconds=ENOUGH_S)

        assert ended.exit_status == 127
        assert "no-such-program" in ended.stderr

    def test_a_command_that_waits_for_input_gets_none(self, client: Ssh) -> None:
        assert printed(client, "cat") == b""

    def test_twenty_megabytes_come_whole_and_soon(self, client: Ssh) -> None:
        code = "import os; [os.write(1, (b'%09d\\n' % n) * 1000) for n in range(2000)]"

        out = printed(client, *python(code))

        assert len(out) == 20_000_000
        assert out == b"".join((b"%09d\n" % n) * 1000 for n in range(2000))

    def test_megabytes_of_complaints_hold_nothing_up(self, client: Ssh) -> None:
        code = "import os; [os.write(2, b'oh ' * 10_000) for _ in range(200)]; os.write(1, b'done')"

        ended = client.run(python(code), seconds=ENOUGH_S)

        assert ended.stdout == b"done"
        assert ended.stderr.startswith("oh oh")

    def test_an_endless_output_is_given_up(self, client: Ssh) -> None:
        with pytest.raises(ProtocolError, match="'yes' printed more than 1000000 bytes"):
            client.run(["yes"], seconds=ENOUGH_S, largest=1_000_000)

        assert printed(client, "echo", "on") == b"on\n"

    def test_a_command_that_is_killed_there_is_an_error_and_not_a_listing(self, client: Ssh) -> None:
        with pytest.raises(ProtocolError, match="was killed there"):
            client.run(["sh", "-c", "echo half; kill -KILL $$"], seconds=ENOUGH_S)


class TestDeadline:
    @pytest.mark.parametrize("stubborn", ["", "trap '' TERM; "], ids=["", "that ignores SIGTERM"])
    def test_a_command_that_hangs_is_ended_there_and_nothing_is_left(
        self, client: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubborn: str
    ) -> None:
        monkeypatch.setattr(module, "KILL_AFTER_S", 1)
        script = f"{stubborn}echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done"

        with pytest.raises(DeadlineExceeded, match=r"was not over after 1 s, and was ended there"):
            client.run(["sh", "-c", script], seconds=1)

        pid = int((tmp_path / "pid").read_text())
        await_true(lambda: not psutil.pid_exists(pid))
        assert printed(client, "echo", "on") == b"on\n"

    def test_a_host_that_hangs_in_mid_command_is_given_up(
        self, client: Ssh, server: sshd.Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "SLACK_S", 0)
        monkeypatch.setattr(module, "KILL_AFTER_S", 1)
        script = f"touch {tmp_path}/began; sleep 60"
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(client.run, ["sh", "-c", script], seconds=1)
            await_true((tmp_path / "began").exists)
            with stopped(server), pytest.raises(DeadlineExceeded, match="after 2 s, and the host did not end it"):
                running.result()

        assert printed(client, "echo", "on") == b"on\n"

    def test_who_finds_no_free_session_in_time_is_told(self, client: Ssh) -> None:
        with ThreadPoolExecutor(SESSIONS) as pool:
            busy = [pool.submit(printed, client, "sleep", "1.2") for _ in range(SESSIONS)]
            time.sleep(0.5)
            with pytest.raises(DeadlineExceeded, match="other commands were not over"):
                client.run(["true"], seconds=0.1)
            assert [future.result() for future in busy] == [b""] * SESSIONS


@contextmanager
def stopped(server: sshd.Sshd) -> Iterator[None]:
    """Let the other end of all connections hang: they stay open, and nobody answers."""
    serving = [process for process in sessions(server) if "sshd" in process.name()]
    for process in serving:
        process.suspend()
    try:
        yield
    finally:
        for process in serving:
            process.resume()


class TestConnection:
    def test_many_commands_and_threads_share_one(self, client: Ssh, server: sshd.Sshd) -> None:
        before = logins(server)

        with ThreadPoolExecutor(12) as pool:
            outs = list(pool.map(lambda n: printed(client, "echo", str(n)), range(24)))

        assert outs == [b"%d\n" % n for n in range(24)]
        assert logins(server) == before + 1

    def test_small_packets_are_not_held_back(self, client: Ssh) -> None:
        printed(client, "true")

        assert client._connection is not None
        assert client._connection.transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    def test_one_that_died_while_idle_is_replaced(self, client: Ssh, server: sshd.Sshd) -> None:
        printed(client, "true")
        cut(server)

        assert printed(client, "echo", "on") == b"on\n"

    def test_one_whose_other_end_hangs_while_idle_is_replaced(self, make: Make, server: sshd.Sshd) -> None:
        client = make(connect_seconds=2)
        printed(client, "true")

        with stopped(server):
            assert printed(client, "echo", "on") == b"on\n"

    def test_one_that_breaks_in_mid_output_is_an_error_and_the_next_command_works(
        self, client: Ssh, server: sshd.Sshd, tmp_path: Path
    ) -> None:
        code = f"import os, time; os.write(1, b'half'); open('{tmp_path}/began', 'w'); time.sleep(60)"
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(client.run, python(code), seconds=5)
            await_true((tmp_path / "began").exists)
            cut(server)
            with pytest.raises(Unreachable, match="the connection broke off while"):
                running.result()

        assert printed(client, "echo", "on") == b"on\n"

    def test_it_may_be_closed_twice_and_is_opened_again(self, client: Ssh, server: sshd.Sshd) -> None:
        printed(client, "true")
        client.close()
        client.close()
        before = logins(server)

        assert printed(client, "echo", "on") == b"on\n"
        assert logins(server) == before + 1

    def test_closing_leaves_no_thread(self, make: Make) -> None:
        before = threading.active_count()
        client = make()
        printed(client, "true")
        client.close()

        await_true(lambda: threading.active_count() <= before)

    def test_failing_leaves_no_thread_and_no_socket(self, make: Make, tmp_path: Path) -> None:
        process = psutil.Process()
        threads, sockets = threading.active_count(), len(process.net_connections())
        sshd.make_key(tmp_path / "other")
        (tmp_path / "empty").touch()
        for other in ({"key_file": tmp_path / "other"}, {"known_hosts": tmp_path / "empty"}, {"port": 1}):
            with pytest.raises(NodeError):
                make(**other).run(["true"], seconds=ENOUGH_S)

        await_true(lambda: threading.active_count() <= threads)
        await_true(lambda: len([c for c in process.net_connections() if c.status == "ESTABLISHED"]) <= sockets)


class TestHostKeys:
    def test_a_host_that_is_not_known_is_refused_with_its_fingerprint(
        self, make: Make, server: sshd.Sshd, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").touch()

        with pytest.raises(HostKeyError) as caught:
            make(known_hosts=tmp_path / "empty").run(["true"], seconds=ENOUGH_S)

        assert str(caught.value).startswith(f"127.0.0.1:{server.port}: {tmp_path}/empty has no key of this host")
        assert fingerprint(server.folder) in str(caught.value)
        assert caught.value.kind == "hostkey"

    def test_without_a_file_of_known_hosts_nobody_is_trusted(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(HostKeyError, match=r"none cannot be read .*ssh-keyscan -p"):
            make(known_hosts=tmp_path / "none").run(["true"], seconds=ENOUGH_S)

    def test_a_hashed_file_of_known_hosts_is_read(self, make: Make, server: sshd.Sshd, tmp_path: Path) -> None:
        file = tmp_path / "hashed"
        file.write_text(server.known_hosts_line())
        subprocess.run(["ssh-keygen", "-H", "-f", file], check=True, capture_output=True)
        assert "127.0.0.1" not in file.read_text()

        assert printed(make(known_hosts=file), "echo", "on") == b"on\n"

    def test_a_key_that_changes_under_our_feet_is_refused(self, make: Make, tmp_path: Path) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        second.mkdir()
        with sshd.running(first) as server:
            known_hosts = tmp_path / "known_hosts"
            known_hosts.write_text(server.known_hosts_line())
            client = make(port=server.port, key_file=first / "user_key", known_hosts=known_hosts)
            assert printed(client, "echo", "on") == b"on\n"
            cut(server)
        for name in ("user_key", "user_key.pub"):
            (second / name).write_bytes((first / name).read_bytes())

        with (
            sshd.running(second, port=server.port) as impostor,
            pytest.raises(HostKeyError) as caught,
        ):
            client.run(["true"], seconds=ENOUGH_S)

        sentence = str(caught.value)
        expected, got = f"expected ED25519 {fingerprint(first)}", f"got ED25519 {fingerprint(second)}"
        assert sentence.startswith(f"127.0.0.1:{server.port}: the host key changed ({expected}, {got})")
        assert f"ssh-keygen -R '[127.0.0.1]:{server.port}' -f {known_hosts}" in sentence
        assert logins(impostor) == 0

    def test_a_key_of_another_kind_is_a_changed_key_too(self, make: Make, server: sshd.Sshd, tmp_path: Path) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "other"], check=True)
        kind, key, *_ = (tmp_path / "other.pub").read_text().split()
        (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")

        with pytest.raises(HostKeyError, match="the host key changed"):
            make(known_hosts=tmp_path / "known").run(["true"], seconds=ENOUGH_S)


def fingerprint(folder: Path) -> str:
    shown = subprocess.run([require("ssh-keygen"), "-lf", folder / "host_key.pub"], check=True, capture_output=True)
    return shown.stdout.decode().split()[1]


class TestLogin:
    def test_a_key_that_the_host_does_not_know_is_refused(self, make: Make, tmp_path: Path) -> None:
        sshd.make_key(tmp_path / "other")

        with pytest.raises(AuthenticationFailed, match=rf"refuses the key of '{USER}' \({tmp_path}/other\)"):
            make(key_file=tmp_path / "other").run(["true"], seconds=ENOUGH_S)

    def test_a_key_file_that_is_not_there_is_told(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(AuthenticationFailed, match="none cannot be read"):
            make(key_file=tmp_path / "none").run(["true"], seconds=ENOUGH_S)

    def test_a_key_with_a_passphrase_is_told(self, make: Make, tmp_path: Path) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked"], check=True)

        with pytest.raises(AuthenticationFailed, match="has a passphrase"):
            make(key_file=tmp_path / "locked").run(["true"], seconds=ENOUGH_S)

    def test_a_file_that_is_no_key_is_told(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("no key\n")

        with pytest.raises(NodeError, match="key"):
            make(key_file=tmp_path / "text").run(["true"], seconds=ENOUGH_S)


class TestReach:
    def test_a_port_where_nobody_listens(self, make: Make) -> None:
        with pytest.raises(
            Unreachable, match=r"127.0.0.1:\d+: there is no connection to port \d+ \(Connection refused"
        ):
            make(port=sshd.free_port()).run(["true"], seconds=ENOUGH_S)

    def test_a_name_that_does_not_resolve(self, make: Make) -> None:
        with pytest.raises(Unreachable, match=r"nowhere\.invalid:.* does not resolve"):
            make(host="nowhere.invalid").run(["true"], seconds=ENOUGH_S)

    def test_something_that_takes_connections_and_says_nothing(self, make: Make) -> None:
        with listening(lambda connection: time.sleep(1)) as (port, _):
            client = make(port=port, connect_seconds=0.3)
            with pytest.raises(Unreachable, match="says nothing"):
                client.run(["true"], seconds=ENOUGH_S)

    def test_something_that_is_no_sshd(self, make: Make) -> None:
        with listening(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as (port, _):
            client = make(port=port, connect_seconds=0.5)
            with pytest.raises(NodeError, match=f"127.0.0.1:{port}: "):
                client.run(["true"], seconds=ENOUGH_S)

    def test_a_dropped_connection_is_tried_again_and_then_told(self, make: Make) -> None:
        with listening(lambda connection: None) as (port, seen):
            with pytest.raises(Unreachable, match="drops the connection before it greets"):
                make(port=port).run(["true"], seconds=ENOUGH_S)

            assert len(seen) == 1 + len(sshopen.RETRY_AFTER_S)

    def test_who_waits_for_a_connection_that_fails_fails_with_it(self, make: Make) -> None:
        with listening(lambda connection: time.sleep(1)) as (port, seen):
            client = make(port=port, connect_seconds=0.5)
            with ThreadPoolExecutor(6) as pool:
                asked = [pool.submit(client.run, ["true"], seconds=ENOUGH_S) for _ in range(6)]
                assert all(isinstance(future.exception(), Unreachable) for future in asked)

            assert len(seen) <= 2


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[tuple[int, list[object]]]:
    """A port of 127.0.0.1 where this is done to each connection; the port, and who has come."""
    seen: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, peer = listener.accept()
                except OSError:
                    return
                seen.append(peer)
                with connection, suppress(OSError):
                    serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1], seen
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


class TestJump:
    @pytest.fixture
    def farther(self, server: sshd.Sshd, tmp_path: Path) -> Iterator[sshd.Sshd]:
        """Another sshd that takes the same user key."""
        for name in ("user_key", "user_key.pub"):
            (tmp_path / name).write_bytes((server.folder / name).read_bytes())
        with sshd.running(tmp_path) as farther:
            (tmp_path / "known_hosts").write_text(server.known_hosts_line() + farther.known_hosts_line())
            yield farther

    def test_a_host_behind_another_is_reached(self, make: Make, server: sshd.Sshd, farther: sshd.Sshd) -> None:
        known_hosts, jump = farther.folder / "known_hosts", f"{USER}@127.0.0.1:{server.port}"
        before = logins(server)
        client = make(port=farther.port, known_hosts=known_hosts, jump=jump)

        assert printed(client, *python("import os; os.write(1, bytes(1_000_000))")) == bytes(1_000_000)
        assert (logins(server), logins(farther)) == (before + 1, 1)

    def test_the_first_hosts_key_has_to_be_known_too(
        self, make: Make, server: sshd.Sshd, farther: sshd.Sshd, tmp_path: Path
    ) -> None:
        known_hosts = tmp_path / "only_the_farther"
        known_hosts.write_text(farther.known_hosts_line())
        client = make(port=farther.port, known_hosts=known_hosts, jump=f"127.0.0.1:{server.port}")

        with pytest.raises(HostKeyError, match=f"^127.0.0.1:{server.port}: "):
            client.run(["true"], seconds=ENOUGH_S)

    def test_the_farther_hosts_key_has_to_be_known_too(self, make: Make, server: sshd.Sshd, farther: sshd.Sshd) -> None:
        client = make(port=farther.port, jump=f"127.0.0.1:{server.port}")

        with pytest.raises(HostKeyError, match=f"^127.0.0.1:{farther.port}: "):
            client.run(["true"], seconds=ENOUGH_S)

    def test_a_host_that_the_first_cannot_reach(self, make: Make, server: sshd.Sshd) -> None:
        port = sshd.free_port()

        with pytest.raises(Unreachable, match=f"^127.0.0.1:{port}: its jump host cannot reach it"):
            make(port=port, jump=f"{USER}@127.0.0.1:{server.port}").run(["true"], seconds=ENOUGH_S)

    def test_it_is_mended_when_the_first_connection_breaks(
        self, make: Make, server: sshd.Sshd, farther: sshd.Sshd
    ) -> None:
        known_hosts = farther.folder / "known_hosts"
        client = make(port=farther.port, known_hosts=known_hosts, jump=f"{USER}@127.0.0.1:{server.port}")
        printed(client, "true")
        cut(server)

        assert printed(client, "echo", "on") == b"on\n"
