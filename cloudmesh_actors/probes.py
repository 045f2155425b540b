"""Does it answer? One short conversation with a BMC, a login node or a Cobbler.

Each probe returns what it saw in a few words, and raises a NodeError with a sentence when the server is not well.
"""

from __future__ import annotations

import http.client
import logging
import socket
import xmlrpc.client
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

from cloudmesh_actors.errors import AuthenticationFailed, DeadlineExceeded, ProtocolError, Unreachable
from cloudmesh_actors.site import BatchServer, Bmc, Cobbler

if TYPE_CHECKING:
    import paramiko

#: How long a login node or a Cobbler may take for one answer.
TIMEOUT_S = 10.0

_SIMULATED = "simulated"


def bmc(target: Bmc) -> str:
    """Log in to a BMC and ask for the power state."""
    from cloudmesh_actors.clients.ipmi.client import connect

    with connect(target) as conversation:
        return f"power is {conversation.power_status()}"


def batch_server(server: BatchServer, timeout: float = TIMEOUT_S) -> str:
    """Exchange keys with a login node, up to where it would ask for a user, and compare its host key.

    Of a server behind a jump host, that host is tried in its place.
    """
    if server.driver == "simulator":
        return _SIMULATED
    host, port = (server.host, server.port) if server.jump is None else _jump_host(server.jump)
    seen = _ssh_greeting(host, port, server.known_hosts, timeout)
    return seen if server.jump is None else f"its jump host {server.jump}: {seen}"


def cobbler(server: Cobbler, timeout: float = TIMEOUT_S) -> str:
    """Ask a Cobbler for its version, for which it wants no login."""
    if server.driver == "simulator":
        return _SIMULATED
    try:
        with xmlrpc.client.ServerProxy(server.url, transport=_transport(server.url, timeout)) as proxy:
            version = proxy.version()
    except TimeoutError:
        raise DeadlineExceeded(f"{server.url} does not answer within {timeout:g} s") from None
    except OSError as error:
        raise Unreachable(f"{server.url} cannot be reached: {_reason(error)}") from None
    except (xmlrpc.client.Error, http.client.HTTPException, ExpatError, ValueError) as error:
        raise ProtocolError(f"{server.url} does not answer as a Cobbler does: {_first_line(error)}") from None
    return f"Cobbler {version!s}"


class _Timed(xmlrpc.client.Transport):
    timeout = TIMEOUT_S

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = self.timeout
        return connection


class _TimedTls(xmlrpc.client.SafeTransport):
    timeout = TIMEOUT_S

    def make_connection(self, host: Any) -> http.client.HTTPSConnection:
        connection = super().make_connection(host)
        connection.timeout = self.timeout
        return connection


def _transport(url: str, timeout: float) -> xmlrpc.client.Transport:
    transport = _TimedTls() if urlsplit(url).scheme == "https" else _Timed()
    transport.timeout = timeout
    return transport


def _jump_host(jump: str) -> tuple[str, int]:
    """Host and port of ``[user@]host[:port]``."""
    parts = urlsplit(f"//{jump}")
    return parts.hostname or jump, parts.port or 22


def _ssh_greeting(host: str, port: int, known_hosts: Path, timeout: float) -> str:
    import paramiko

    where = f"{host}:{port}"
    try:
        connection = socket.create_connection((host, port), timeout)
    except TimeoutError:
        raise DeadlineExceeded(f"{where} does not answer within {timeout:g} s") from None
    except OSError as error:
        raise Unreachable(f"{where} cannot be reached: {_reason(error)}") from None
    with connection, paramiko.Transport(connection) as transport:
        return _greet(transport, where, _known_keys(known_hosts, host, port), known_hosts, timeout)


def _greet(
    transport: paramiko.Transport, where: str, known: paramiko.hostkeys.SubDict | None, file: Path, timeout: float
) -> str:
    import paramiko

    _quieten(transport)
    transport.banner_timeout = transport.handshake_timeout = timeout
    _prefer(transport, list(known or ()))
    try:
        transport.start_client(timeout=timeout)
        key = transport.get_remote_server_key()
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise ProtocolError(f"{where} does not answer as an SSH server does: {_first_line(error)}") from None
    if not known:
        raise AuthenticationFailed(f"{where} has the host key {key.fingerprint}, and {file} has none for it")
    if known.get(key.get_name()) != key:
        raise AuthenticationFailed(f"{where} has the host key {key.fingerprint}, but {file} has another")
    return f"{transport.remote_version}, {key.get_name()} {key.fingerprint}"


def _known_keys(file: Path, host: str, port: int) -> paramiko.hostkeys.SubDict | None:
    import paramiko

    keys = paramiko.HostKeys()
    if file.is_file():
        try:
            keys.load(str(file))
        except OSError as error:
            raise AuthenticationFailed(f"{file} cannot be read: {error.strerror}") from None
    return keys.lookup(host if port == 22 else f"[{host}]:{port}")


def _prefer(transport: paramiko.Transport, known: list[str]) -> None:
    """Ask for the kinds of host key that we can compare, before all others."""
    options = transport.get_security_options()
    first = [kind for kind in options.key_types if _base_kind(kind) in known]
    options.key_types = (*first, *(kind for kind in options.key_types if kind not in first))


def _base_kind(kind: str) -> str:
    """known_hosts names RSA keys by their old signature, whichever one is used."""
    return "ssh-rsa" if kind.startswith("rsa-sha2-") else kind


def _quieten(transport: paramiko.Transport) -> None:
    """Paramiko logs a traceback for what is raised here as a sentence."""
    name = "cloudmesh_actors.probes.ssh"
    logger = logging.getLogger(name)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    transport.set_log_channel(name)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
