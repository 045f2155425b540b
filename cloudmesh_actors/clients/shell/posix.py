"""Scripts on a host with a POSIX shell, this one or another: the two differ in how a command gets there."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

from cloudmesh_actors.clients.shell.model import KILL_AFTER_S, Kept, Look, Phase, Script
from cloudmesh_actors.clients.shell.programs import STARTED_BEFORE, program
from cloudmesh_actors.errors import ProtocolError

#: The most output that one look brings, in bytes.
LOOK_BYTES = 2**18

#: What one of our own commands may take, in seconds.
COMMAND_S = 30.0


class Ran(NamedTuple):
    """A command that ran to its end."""

    status: int
    stdout: bytes
    stderr: str


class PosixRunner:
    """The `Runner` of hosts with sh(1). Subclasses say how a command, a list of words, gets there.

    Args:
        root: the folder below which each script has its own; empty for one in the user's home directory.
        keep: how much of an output is kept there.
    """

    def __init__(self, place: str, root: str, keep: Kept) -> None:
        self._place, self._root, self._keep = place, root, keep

    @property
    def place(self) -> str:
        """See `Runner`."""
        return self._place

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    def execute(self, command: Sequence[str], sent: bytes = b"") -> Ran:
        """Run a command with `sent` as its input, and take its output. Raises NodeError."""

    def start(self, script: Script) -> bool:
        """See `Runner`."""
        limits = map(str, (math.ceil(script.seconds), KILL_AFTER_S, *self._keep))
        words = [word for command in script.commands for word in (str(len(command)), *command)]
        variables = [f"{name}={value}" for name, value in script.environment.items()]
        arguments = [script.name, program("keeper"), *limits, program("script"), *words]
        ran = self.execute(["env", *variables, *self._command("start", *arguments)], script.file or b"")
        if ran.status not in (0, STARTED_BEFORE):
            raise self._failed("a script could not be started", ran)
        return ran.status == 0

    def look(self, name: str, since: int = 0) -> Look:
        """See `Runner`."""
        ran = self._ran("a script could not be looked at", "look", name, str(since), str(LOOK_BYTES))
        line, _, output = ran.stdout.partition(b"\n")
        try:
            phase, command, status, drained = line.decode().split()
            seen = Look(Phase(phase), int(command), None if status == "-" else int(status), output)
        except ValueError:
            raise self._failed("a script could not be looked at: its folder is damaged", ran) from None
        more_to_read = len(output) == LOOK_BYTES
        complete = not more_to_read and (drained == "yes" or seen.phase is Phase.LOST)
        tail = b""
        if seen.over and complete and since + len(output) >= self._keep.head:
            tail = self._ran("the end of an output could not be read", "tail", name).stdout
        return Look(seen.phase, seen.command, seen.status, output, tail, complete)

    def abort(self, name: str) -> None:
        """See `Runner`."""
        self._ran("a script could not be ended", "abort", name)

    def forget(self, name: str) -> None:
        """See `Runner`."""
        self._ran("a script's folder could not be removed", "forget", name)

    def _command(self, name: str, *arguments: str) -> list[str]:
        return ["sh", "-c", program(name), name, self._root, *arguments]

    def _ran(self, otherwise: str, name: str, *arguments: str) -> Ran:
        ran = self.execute(self._command(name, *arguments))
        if ran.status != 0:
            raise self._failed(otherwise, ran)
        return ran

    def _failed(self, what: str, ran: Ran) -> ProtocolError:
        said = " / ".join(line.strip() for line in ran.stderr.splitlines() if line.strip())[:300]
        return ProtocolError(f"{self._place}: {what} (status {ran.status}, {said or 'no reason given'}).")
