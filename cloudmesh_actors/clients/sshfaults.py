"""What can go wrong with an SSH connection: paramiko's errors → ours, each with the operator's sentence."""

from __future__ import annotations

import logging
import os
import shlex
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import paramiko
from paramiko.ssh_exception import (
    AuthenticationException,
    BadAuthenticationType,
    BadHostKeyException,
    ChannelException,
    NoValidConnectionsError,
    PasswordRequiredException,
    SSHException,
)

from cloudmesh_actors.errors import AuthenticationFailed, HostKeyError, NodeError, ProtocolError, Unreachable
from cloudmesh_actors.site.model import DEFAULT_KNOWN_HOSTS

#: Where paramiko logs: tracebacks of what is raised here as a sentence. They are not shown.
LOG_CHANNEL = "cloudmesh_actors.clients.ssh"

KINDS = {"ssh-ed25519": "ED25519", "ssh-rsa": "RSA", "ecdsa-sha2-nistp256": "ECDSA"}

#: What paramiko says when the other end closes before or in its greeting.
DROPPED_WORDS = ("banner", "EOF", "Connection reset")


@dataclass(frozen=True)
class Login:
    """Where to log in, as whom, and which file has the host keys that are trusted.

    Without a key file, the keys in ``~/.ssh`` and the agent's are tried. `jump` is `[user@]host[:port]`, the host to go
    through; the key and the known hosts serve for it too.
    """

    host: str
    port: int = 22
    user: str = ""
    key_file: Path | None = None
    known_hosts: Path = DEFAULT_KNOWN_HOSTS
    jump: str | None = None

    def __str__(self) -> str:
        return self.host if self.port == 22 else f"{self.host}:{self.port}"

    @cached_property
    def gateway(self) -> Login | None:
        """How to log in to the host to go through."""
        if self.jump is None:
            return None
        parts = urlsplit(f"//{self.jump}")
        return Login(
            parts.hostname or self.jump, parts.port or 22, parts.username or self.user, self.key_file, self.known_hosts
        )

    @property
    def known_name(self) -> str:
        """The host's name in known_hosts (sshd(8))."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"


class Strict(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """Refuses hosts whose keys are not known, with the fingerprint to compare."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Called by paramiko when known_hosts has no key for the host."""
        raise HostKeyError(
            f"{self._login}: {self._login.known_hosts} has no key of this host, which shows {_shown(key)}; compare "
            f"that with the host's own, and if it is right, add what `{_keyscan(self._login)}` prints to the file."
        )


def load_known_hosts(client: paramiko.SSHClient, login: Login) -> None:
    """Let the client trust what is in the file. Raises HostKeyError when it cannot be read."""
    try:
        client.load_host_keys(str(login.known_hosts))
    except OSError as error:
        raise HostKeyError(
            f"{login}: the known host keys in {login.known_hosts} cannot be read ({error.strerror}); "
            f"name the file with `known_hosts` in the site file, or make it with `{_keyscan(login)}`."
        ) from None


def check_key_file(login: Login) -> None:
    """Raises AuthenticationFailed when the private key cannot be read."""
    if login.key_file is None:
        return
    try:
        login.key_file.open("rb").close()
    except OSError as error:
        raise AuthenticationFailed(
            f"{login}: the private key {login.key_file} cannot be read ({error.strerror}); "
            "check `key_file` in the site file."
        ) from None


def is_dropped(error: Exception) -> bool:
    """Whether the host closed the connection before it greeted, as a busy sshd does."""
    if isinstance(error, AuthenticationException | BadHostKeyException | ChannelException) or is_silent(error):
        return False
    if isinstance(error, SSHException):
        return any(word in str(error) for word in DROPPED_WORDS)
    return isinstance(error, EOFError | ConnectionResetError | BrokenPipeError)


def is_silent(error: Exception) -> bool:
    """Whether the host took the connection and never greeted."""
    return isinstance(error, SSHException) and isinstance(error.__context__, TimeoutError)


def refused(login: Login, error: Exception) -> NodeError:
    """The error for a connection that did not come about."""
    match error:
        case BadHostKeyException():
            return _changed(login, error)
        case AuthenticationException():
            return _no_login(login, error)
        case ChannelException():
            return Unreachable(f"{login}: its jump host cannot reach it ({error.text}).")
        case SSHException() if "No authentication methods" in str(error):
            return AuthenticationFailed(f"{login}: there is no key to log in with; name one with `key_file`.")
        case EOFError() | ConnectionResetError() | BrokenPipeError() | SSHException():
            return _no_greeting(login, error)
        case OSError():
            return Unreachable(f"{login}: {_unreachable(login, error)}")
    raise error


def _changed(login: Login, error: BadHostKeyException) -> HostKeyError:
    remove = shlex.join(["ssh-keygen", "-R", login.known_name, "-f", str(login.known_hosts)])
    return HostKeyError(
        f"{login}: the host key changed (expected {_shown(error.expected_key)}, got {_shown(error.key)}): somebody may "
        f"be listening in. If the host was reinstalled, compare the new key with the host's own, remove the old one "
        f"with `{remove}`, and add what `{_keyscan(login)}` prints."
    )


def _no_login(login: Login, error: AuthenticationException) -> AuthenticationFailed:
    who = repr(login.user) if login.user else "this process's user"
    if isinstance(error, PasswordRequiredException):
        return AuthenticationFailed(
            f"{login}: the private key {login.key_file or 'in ~/.ssh'} has a passphrase; use one without, "
            "or leave out `key_file` and load it into an agent."
        )
    allowed = f", and takes only {', '.join(error.allowed_types)}" if isinstance(error, BadAuthenticationType) else ""
    return AuthenticationFailed(
        f"{login}: the host refuses the key of {who} ({login.key_file or 'agent and ~/.ssh'}){allowed}; "
        "check `user` and `key_file` in the site file, and authorized_keys there."
    )


def _no_greeting(login: Login, error: Exception) -> NodeError:
    if is_dropped(error):
        return Unreachable(
            f"{login}: the host drops the connection before it greets; its sshd has too many logins at once, "
            "refuses this address, or something else than sshd listens there."
        )
    if is_silent(error):
        return Unreachable(f"{login}: the host takes the connection and says nothing; its sshd hangs, or is none.")
    return ProtocolError(f"{login}: the host broke off the login ({error}); see its sshd's log.")


def _unreachable(login: Login, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name does not resolve ({error.strerror})."
    if isinstance(error, NoValidConnectionsError | ConnectionRefusedError):
        reasons = error.errors.values() if isinstance(error, NoValidConnectionsError) else [error]
        return f"there is no connection to port {login.port} ({', '.join(sorted({_reason(r) for r in reasons}))})."
    if isinstance(error, TimeoutError):
        return "the host does not answer."
    return f"there is no connection ({_reason(error)})."


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _keyscan(login: Login) -> str:
    return shlex.join(["ssh-keyscan", "-p", str(login.port), login.host])


def _shown(key: paramiko.PKey) -> str:
    return f"{KINDS.get(key.get_name(), key.get_name())} {key.fingerprint}"


def _silence() -> None:
    logger = logging.getLogger(LOG_CHANNEL)
    logger.propagate = False
    logger.addHandler(logging.NullHandler())


_silence()
