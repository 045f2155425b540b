"""A fleet of its own for a test: private directories, started through the command line, gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import psutil

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import settings, store
from workers import fleet as fleets
from workers.fleet import Fleet
from workers.status import WorkerStatus
from workers.supervisor import Supervisor


class FleetUnderTest:
    """The fleet with its logs in `log_dir`; `settings` are variables without their prefix: ``WORKERS="rack=1"``."""

    def __init__(self, log_dir: Path, **settings: object) -> None:
        self.log_dir = log_dir
        self.settings: dict[str, str] = {"LOG_DIR": str(log_dir), "SENSORS_INTERVAL": "0", "PBS_INTERVAL": "0"}
        self.settings |= {name: str(value) for name, value in settings.items()}

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDMESH_")}
        mine = {f"CLOUDMESH_{name}": value for name, value in self.settings.items()}
        return {**inherited, **mine, "NO_COLOR": "1"}

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``python -m workers ...`` as a process."""
        command = [sys.executable, "-P", "-m", "workers", *arguments]
        done = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=150,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    @contextmanager
    def here(self) -> Iterator[Fleet]:
        """This fleet's settings in this process; far quicker than a process of its own for each question."""
        before, mine = dict(os.environ), self.environment
        os.environ.clear()
        os.environ.update(mine)
        settings.reset()
        try:
            yield fleets.current()
        finally:
            brokers.reset()
            store.reset()
            os.environ.clear()
            os.environ.update(before)
            settings.reset()

    def up(self) -> None:
        """Bring it up, or find that it is."""
        with self.here() as it:
            it.up()

    def status(self) -> dict[str, WorkerStatus]:
        """How each worker is."""
        with self.here():
            return {worker.name: worker for worker in fleets.status()}

    def pid(self, name: str) -> int:
        """The process id that a pid file says."""
        return int((self.log_dir / f"{name}.pid").read_text())

    @cached_property
    def runtime_dir(self) -> Path:
        """Where the sockets are."""
        with self.here() as it:
            return it.folder

    def supervisor(self) -> Supervisor:
        """The fleet's supervisord."""
        return Supervisor(self.runtime_dir / "supervisor.sock")

    def processes(self) -> list[psutil.Process]:
        """supervisord and everything below it."""
        pid = self.supervisor().pid()
        if pid is None:
            return []
        above = psutil.Process(pid)
        return [above, *above.children(recursive=True)]

    def end(self) -> None:
        """Stop it in order; if that fails, by the ids of its processes."""
        left = self.processes()
        self.run("clean", check=False)
        for process in left:
            if is_alive(process):
                process.kill()
        shutil.rmtree(self.runtime_dir, ignore_errors=True)


@contextmanager
def fleet(log_dir: Path, **settings: object) -> Iterator[FleetUnderTest]:
    """A fleet, not yet up, that is gone after the block."""
    it = FleetUnderTest(log_dir, **settings)
    try:
        yield it
    finally:
        it.end()


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that only waits to be taken note of does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def eventually(holds: Callable[[], object], within_s: float = 30) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
