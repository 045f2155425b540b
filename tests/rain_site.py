"""A site with one Cobbler, and a worker of the queue `rain` among the threads of the test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs, settings, store
from cloudmesh_actors.clients.cobbler import remote
from cloudmesh_actors.jobs import Job

DEADLINE_S = 60.0


def configure(folder: Path, monkeypatch: pytest.MonkeyPatch, site: str, **more: str) -> None:
    """Settings of the test's own; `more` are variables without their prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.yaml").write_text(site)
    values = {"SITE": str(folder / "site.yaml"), "LOG_DIR": str(folder), "BROKER_URL": "stub://", **more}
    for name, value in values.items():
        monkeypatch.setenv(f"CLOUDMESH_{name}", value)
    settings.reset()
    store.reset()
    remote.forget_logins()


@contextmanager
def rain_worker(threads: int = 8) -> Iterator[None]:
    """A worker of the queue."""
    from cloudmesh_actors.rain import actors  # noqa: F401 - declares them

    brokers.be_worker("rain")
    broker = brokers.current()
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, queues={"rain"}, worker_threads=threads, worker_timeout=50)
    worker.start()
    try:
        yield
    finally:
        worker.stop(20_000)
        brokers.reset()


def ended(message: dramatiq.Message[Any]) -> Job:
    """The job of a message, when it has ended."""
    return jobs.wait(message.message_id, DEADLINE_S)


def entries(message: dramatiq.Message[Any]) -> Mapping[str, dict[str, Any]]:
    """What the ended job tells of each node."""
    job = ended(message)
    assert job.result is not None, job
    return {entry["node"]: entry for entry in job.result}


def stage_of(message: dramatiq.Message[Any], node: str) -> str | None:
    """What the job tells of a node now."""
    return next((each.stage for each in jobs.node_outcomes(message.message_id) if each.node == node), None)


def wait_until(condition: Callable[[], object], why: Callable[[], object] = str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"it did not come to pass: {why()}"
        time.sleep(0.05)
