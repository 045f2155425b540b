"""A running supervisord, spoken to over XML-RPC on its unix socket (http://supervisord.org/api.html)."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ProtocolError, ServerProxy, Transport

import psutil

from cloudmesh_actors.errors import FleetError

#: How long supervisord may take to answer one call, in seconds.
CALL_TIMEOUT_S = 10.0

#: How long a fresh supervisord may take until it answers, in seconds.
START_TIMEOUT_S = 15.0

#: Pause between two looks at supervisord, in seconds. Each look also makes it notice what has ended.
LOOK_EVERY_S = 0.05

#: Faults of supervisor.xmlrpc.Faults that say "it is so already".
NOT_RUNNING, ALREADY_STARTED, SHUTTING_DOWN = 70, 60, 6

#: States (supervisor.states.ProcessStates) in which nothing of the process is left and nothing will come.
DOWN = frozenset({"STOPPED", "EXITED", "FATAL", "UNKNOWN"})


@dataclass(frozen=True, slots=True)
class Process:
    """One process as supervisord sees it. `started_at` in seconds since the epoch, 0 if never; `pid` 0 if none."""

    name: str
    state: str = "STOPPED"
    pid: int = 0
    started_at: float = 0
    spawn_error: str = ""


class Supervisor:
    """The supervisord behind one socket, running or not."""

    def __init__(
        self, path: Path, *, call_timeout_s: float = CALL_TIMEOUT_S, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.path, self._call_timeout_s, self._sleep = path, call_timeout_s, sleep

    def pid(self) -> int | None:
        """Its process id; None when it does not run.

        Raises:
            FleetError: something is there, but does not answer.
        """
        try:
            with self._api() as api:
                return int(api.getPID())
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    def start(self, configuration: Path, environment: Mapping[str, str], lock: int) -> None:
        """Start supervisord in the background, as the keeper of a lock's descriptor; returns when it answers.

        Raises:
            FleetError: it does not start; with its own words.
        """
        done = subprocess.run(
            background_command(configuration),
            env=environment,
            pass_fds=[lock],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            words = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
            raise FleetError(f"supervisord did not start: {words[0]}")
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.pid() is None:
            if time.monotonic() > deadline:
                raise FleetError(f"supervisord was started, but does not answer at {self.path}")
            self._sleep(LOOK_EVERY_S)

    def environment(self) -> dict[str, str]:
        """The environment that it was started with, and gives to its processes."""
        return psutil.Process(self.pid()).environ()

    def processes(self) -> dict[str, Process]:
        """All processes by name; none when it does not run."""
        try:
            with self._api() as api:
                return {info["name"]: _process(info) for info in api.getAllProcessInfo()}
        except (FileNotFoundError, ConnectionRefusedError):
            return {}

    def update(self, stop_timeout_s: float) -> None:
        """Read the configuration again: start what is new, stop what is gone, restart what has changed."""
        with self._api() as api:
            ((added, changed, removed),) = api.reloadConfig()
        self.stop([*changed, *removed], stop_timeout_s)
        with self._api() as api:
            for name in [*changed, *removed]:
                api.removeProcessGroup(name)
            for name in [*changed, *added]:
                api.addProcessGroup(name)

    def begin(self, name: str) -> None:
        """Start a process that is down; returns at once."""
        with self._api() as api:
            _unless(ALREADY_STARTED, api.startProcess, name, False)

    def stop(self, names: list[str], timeout_s: float) -> None:
        """Stop those of these processes that there are, all at the same time; wait until they have ended."""
        with self._api() as api:
            for name in self._not_down(names):
                _unless(NOT_RUNNING, api.stopProcess, name, False)
        deadline = time.monotonic() + timeout_s
        while left := self._not_down(names):
            if time.monotonic() > deadline:
                raise FleetError(f"{', '.join(left)} did not end within {timeout_s:.0f} s")
            self._sleep(LOOK_EVERY_S)

    def shut_down(self, timeout_s: float) -> None:
        """End supervisord, and whatever it still runs; returns when its process is gone."""
        pid = self.pid()
        if pid is None:
            return
        try:
            process = psutil.Process(pid)
            with self._api() as api:
                _unless(SHUTTING_DOWN, api.shutdown)
            self._await_end(process, timeout_s)
        except psutil.NoSuchProcess:
            return

    def _await_end(self, process: psutil.Process, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        # not Process.wait(): that waits for init, too, to take note of the end
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                raise FleetError(f"supervisord (pid {process.pid}) did not end within {timeout_s:.0f} s")
            self._sleep(LOOK_EVERY_S)

    def _not_down(self, names: list[str]) -> list[str]:
        processes = self.processes()
        return [name for name in names if name in processes and processes[name].state not in DOWN]

    @contextmanager
    def _api(self) -> Iterator[Any]:
        try:
            with ServerProxy(
                "http://localhost/RPC2", transport=_UnixTransport(self.path, self._call_timeout_s)
            ) as proxy:
                yield proxy.supervisor
        except (FileNotFoundError, ConnectionRefusedError):
            raise
        except PermissionError:
            raise FleetError(f"supervisord's socket {self.path} belongs to another user") from None
        except (OSError, http.client.HTTPException, ProtocolError) as error:
            raise FleetError(f"supervisord does not answer at {self.path}: {error}") from error
        except Fault as error:
            raise FleetError(f"supervisord refused: {error.faultString}") from error


def background_command(configuration: Path) -> list[str]:
    """The command that starts supervisord and returns."""
    # -P: a folder named like one of our packages in the current directory must not be imported instead
    return [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(configuration)]


def foreground_command(configuration: Path) -> list[str]:
    """The command that is supervisord until it ends."""
    return [*background_command(configuration), "--nodaemon"]


def _unless(code: int, call: Callable[..., object], *arguments: object) -> None:
    try:
        call(*arguments)
    except Fault as fault:
        if fault.faultCode != code:
            raise


def _process(info: Mapping[str, Any]) -> Process:
    return Process(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"],
        started_at=float(info["start"]),
        spawn_error=info["spawnerr"],
    )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


class _UnixTransport(Transport):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__()
        self._path, self._timeout_s = path, timeout_s

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = self._connection[1] or _UnixConnection(self._path, self._timeout_s)
        self._connection = host, connection
        return connection
