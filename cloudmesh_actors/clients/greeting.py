"""Does a node answer on SSH? Only its greeting is read: one that was just installed has a host key nobody knows yet."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from cloudmesh_actors.errors import DeadlineExceeded, ProtocolError, Unreachable

if TYPE_CHECKING:
    from cloudmesh_actors.site import Host

#: How long it may take, in seconds.
DEADLINE_S = 5.0

#: Servers may say something before their greeting (RFC 4253 §4.2), but not for ever: so many bytes at most.
LONGEST_PREFACE = 8192


def greeting(host: Host, seconds: float = DEADLINE_S) -> str:
    """What the node's SSH server says first: ``SSH-2.0-OpenSSH_9.2``. A host without SSH is always there.

    Raises:
        Unreachable, DeadlineExceeded, ProtocolError: it does not answer, or something else does.
        HostKeyError, AuthenticationFailed: the host to go through does not let us.
    """
    if host.driver != "ssh":
        return host.driver
    where = f"{host.node} at {host.address}:{host.port}"
    until = time.monotonic() + seconds
    with ExitStack() as stack:
        try:
            channel = stack.enter_context(_connect(host, seconds, stack))
            return _read(channel, where, until)
        except TimeoutError:
            raise DeadlineExceeded(f"{where} does not answer on SSH within {seconds:g} s.") from None
        except OSError as error:
            raise Unreachable(f"{where} cannot be reached: {error.strerror or error}.") from None


def _connect(host: Host, seconds: float, stack: ExitStack) -> Any:
    """A socket, or a channel through another host, which is like one."""
    if host.jump is None:
        return socket.create_connection((host.address, host.port), seconds)
    import paramiko

    from cloudmesh_actors.clients import sshopen
    from cloudmesh_actors.clients.sshfaults import Login

    login = Login(host.address, host.port, host.user, host.key_file, host.known_hosts, host.jump)
    assert login.gateway is not None  # noqa: S101 - there is a jump host
    through = sshopen.connect(login.gateway, seconds, time.sleep)
    stack.callback(sshopen.close, through)
    try:
        return through.transport.open_channel("direct-tcpip", (host.address, host.port), ("", 0), timeout=seconds)
    except paramiko.SSHException as error:
        raise Unreachable(f"{host.node} at {host.address}:{host.port}, through {host.jump}: {error}.") from None


def _read(channel: Any, where: str, until: float) -> str:
    said = b""
    while len(said) < LONGEST_PREFACE:
        channel.settimeout(max(0.01, until - time.monotonic()))
        part = channel.recv(1024)
        if not part:
            break
        said += part
        for line in said.split(b"\n")[:-1]:
            if line.startswith(b"SSH-"):
                return str(line.decode(errors="replace").strip())
    raise ProtocolError(f"{where} does not answer as an SSH server does.")
