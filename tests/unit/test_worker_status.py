"""One line about each worker, from what supervisord and the worker itself say of it."""

from __future__ import annotations

import io
import os
import socket
from dataclasses import replace

import pytest
from rich.console import Console

from cloudmesh_actors.broker import Depth
from cloudmesh_actors.roster import WorkerRow
from workers import status
from workers.status import WorkerStatus
from workers.supervisor import Process

NOON = 1_700_000_000.0
HOST = socket.gethostname()

ROW = WorkerRow(
    name="rack",
    host=HOST,
    fleet="cm-0-abc",
    queue="rack",
    pid=os.getpid(),
    started_at=NOON - 60,
    ready_at=NOON - 58,
    seen_at=NOON - 2,
    done=7,
    failed=1,
    last_job="0123456789abcdef",
)
RUNNING = Process("rack", "RUNNING", os.getpid(), NOON - 61)


def here(process: Process, row: WorkerRow | None) -> WorkerStatus:
    return status.here(process, "rack", HOST, row, NOON)


def test_a_worker_is_ready_when_it_has_said_so_itself() -> None:
    told = here(RUNNING, ROW)

    assert (told.state, told.pid, told.uptime, told.done, told.failed) == ("ready", os.getpid(), 60, 7, 1)
    assert told.memory
    assert told.memory > 1_000_000


def test_a_worker_that_runs_but_has_not_said_so_is_starting() -> None:
    assert here(RUNNING, replace(ROW, ready_at=None)).state == "starting"
    assert here(RUNNING, None).state == "starting"
    assert here(RUNNING, None).uptime == 61


def test_the_row_of_an_earlier_process_counts_for_nothing() -> None:
    told = here(RUNNING, replace(ROW, pid=1))

    assert (told.state, told.done, told.last_job) == ("starting", 0, None)


@pytest.mark.parametrize(
    ("supervisors", "ours"),
    [("BACKOFF", "failing"), ("FATAL", "failed"), ("STOPPED", "down"), ("EXITED", "down"), ("UNKNOWN", "down")],
)
def test_a_worker_that_does_not_run_has_neither_pid_nor_memory(supervisors: str, ours: str) -> None:
    told = here(Process("rack", supervisors), ROW)

    assert (told.state, told.pid, told.memory, told.uptime) == (ours, None, None, None)


def test_a_worker_that_stops_is_no_longer_ready() -> None:
    assert here(replace(RUNNING, state="STOPPING"), ROW).state == "stopping"


def test_a_worker_elsewhere_is_known_by_what_it_last_told() -> None:
    row = replace(ROW, host="head2")

    assert status.elsewhere(row, NOON).state == "ready"
    assert status.elsewhere(replace(row, ready_at=None), NOON).state == "starting"
    assert status.elsewhere(row, NOON + 60).state == "silent"
    assert status.elsewhere(row, NOON + 60).uptime is None


def test_a_process_that_is_gone_has_no_memory() -> None:
    assert status.memory_of(2**22 + 1) is None
    assert status.memory_of(0) is None


def printed(*statuses: WorkerStatus) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=80, color_system=None).print(status.table(list(statuses)))
    return text.getvalue().splitlines()


def test_the_table_fits_80_columns_with_large_numbers_and_long_names() -> None:
    depth = Depth(ready=123_456, delayed=0, running=8, set_aside=0)
    worst = WorkerStatus(
        "p12", "a-very-long-host-name.example.org", "provisioner", "starting", 4_194_304, 86_399, 99_900_000,
        1_234_567, 12_345, last_job="0123456789abcdef",
    )  # fmt: skip

    lines = printed(status.with_depth(worst, depth), replace(worst, state="ready"))

    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert "1234567" in lines[1]
    assert "123456" in lines[1]
    assert "01234567" in lines[1]


def test_the_table_tells_the_depth_of_a_queue_with_what_is_delayed() -> None:
    worker = WorkerStatus("rack", HOST, "rack", "ready", 12)

    assert " 3+2 " in printed(status.with_depth(worker, Depth(ready=3, delayed=2, running=None, set_aside=0)))[1]
    assert " 0 " in printed(status.with_depth(worker, Depth(0, 0, 0, 0)))[1]
    held = replace(status.with_depth(worker, Depth(3, 2, None, 0)), paused=True)
    assert " 3+2 paused " in printed(held)[1]
    assert status.with_depth(worker, None) == worker


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1:00 m"), (3599, "59:59 m"), (3600, "1:00 h"), (86_400 * 3 + 1, "3 d")],
)
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert status.duration(seconds) == text
