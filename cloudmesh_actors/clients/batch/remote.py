"""A real batch server: `qstat` and `pbsnodes` on its login host."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cloudmesh_actors.clients.batch import commands
from cloudmesh_actors.clients.batch.commands import Dialect, Programs
from cloudmesh_actors.clients.batch.model import RawSnapshot
from cloudmesh_actors.clients.ssh import Completed, Login, Ssh
from cloudmesh_actors.errors import NodeError, Unsupported

if TYPE_CHECKING:
    from cloudmesh_actors.site import BatchServer

#: How long the programs are looked for, in seconds, and the most that is printed then, in bytes.
PROBE_S, LARGEST_PROBE = 20.0, 2**20


class RemoteBatchServer:
    """The `BatchClient` of the driver `ssh`. What kind of server it is, is found out once and remembered.

    Args:
        seconds: how long each command may take on the login host.
    """

    def __init__(self, server: BatchServer, seconds: float, *, clock: Callable[[], float] = time.time) -> None:
        self._server, self._seconds, self._clock = server, seconds, clock
        login = Login(server.host, server.port, server.user, server.key_file, server.known_hosts, server.jump)
        self._ssh = Ssh(login)
        self._known: tuple[Programs, Dialect] | None = None

    def snapshot(self) -> RawSnapshot:
        """See `BatchClient`."""
        known = self._known
        try:
            programs, dialect, taken_at, jobs = self._ask(*known) if known else self._find_out()
            _, for_queues, for_nodes = programs.commands(dialect)
            queues, nodes = self._listing(for_queues), self._listing(for_nodes)
        except NodeError:
            self._known = None
            raise
        self._known = programs, dialect
        empty = commands.has_no_jobs(jobs.exit_status, jobs.stdout, jobs.stderr) or (
            not jobs.stdout.strip() and not jobs.stderr and commands.all_queues_are_empty(queues)
        )
        return RawSnapshot(self._server.name, dialect.name, taken_at, jobs.stdout, queues, nodes, empty)

    def close(self) -> None:
        """See `BatchClient`."""
        self._ssh.close()

    def _find_out(self) -> tuple[Programs, Dialect, float, Completed]:
        """Where the programs are, and the best way to ask them: the first that they understand."""
        programs = self._programs()
        *better, last = commands.WAYS[programs.kind]
        for dialect in better:
            taken_at, jobs = self._jobs(programs, dialect)
            if not commands.is_usage(jobs.stdout, jobs.stderr):
                return programs, dialect, taken_at, self._checked(programs, dialect, jobs)
        return self._ask(programs, last)

    def _programs(self) -> Programs:
        command = commands.probe()
        found = self._ssh.run(command, seconds=min(PROBE_S, self._seconds), largest=LARGEST_PROBE)
        programs = commands.recognise(found.stdout.decode(errors="replace"))
        if found.exit_status != 0:
            raise commands.failure(str(self._ssh.login), command, found.exit_status, found.stderr)
        if programs is None:
            raise Unsupported(
                f"{self._ssh.login}: the login of {self._server.user!r} runs no commands, or prints something else; "
                "it needs a shell, and no forced command."
            )
        return programs

    def _ask(self, programs: Programs, dialect: Dialect) -> tuple[Programs, Dialect, float, Completed]:
        taken_at, jobs = self._jobs(programs, dialect)
        return programs, dialect, taken_at, self._checked(programs, dialect, jobs)

    def _jobs(self, programs: Programs, dialect: Dialect) -> tuple[float, Completed]:
        return self._clock(), self._ssh.run(programs.commands(dialect)[0], seconds=self._seconds)

    def _checked(self, programs: Programs, dialect: Dialect, jobs: Completed) -> Completed:
        if commands.has_no_jobs(jobs.exit_status, jobs.stdout, jobs.stderr):
            return jobs
        self._check(programs.commands(dialect)[0], jobs)
        return jobs

    def _listing(self, command: Sequence[str]) -> bytes:
        listing = self._ssh.run(command, seconds=self._seconds)
        self._check(command, listing)
        return listing.stdout

    def _check(self, command: Sequence[str], end: Completed) -> None:
        if not commands.is_whole(end.exit_status, end.stdout, end.stderr):
            raise commands.failure(str(self._ssh.login), command, end.exit_status, end.stderr)
