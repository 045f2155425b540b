"""The slots of a worker, which tell what it ran when it died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloudmesh_actors.broker import slots
from cloudmesh_actors.broker.slots import Slots, found_dead, runs_of_the_living
from cloudmesh_actors.steps import Death

STEP, OTHER = "0f1e2d3c-0000-4000-8000-00000000000a", "0f1e2d3c-0000-4000-8000-00000000000b"

WORKER = """
import os, signal, sys
from pathlib import Path
from cloudmesh_actors.broker.slots import Slots
slots = Slots(Path(sys.argv[1]), "rack", "consumer-7")
slots.begin("first", 1, 10.0)
slots.begin("second", 2, 20.5)
slots.begin("third", 1, 30.0)
slots.forget("first")
slots.over("third")
if sys.argv[2] == "stops":
    slots.stopping()
print("ready", flush=True)
sys.stdin.read(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def a_worker(folder: Path, manner: str = "works") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), manner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def killed(folder: Path, manner: str = "works") -> None:
    process = a_worker(folder, manner)
    process.communicate("x", timeout=30)
    assert process.returncode == -signal.SIGKILL


def test_a_killed_worker_leaves_what_it_ran(tmp_path: Path) -> None:
    killed(tmp_path)

    with found_dead(tmp_path) as [dead]:
        assert dead.runs == (Death("second", "rack", 2, 20.5),)
        assert dead.over == (Death("third", "rack", 1, 30.0),)
        assert (dead.consumer, dead.blameless) == ("consumer-7", False)
    with found_dead(tmp_path) as again:
        assert again == []


def test_what_could_not_be_recorded_is_found_again(tmp_path: Path) -> None:
    killed(tmp_path)
    with pytest.raises(RuntimeError, match="store away"), found_dead(tmp_path):
        raise RuntimeError("store away")

    with found_dead(tmp_path) as dead:
        assert len(dead) == 1


def test_a_living_worker_is_not_found_dead(tmp_path: Path) -> None:
    process = a_worker(tmp_path)
    try:
        with found_dead(tmp_path) as dead:
            assert dead == []
        assert runs_of_the_living(tmp_path) == {"second", "third"}
    finally:
        process.communicate("x", timeout=30)
    assert runs_of_the_living(tmp_path) == set()


def test_runs_of_this_process_are_among_the_living_until_they_are_recorded(tmp_path: Path) -> None:
    mine = Slots(tmp_path, "l1")
    mine.begin(STEP, 1, 1.0)
    mine.begin(OTHER, 1, 1.0)
    mine.over(STEP)
    assert runs_of_the_living(tmp_path) == {STEP, OTHER}
    mine.forget(STEP)
    mine.forget(STEP)
    assert runs_of_the_living(tmp_path) == {OTHER}
    mine.close()
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_was_stopping_is_blameless(tmp_path: Path) -> None:
    killed(tmp_path, "stops")
    with found_dead(tmp_path) as [dead]:
        assert dead.blameless
        assert len(dead.runs) == 1


def test_a_machine_that_went_down_is_blameless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(tmp_path)
    monkeypatch.setattr(slots, "_boot_id", lambda: "another boot")
    with found_dead(tmp_path) as [dead]:
        assert dead.blameless


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    killed(tmp_path)
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"second 2 20.5", b"second 2 \0\0\0\0"))
    with found_dead(tmp_path) as [dead]:
        assert (dead.worker, dead.runs, len(dead.over)) == ("rack", (), 1)


def test_more_runs_than_slots_are_run_all_the_same(tmp_path: Path) -> None:
    mine = Slots(tmp_path, "l1")
    for number in range(slots.SLOTS + 3):
        mine.begin(f"step{number}", 1, 1.0)
    assert len(runs_of_the_living(tmp_path)) == slots.SLOTS
    for number in range(slots.SLOTS + 3):
        mine.forget(f"step{number}")
    assert runs_of_the_living(tmp_path) == set()
    mine.close()


def test_files_of_other_hosts_are_left_alone(tmp_path: Path) -> None:
    """Their locks may mean nothing here."""
    killed(tmp_path)
    [file] = tmp_path.iterdir()
    elsewhere = file.rename(tmp_path / f"elsewhere.rack.{os.getpid()}")
    with found_dead(tmp_path) as dead:
        assert dead == []
    assert elsewhere.exists()
