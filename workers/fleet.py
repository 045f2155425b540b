"""The fleet: bring it up or down, restart it, clean up after it, tell how it is. Drives supervisord.

``python -m workers up|down|restart|status|clean|run|web-up|web-down``, and the same as functions.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh_actors import settings as settings_module
from cloudmesh_actors import site, store
from cloudmesh_actors.errors import FleetError, SettingsError
from cloudmesh_actors.settings import Settings, variable
from workers import configuration, files, reasons, valkey
from workers.configuration import WEB
from workers.files import LogMark, Manifest
from workers.supervisor import DOWN, LOOK_EVERY_S, Process, Supervisor, foreground_command

if TYPE_CHECKING:
    from workers.status import WorkerStatus

#: How long the fleet may take to be ready, in seconds.
READY_TIMEOUT_S = 60.0

#: What may lie in the directory of sockets when nothing runs any more.
LEFT_BEHIND = frozenset({"supervisord.conf", "command.lock", "supervisor.sock", "supervisord.pid", "valkey.sock"})

#: Lines of a log that are shown of a worker that is not ready.
SHOWN_LINES = 6


@dataclass(frozen=True, slots=True)
class UpReport:
    """What `up` found and did."""

    ready: tuple[str, ...]
    started: tuple[str, ...]
    seconds: float


class Fleet:
    """The processes that one set of settings asks for on this machine."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.runtime_dir
        self.configuration = self.folder / "supervisord.conf"
        self.supervisor = Supervisor(self.folder / "supervisor.sock")
        self.manifest = Manifest(settings.state_dir)
        self.embedded = not settings.broker_url
        self.workers = tuple(name for name, _ in configuration.processes(settings))
        self.names = (*((valkey.NAME,) if self.embedded else ()), *self.workers)

    @property
    def stop_timeout_s(self) -> float:
        """How long workers may take to end before supervisord kills them, and a little more."""
        return self.settings.grace + configuration.HAND_BACK_S + 5

    def log(self, name: str) -> Path:
        """Where a process logs."""
        return self.settings.log_dir / f"{name}.log"

    def up(self, ready_timeout_s: float = READY_TIMEOUT_S, *, web: bool = False) -> UpReport:
        """Start what is down, after a change of settings also what runs with the old ones; wait until all are ready.

        Args:
            web: whether the console is to be up, too. One that is up stays so.

        Raises:
            FleetError: some are not ready; which ones, why, and the last lines of their logs.
        """
        began = time.monotonic()
        self._check()
        with files.locked(self.folder):
            before = {name for name, process in self.supervisor.processes().items() if process.pid}
            names = (*self.names, WEB) if web or WEB in before else self.names
            self._check_web(names)
            marks = {name: LogMark.end_of(self.log(name)) for name in names}
            self._start(names)
            self._await_ready(marks, ready_timeout_s)
        started = tuple(name for name in names if name not in before)
        return UpReport(names, started, time.monotonic() - began)

    def web_is_up(self) -> bool:
        """Whether the console's process runs."""
        return WEB in self.supervisor.processes() and self.supervisor.processes()[WEB].state not in DOWN

    def web_down(self) -> bool:
        """Stop the console alone. Returns whether it was up."""
        with files.locked(self.settings.make_runtime_dir()):
            was_up = self.web_is_up()
            if was_up:
                self.supervisor.stop([WEB], self.stop_timeout_s)
            elif not self.supervisor.pid():
                files.remove_folder(self.folder, LEFT_BEHIND)
        return was_up

    def down(self) -> bool:
        """Stop everything; running tasks may finish within the grace time. Returns whether there was anything."""
        with files.locked(self.settings.make_runtime_dir()):
            was_up = self._stop()
            files.remove_folder(self.folder, LEFT_BEHIND)
        return was_up

    def clean(self) -> int:
        """Stop everything, then delete this fleet's logs and pid files. Returns how many files that were."""
        with files.locked(self.settings.make_runtime_dir()):
            self._stop()
            count = files.remove(self._files())
            files.remove_folder(self.folder, LEFT_BEHIND)
        return count

    def _files(self) -> list[Path]:
        state = self.settings.state_dir
        return [
            *self.manifest.files(self.settings.log_dir),
            *(state / "boot" / f"{name}.out" for name in self.manifest.names(self.settings.log_dir)),
            *(state / f"supervisord.log{number}" for number in ("", ".1")),
        ]

    def run(self, *, web: bool = False) -> None:
        """Become supervisord in the foreground, for systemd; returns only when that fails."""
        self._check()
        names = (*self.names, WEB) if web else self.names
        self._check_web(names)
        with files.locked(self.folder):
            if self.supervisor.pid():
                raise FleetError("The fleet is up already.")
            self._configure(names)
            os.set_inheritable(self._supervisor_lock(), True)
        command = foreground_command(self.configuration)
        environment = configuration.environment(self.settings, with_web=web)
        os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted

    def _check(self) -> None:
        configuration.check_sockets(self.settings)
        site.current()
        files.prepare(self.settings)
        store.current()
        self._check_broker()
        self.settings.make_runtime_dir()

    def _check_broker(self) -> None:
        if self.embedded:
            valkey.check()
            return
        from cloudmesh_actors import broker as brokers
        from workers.queues import reach

        if self.settings.broker_url.startswith("stub:"):
            raise SettingsError(f"{variable('broker_url')} is a broker for tests, which processes cannot share.")
        reach(brokers.current())
        brokers.reset()

    def _check_web(self, names: tuple[str, ...]) -> None:
        if WEB in names:
            from cloudmesh_actors.web import access

            access.Rules.of(self.settings)

    def _configure(self, names: tuple[str, ...]) -> None:
        umask = os.umask(0o022)
        os.umask(umask)
        self.configuration.write_text(configuration.render(self.settings, umask=umask))
        self.manifest.claim(self.settings.log_dir, names)

    def _start(self, names: tuple[str, ...]) -> None:
        self._configure(names)
        wanted = configuration.environment(self.settings)
        if self.supervisor.pid() and not configuration.same_settings(self.supervisor.environment(), wanted):
            self._stop()
        if not self.supervisor.pid():
            lock = self._supervisor_lock()
            try:
                self.supervisor.start(self.configuration, wanted, lock)
            finally:
                os.close(lock)
        else:
            self.supervisor.update(self.stop_timeout_s)
        for process in self.supervisor.processes().values():
            if process.name in names and process.state in DOWN:
                self.supervisor.begin(process.name)

    def _supervisor_lock(self) -> int:
        return files.take_lock(
            self.settings.state_dir / "supervisord.lock",
            f"Another supervisord works on {self.settings.state_dir}, but not at {self.supervisor.path}: stop it.",
        )

    def _stop(self) -> bool:
        processes = self.supervisor.processes()
        if not self.supervisor.pid():
            return False
        # left to itself, supervisord ends one process a second
        self.supervisor.stop([name for name in processes if name != valkey.NAME], self.stop_timeout_s)
        self.supervisor.stop([valkey.NAME], self.stop_timeout_s)
        self.supervisor.shut_down(self.stop_timeout_s)
        return True

    def _await_ready(self, marks: dict[str, LogMark], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            processes = self.supervisor.processes()
            late = [name for name in marks if name not in self._ready(processes)]
            if not late:
                return
            if time.monotonic() > deadline or all(_given_up(processes.get(name)) for name in late):
                raise FleetError("\n".join(self._describe(name, processes.get(name), marks[name]) for name in late))
            time.sleep(2 * LOOK_EVERY_S)

    def _ready(self, processes: dict[str, Process]) -> set[str]:
        from cloudmesh_actors import roster

        here = socket.gethostname()
        told = {(row.name, row.pid) for row in roster.rows(self.folder.name) if row.host == here and row.ready_at}
        ready = {name for name, process in processes.items() if (name, process.pid) in told}
        if self.embedded and valkey.answers(valkey.socket_path(self.settings)):
            ready.add(valkey.NAME)
        return ready

    def _describe(self, name: str, process: Process | None, mark: LogMark) -> str:
        lines = mark.last_lines(SHOWN_LINES)
        lines = lines or LogMark(self.settings.state_dir / "boot" / f"{name}.out", 0).last_lines(SHOWN_LINES)
        return "\n    ".join([f"{name} is not ready: {reasons.why(process)}", *map(reasons.readable, lines)])


def _given_up(process: Process | None) -> bool:
    return process is None or process.state == "FATAL"


def current() -> Fleet:
    """The fleet of the current settings."""
    return Fleet(settings_module.current())


def up(*, web: bool = False) -> UpReport:
    """See `Fleet.up`."""
    return current().up(web=web)


def down() -> bool:
    """See `Fleet.down`."""
    return current().down()


def restart() -> UpReport:
    """Stop everything and start it afresh, with the environment and the program as they are now."""
    fleet = current()
    web = fleet.web_is_up()
    fleet.down()
    return fleet.up(web=web)


def clean() -> int:
    """See `Fleet.clean`."""
    return current().clean()


def status() -> list[WorkerStatus]:
    """See `workers.status.read`."""
    from workers.status import read

    return read(current())
