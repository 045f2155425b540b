"""The engine under test: workers as threads of the test, or as processes that can be killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import sample_actors

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs, settings
from cloudmesh_actors.broker.work_queue import WorkQueue
from cloudmesh_actors.jobs import Job

HERE = Path(__file__).parent
DEADLINE_S = 40.0


@contextmanager
def engine(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: str) -> Iterator[Any]:
    """Settings for a broker and a store of the test's own; gives the sample actors."""
    folder.mkdir(exist_ok=True)
    values = {"BROKER_URL": url, "LOG_DIR": str(folder), "RETRY_BACKOFF": "0.1", **more}
    for name, value in values.items():
        monkeypatch.setenv(f"CLOUDMESH_{name}", value)
    settings.reset()
    with sample_actors.declared() as family:
        yield family
        brokers.reset()


@contextmanager
def working(threads: int = 4) -> Iterator[dramatiq.Worker]:
    """A worker among the threads of this process."""
    broker = brokers.current()
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, queues={"rack"}, worker_threads=threads, worker_timeout=50)
    worker.work_queue = WorkQueue()
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(20_000)


class WorkerProcess:
    """A worker of its own, with the settings of this process's environment."""

    def __init__(self, name: str, log: Path, *options: str) -> None:
        self.name, self.log = name, log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "worker_process.py"), name, *options],
                stdout=out, stderr=out,
            )  # fmt: skip

    def await_ready(self) -> WorkerProcess:
        wait_until(lambda: f"{self.name} is ready {self.process.pid}\n" in self.text(), self.text)
        return self

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Stop it as an operator does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


def wait_until(condition: Callable[[], object], why: Callable[[], str] = str, timeout: float = DEADLINE_S) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"it did not come to pass: {why()}"
        time.sleep(0.02)


def ended(message: dramatiq.Message[object], timeout: float = DEADLINE_S) -> Job:
    """The job of a message, when it has ended."""
    return jobs.wait(message.message_id, timeout)


def state_of(message: dramatiq.Message[object]) -> str:
    return str(jobs.get(message.message_id).state)
