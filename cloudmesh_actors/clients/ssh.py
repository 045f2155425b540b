"""Commands on other hosts over SSH: strict host keys, one connection a host, kept and mended.

Fabric opens the connections. The outputs are read from its channels here: `Connection.run` decodes them, and looks
through all that has come so far with every chunk, which takes time quadratic in their length.
"""

from __future__ import annotations

import math
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

import fabric
import paramiko
from paramiko.ssh_exception import ChannelException, SSHException

from cloudmesh_actors.clients import sshopen
from cloudmesh_actors.clients.sshfaults import Login
from cloudmesh_actors.errors import DeadlineExceeded, NodeError, ProtocolError, Unreachable

__all__ = ["Completed", "Login", "Ssh"]

#: How long each stage of connecting may take, in seconds: TCP, greeting, login, a session.
CONNECT_S = 10.0

#: Commands that run at once over one connection: sshd allows ten sessions (`MaxSessions`, sshd_config(5)).
SESSIONS = 6

#: Waits before a refused session is asked for again, in seconds.
FREED_AFTER_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)

#: What timeout(1) waits between asking a command to end and killing it, and what we wait beyond that, in seconds.
KILL_AFTER_S, SLACK_S = 3, 5

#: timeout(1)'s exit status when the time was up; shells tell of a SIGKILL by the other one.
TIMED_OUT, KILLED = 124, 137

#: The longest output that is taken, and what is kept of a command's complaints, in bytes.
LARGEST_OUTPUT, LARGEST_COMPLAINT = 512 * 2**20, 64 * 2**10

#: A longer command is cut where it is shown, in characters.
LONGEST_SHOWN = 200

#: How much is read at once, in bytes, and how long is waited for it before complaints are looked for, in seconds.
CHUNK, COMPLAINTS_EVERY_S = 2**16, 0.1


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran to its end, whatever its exit status."""

    command: str
    exit_status: int
    stdout: bytes
    stderr: str


class Ssh:
    """Runs commands on one host; any number of threads may share it, and with it one connection.

    The connection is opened when it is first needed, and opened anew when it has died.
    """

    def __init__(
        self,
        login: Login,
        *,
        connect_seconds: float = CONNECT_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.login = login
        self._connect_seconds, self._clock, self._sleep = connect_seconds, clock, sleep
        self._lock = threading.Lock()
        self._sessions = threading.BoundedSemaphore(SESSIONS)
        self._connection: fabric.Connection | None = None
        self._failure: tuple[float, NodeError] | None = None

    def run(
        self, command: Sequence[str], *, seconds: float, largest: int = LARGEST_OUTPUT, sent: bytes = b""
    ) -> Completed:
        """Run a command, given as a list of words, with `sent` as its input, and take all of its output.

        After `seconds`, timeout(1) ends it on the host. A command is sent once, never twice. It reads its input before
        it prints.

        Raises:
            Unreachable: there is no connection, or it broke off; what had come of the output is discarded.
            HostKeyError, AuthenticationFailed: the host or we are not who we should be.
            DeadlineExceeded: it took longer than it may.
            ProtocolError: it was killed there, printed more than `largest` bytes, or the host is no SSH server.
        """
        if not self._sessions.acquire(timeout=seconds):
            raise DeadlineExceeded(f"{self.login}: {SESSIONS} other commands were not over after {seconds:g} s.")
        try:
            channel, connection = self._session()
            try:
                return self._converse(channel, connection, Call(self.login, tuple(command), seconds, sent), largest)
            finally:
                _close(channel)
        finally:
            self._sessions.release()

    def close(self) -> None:
        """Close the connection; the next command opens another."""
        with self._lock:
            self._close()

    # -- a command

    def _converse(
        self, channel: paramiko.Channel, connection: fabric.Connection, call: Call, largest: int
    ) -> Completed:
        limited = ["timeout", "-k", str(KILL_AFTER_S), str(math.ceil(call.seconds)), *call.words]
        began = self._clock()
        try:
            with _given_up(channel, call.patience):
                channel.exec_command(shlex.join(limited))
                with suppress(OSError):  # a command may end without having read it; a broken connection shows below
                    channel.sendall(call.sent)
                    channel.shutdown_write()
                stdout, stderr = self._read(channel, call, largest)
                channel.status_event.wait(call.patience)
        except (SSHException, EOFError, OSError) as error:
            self._drop(connection)
            overdue = self._clock() - began >= call.patience
            raise call.hangs() if overdue else call.broken(str(error)) from None
        self._check(call, channel.exit_status, self._clock() - began, connection)
        return Completed(call.command, channel.exit_status, stdout, stderr.decode(errors="replace").strip())

    def _read(self, channel: paramiko.Channel, call: Call, largest: int) -> tuple[bytes, bytes]:
        """All of a command's output, and its first complaints.

        Both have one window: whoever reads only the output waits for ever for a command that complains at length.
        """
        channel.settimeout(COMPLAINTS_EVERY_S)
        chunks: list[bytes] = []
        complaints, size, chunk = b"", 0, None
        while chunk != b"":
            chunk = None
            with suppress(TimeoutError):
                chunk = channel.recv(CHUNK)
                chunks.append(chunk)
                size += len(chunk)
            while channel.recv_stderr_ready():
                complaints = (complaints + channel.recv_stderr(CHUNK))[:LARGEST_COMPLAINT]
            if size > largest:
                raise ProtocolError(f"{self.login}: {call.command!r} printed more than {largest} bytes.")
        return b"".join(chunks), complaints

    def _check(self, call: Call, status: int, elapsed: float, connection: fabric.Connection) -> None:
        """Raise what the way in which a command ended says: -1 is that no exit status came (RFC 4254 §6.10)."""
        if status not in (-1, KILLED, TIMED_OUT):
            return
        if elapsed >= call.patience:
            self._drop(connection)
            raise call.hangs()
        if status == -1 and _is_dead(connection):
            self._drop(connection)
            raise call.broken("it is closed")
        if elapsed >= 0.9 * call.seconds:
            raise call.late()
        if status == -1:
            raise ProtocolError(f"{self.login}: {call.command!r} was killed there; what it printed is discarded.")

    # -- the connection

    def _session(self) -> tuple[paramiko.Channel, fabric.Connection]:
        """A new session. A connection that died while nothing was asked of it is replaced once."""
        connection = self._connected()
        try:
            return self._open_session(connection), connection
        except (SSHException, EOFError, OSError):
            self._drop(connection)
        connection = self._connected()
        try:
            return self._open_session(connection), connection
        except (SSHException, EOFError, OSError) as error:
            self._drop(connection)
            raise Unreachable(f"{self.login}: the host takes the login, and then no command ({error}).") from None

    def _open_session(self, connection: fabric.Connection) -> paramiko.Channel:
        """A new session. A refused one is asked for again: sshd frees those that are over a moment after we do."""
        for wait in FREED_AFTER_S:
            with suppress(ChannelException):
                return connection.transport.open_session(timeout=self._connect_seconds)
            self._sleep(wait)
        try:
            return connection.transport.open_session(timeout=self._connect_seconds)
        except ChannelException as error:
            raise ProtocolError(
                f"{self.login}: the host refuses a session ({error.text}); see sshd's MaxSessions."
            ) from None

    def _connected(self) -> fabric.Connection:
        """The connection, opened if need be; who waited while another failed to open it, fails with that one."""
        asked = self._clock()
        with self._lock:
            if self._connection is not None and self._connection.is_connected:
                return self._connection
            if self._failure is not None and self._failure[0] > asked:
                raise type(self._failure[1])(str(self._failure[1]))
            self._close()
            try:
                self._connection = sshopen.connect(self.login, self._connect_seconds, self._sleep)
            except NodeError as error:
                self._failure = self._clock(), error
                raise
            return self._connection

    def _drop(self, connection: fabric.Connection) -> None:
        """Close this connection, unless it was replaced in the meantime."""
        with self._lock:
            if self._connection is connection:
                self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        sshopen.close(connection)


class Call(NamedTuple):
    """A command for a host, how many seconds it may take there, and the errors that say how it went wrong."""

    login: Login
    words: tuple[str, ...]
    seconds: float
    sent: bytes = b""

    @property
    def command(self) -> str:
        """The command as it is shown."""
        whole = shlex.join(self.words)
        return whole if len(whole) <= LONGEST_SHOWN else f"{whole[:LONGEST_SHOWN]}..."

    @property
    def patience(self) -> float:
        """How long is waited for it here, in seconds: longer than timeout(1) waits there."""
        return self.seconds + KILL_AFTER_S + SLACK_S

    def late(self) -> DeadlineExceeded:
        """The host ended it."""
        return DeadlineExceeded(
            f"{self.login}: {self.command!r} was not over after {self.seconds:g} s, and was ended there; "
            "what it asks is slow or hangs."
        )

    def hangs(self) -> DeadlineExceeded:
        """The host did not even end it."""
        return DeadlineExceeded(
            f"{self.login}: {self.command!r} was not over after {self.patience:g} s, and the host did not end it; "
            "the host hangs, or its network is away."
        )

    def broken(self, reason: str) -> Unreachable:
        """The connection ended before the command did."""
        return Unreachable(
            f"{self.login}: the connection broke off while {self.command!r} ran ({reason or 'no reason given'}); "
            "what had come of its output is discarded."
        )


def _close(channel: paramiko.Channel) -> None:
    """Close a channel, also one whose connection ends at this moment."""
    with suppress(SSHException, EOFError, OSError):
        channel.close()


@contextmanager
def _given_up(channel: paramiko.Channel, seconds: float) -> Iterator[None]:
    """Close the channel when the time is up: paramiko waits without end for an answer to a command."""
    watch = threading.Timer(seconds, _close, (channel,))
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _is_dead(connection: fabric.Connection) -> bool:
    """Whether the connection has ended: its thread ends a moment after its channels."""
    connection.transport.join(1.0)
    return not connection.transport.is_alive()
