"""Scripts on the worker's own host: the `Runner` of the driver `local`."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloudmesh_actors.clients.shell.model import Kept
from cloudmesh_actors.clients.shell.posix import COMMAND_S, PosixRunner, Ran
from cloudmesh_actors.errors import DeadlineExceeded, ProtocolError

#: What a script sees of the worker's environment: no setting, no password.
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR")


class LocalRunner(PosixRunner):
    """Starts scripts here, as the worker's user; they outlive the worker.

    Args:
        folder: where scripts have their folders.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: Kept = Kept(),  # noqa: B008 - immutable
        environment: Mapping[str, str] = os.environ,
        seconds: float = COMMAND_S,
    ) -> None:
        super().__init__(f"local@{socket.gethostname()}", str(folder), keep)
        self._environment = {name: environment[name] for name in PASSED_ON if name in environment}
        self._seconds = seconds

    def execute(self, command: Sequence[str], sent: bytes = b"") -> Ran:
        """See `PosixRunner`."""
        try:
            done = subprocess.run(
                command, input=sent, env=self._environment, capture_output=True, timeout=self._seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise DeadlineExceeded(f"{self.place}: a shell was not done after {self._seconds:g} s.") from None
        except OSError as error:
            raise ProtocolError(f"{self.place}: no shell could be started ({error.strerror}).") from None
        return Ran(done.returncode, done.stdout, done.stderr.decode(errors="replace"))
