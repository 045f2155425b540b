"""SSH connections as they are opened here: known host keys only, no waiting without end, nothing held back."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import fabric
import paramiko
from paramiko.ssh_exception import SSHException

from cloudmesh_actors.clients import sshfaults
from cloudmesh_actors.clients.sshfaults import Login
from cloudmesh_actors.errors import NodeError

#: Waits before a dropped greeting is tried again, in seconds: sshd drops bursts (`MaxStartups`, sshd_config(5)).
RETRY_AFTER_S = (0.3, 1.0)

#: An idle connection shows this often that it lives, and a silent peer is given up after so long, in seconds.
KEEPALIVE_S, SILENCE_S = 15, 45


def connect(login: Login, seconds: float, sleep: Callable[[float], None]) -> fabric.Connection:
    """An open connection, and those that it goes through; each stage may take so many seconds.

    Raises Unreachable, HostKeyError, AuthenticationFailed or ProtocolError.
    """
    gateway = connect(login.gateway, seconds, sleep) if login.gateway else None
    try:
        for wait in RETRY_AFTER_S:
            with suppress(Dropped):
                return _open(login, gateway, seconds)
            sleep(wait)
        return _open(login, gateway, seconds)
    except Dropped as dropped:
        close(gateway)
        raise sshfaults.refused(login, dropped.error) from None
    except NodeError:
        close(gateway)
        raise


def _open(login: Login, gateway: fabric.Connection | None, seconds: float) -> fabric.Connection:
    connection = _prepared(login, gateway, seconds)
    try:
        connection.open()
        _tune(connection.transport, seconds)
    except (SSHException, EOFError, OSError) as error:
        connection.client.close()
        raise Dropped(error) if sshfaults.is_dropped(error) else sshfaults.refused(login, error) from None
    except BaseException:
        connection.client.close()
        raise
    return connection


def close(connection: fabric.Connection | None) -> None:
    """Close a connection, and those it goes through."""
    while connection is not None:
        connection.client.close()
        connection = connection.gateway


class Dropped(Exception):
    """A host that took the connection and let it fall."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _prepared(login: Login, gateway: fabric.Connection | None, seconds: float) -> fabric.Connection:
    """A connection that is not open yet, and that trusts known host keys only. No file of the user's is read."""
    sshfaults.check_key_file(login)
    connection = fabric.Connection(
        login.host,
        user=login.user or None,
        port=login.port,
        gateway=gateway,
        connect_timeout=seconds,
        config=fabric.Config(lazy=True),
        connect_kwargs={
            "key_filename": str(login.key_file) if login.key_file else None,
            "allow_agent": login.key_file is None,
            "look_for_keys": login.key_file is None,
            "banner_timeout": seconds,
            "auth_timeout": seconds,
            "channel_timeout": seconds,
        },
    )
    connection.client.set_log_channel(sshfaults.LOG_CHANNEL)
    connection.client.set_missing_host_key_policy(sshfaults.Strict(login))
    sshfaults.load_known_hosts(connection.client, login)
    return connection


def _tune(transport: paramiko.Transport, seconds: float) -> None:
    transport.set_keepalive(KEEPALIVE_S)
    transport.channel_timeout = seconds
    if isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_S * 1000)
