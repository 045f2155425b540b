"""What a fleet may delete: files that it has made, by name, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloudmesh_actors import settings
from cloudmesh_actors.errors import FleetError, SettingsError
from workers import files
from workers.files import LogMark, Manifest


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    state = tmp_path / "state"
    state.mkdir()
    return Manifest(state)


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def test_logs_rotated_logs_and_pid_files_are_the_fleets(manifest: Manifest, log_dir: Path) -> None:
    manifest.claim(log_dir, ["l1"])
    touch(log_dir, "l1.log", "l1.log.1", "l1.log.12", "l1.log.tmp", "l1.pid", "l1.pid.new")

    assert names(manifest.files(log_dir)) == ["l1.log", "l1.log.1", "l1.log.12", "l1.log.tmp", "l1.pid", "l1.pid.new"]


def test_files_of_others_are_not_however_much_they_look_alike(manifest: Manifest, log_dir: Path) -> None:
    manifest.claim(log_dir, ["l1", "rack"])
    touch(
        log_dir, "l1.log.bak", "l1.log.01", "l1.logs", "xl1.log", "l2.log", "l1", "l1.pid.old", "rack2.log", "l1xlog",
        "L1.log", "notes.txt", ".l1.log", "l1.log.1.gz", "l1.log.20240101",
    )  # fmt: skip

    assert manifest.files(log_dir) == []


def test_a_directory_or_a_link_with_a_logs_name_is_left_alone(
    manifest: Manifest, log_dir: Path, tmp_path: Path
) -> None:
    manifest.claim(log_dir, ["l1", "l2"])
    (log_dir / "l1.log").mkdir()
    (tmp_path / "precious").touch()
    (log_dir / "l2.log").symlink_to(tmp_path / "precious")

    assert manifest.files(log_dir) == []


def test_a_log_that_was_there_before_the_fleet_is_somebody_elses(manifest: Manifest, log_dir: Path) -> None:
    touch(log_dir, "rain.log", "rain.pid")
    manifest.claim(log_dir, ["rain", "rack"])
    touch(log_dir, "rack.log")

    assert names(manifest.files(log_dir)) == ["rack.log", "rain.pid"]


def test_a_worker_that_is_no_longer_in_the_plan_is_remembered(manifest: Manifest, log_dir: Path) -> None:
    manifest.claim(log_dir, ["rack", "rack2"])
    manifest.claim(log_dir, ["rack"])
    touch(log_dir, "rack2.log")

    assert names(manifest.files(log_dir)) == ["rack2.log"]


def test_one_log_directory_says_nothing_about_another(manifest: Manifest, log_dir: Path, tmp_path: Path) -> None:
    manifest.claim(log_dir, ["l1"])
    touch(tmp_path, "l1.log")

    assert manifest.files(tmp_path) == []


def test_a_log_directory_is_the_same_under_another_name(manifest: Manifest, log_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(log_dir)
    manifest.claim(tmp_path / "link", ["l1"])
    touch(log_dir, "l1.log")

    assert names(manifest.files(log_dir)) == ["l1.log"]


def test_a_log_directory_that_is_gone_has_no_files(manifest: Manifest, tmp_path: Path) -> None:
    manifest.claim(tmp_path / "gone", ["l1"])

    assert manifest.files(tmp_path / "gone") == []


def test_a_damaged_manifest_deletes_nothing_and_says_so(manifest: Manifest, log_dir: Path) -> None:
    manifest.path.write_text("{")

    with pytest.raises(FleetError, match=r"fleet\.json cannot be read"):
        manifest.files(log_dir)


def test_removing_counts_what_was_there(tmp_path: Path) -> None:
    touch(tmp_path, "a")

    assert files.remove([tmp_path / "a", tmp_path / "b"]) == 1


def test_a_folder_with_something_else_in_it_stays(tmp_path: Path) -> None:
    touch(tmp_path, "command.lock", "else")

    files.remove_folder(tmp_path, frozenset({"command.lock"}))

    assert names(sorted(tmp_path.iterdir())) == ["command.lock", "else"]


HOLD = "import sys, time; from pathlib import Path; from workers.files import take_lock\n"


def test_a_lock_is_held_by_one_process_and_let_go_at_its_death(tmp_path: Path) -> None:
    program = f"{HOLD}take_lock(Path(sys.argv[1]), 'taken'); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        with pytest.raises(FleetError, match="taken"):
            files.take_lock(tmp_path / "lock", "taken")

        holder.kill()
        os.close(files.take_lock(tmp_path / "lock", "taken", wait_s=10))


def test_a_lock_file_that_was_removed_meanwhile_is_nobodys_lock(tmp_path: Path) -> None:
    first = files.take_lock(tmp_path / "lock", "taken")
    (tmp_path / "lock").unlink()

    second = files.take_lock(tmp_path / "lock", "taken")

    with pytest.raises(FleetError):
        files.take_lock(tmp_path / "lock", "taken")
    os.close(first)
    os.close(second)


def test_the_end_of_a_log_is_what_was_written_since(tmp_path: Path) -> None:
    log = tmp_path / "l1.log"
    log.write_text("old\n")
    mark = LogMark.end_of(log)
    with log.open("a") as more:
        more.write("one\ntwo\nthree\n")

    assert mark.last_lines(2) == ["two", "three"]
    assert mark.last_lines(9) == ["one", "two", "three"]


def test_the_end_of_a_log_that_was_rotated_meanwhile_is_all_of_it(tmp_path: Path) -> None:
    log = tmp_path / "l1.log"
    log.write_text("a long old line\n")
    mark = LogMark.end_of(log)
    log.write_text("new\n")

    assert mark.last_lines(5) == ["new"]


def test_a_log_that_is_not_there_has_no_end(tmp_path: Path) -> None:
    assert LogMark.end_of(tmp_path / "none").last_lines(5) == []


def test_a_log_directory_that_cannot_be_made_is_named_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "file")
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path / "file" / "logs"))

    with pytest.raises(SettingsError, match=r"CLOUDMESH_LOG_DIR is '.*logs', which cannot be made: Not a directory"):
        files.prepare(settings.current())
