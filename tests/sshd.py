"""A private sshd on loopback, with its own host key and one user key."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import require

CONFIGURATION = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 200
PermitRootLogin yes
"""


@dataclass(frozen=True)
class Sshd:
    """Where it listens, its process, and the keys to it."""

    folder: Path
    port: int
    pid: int

    @property
    def user_key(self) -> Path:
        return self.folder / "user_key"

    def known_hosts_line(self) -> str:
        """What known_hosts must hold for its key to be known."""
        kind, key, *_ = (self.folder / "host_key.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"


@contextmanager
def running(folder: Path, *, port: int | None = None, more: str = "") -> Iterator[Sshd]:
    """An sshd while the block runs; keys that are in its folder already are used. `more` is added to sshd_config(5)."""
    binary = require("sshd")
    for name in ("host_key", "user_key"):
        if not (folder / name).exists():
            make_key(folder / name)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it
    port = port or free_port()
    configuration = folder / "sshd_config"
    configuration.write_text(CONFIGURATION.format(port=port, folder=folder) + more)
    with (folder / "sshd.log").open("w") as log:
        process = subprocess.Popen([binary, "-D", "-e", "-f", configuration], stdout=log, stderr=log)
    try:
        await_port(port, process, folder / "sshd.log")
        yield Sshd(folder, port, process.pid)
    finally:
        process.terminate()
        process.wait(20)


def make_key(path: Path) -> None:
    """A fresh key pair without a passphrase."""
    subprocess.run([require("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server listens."""
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        else:
            return


def await_true(
    condition: Callable[[], bool], otherwise: str = "it did not come to pass", seconds: float = 60.0
) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.03)
