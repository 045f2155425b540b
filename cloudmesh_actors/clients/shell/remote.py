"""Scripts on other hosts, over SSH: the `Runner` of the driver `ssh`.

The words of a command are quoted for the shell there in one place, `clients/ssh.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cloudmesh_actors.clients.shell.model import Kept
from cloudmesh_actors.clients.shell.posix import COMMAND_S, PosixRunner, Ran
from cloudmesh_actors.clients.ssh import Login, Ssh

if TYPE_CHECKING:
    from cloudmesh_actors.site import Host


class RemoteRunner(PosixRunner):
    """Starts scripts on a host of the site, as the user of its login; they outlive the connection.

    Args:
        root: the folder below which scripts have theirs; empty for one in the user's home directory.
    """

    def __init__(
        self,
        host: Host,
        *,
        root: str = "",
        keep: Kept = Kept(),  # noqa: B008 - immutable
        seconds: float = COMMAND_S,
    ) -> None:
        login = Login(host.address, host.port, host.user, host.key_file, host.known_hosts, host.jump)
        super().__init__(str(login), root, keep)
        self._ssh, self._seconds = Ssh(login), seconds

    def close(self) -> None:
        """See `PosixRunner`."""
        self._ssh.close()

    def execute(self, command: Sequence[str], sent: bytes = b"") -> Ran:
        """See `PosixRunner`."""
        done = self._ssh.run(command, seconds=self._seconds, sent=sent)
        return Ran(done.exit_status, done.stdout, done.stderr)
