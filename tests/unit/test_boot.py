"""The first steps of a process of the fleet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloudmesh_actors import settings
from workers import boot
from workers.__main__ import COMMANDS
from workers.boot import PidFile
from workers.command import COMMANDS as DESCRIBED


def test_boot_and_the_settings_agree_on_where_logs_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert boot.log_dir({}) == settings.current().log_dir

    monkeypatch.setenv("CLOUDMESH_LOG_DIR", "~/elsewhere")
    settings.reset()
    assert boot.log_dir() == settings.current().log_dir


def test_a_pid_file_says_who_runs(tmp_path: Path) -> None:
    file = PidFile(tmp_path / "l1.pid")

    file.write()

    assert file.path.read_text() == f"{os.getpid()}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["l1.pid"]


@pytest.mark.parametrize("content", [b"", b"1\n", b"\xff\xfe", b"no number"])
def test_a_stale_pid_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l1.pid").write_bytes(content)

    file = PidFile(tmp_path / "l1.pid")
    file.write()

    assert file.path.read_text() == f"{os.getpid()}\n"


def test_a_pid_file_of_another_process_is_left_alone(tmp_path: Path) -> None:
    file = PidFile(tmp_path / "l1.pid")
    file.write()
    file.path.write_text("1\n")

    file.remove()

    assert file.path.read_text() == "1\n"


def test_the_own_pid_file_is_removed_and_a_missing_one_is_no_matter(tmp_path: Path) -> None:
    file = PidFile(tmp_path / "l1.pid")
    file.write()

    file.remove()
    file.remove()

    assert not file.path.exists()


def test_a_process_is_orphaned_when_its_parent_is_not_the_supervisor(tmp_path: Path) -> None:
    environ = {"SUPERVISOR_SERVER_URL": f"unix://{tmp_path}/supervisor.sock"}
    (tmp_path / "supervisord.pid").write_text("1234\n")

    assert boot.orphaned(environ, parent=1)
    assert not boot.orphaned(environ, parent=1234)


def test_without_supervisords_pid_file_nobody_is_taken_for_an_orphan(tmp_path: Path) -> None:
    assert not boot.orphaned({"SUPERVISOR_SERVER_URL": f"unix://{tmp_path}/supervisor.sock"}, parent=1)
    assert not boot.orphaned({}, parent=1)


def run(program: str, log_dir: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CLOUDMESH_LOG_DIR": str(log_dir)}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


def test_what_is_printed_after_the_first_steps_lands_in_the_log(tmp_path: Path) -> None:
    done = run("import os; from workers import boot; boot.begin('l1'); os.system('echo raw; echo bad >&2')", tmp_path)

    assert done.stdout == done.stderr == ""
    assert (tmp_path / "l1.log").read_text() == "raw\nbad\n"


def test_the_log_is_appended_to(tmp_path: Path) -> None:
    (tmp_path / "l1.log").write_text("before\n")

    run("import os; from workers import boot; boot.begin('l1'); os.write(1, b'after')", tmp_path)

    assert (tmp_path / "l1.log").read_text() == "before\nafter"


def test_an_import_error_lands_in_the_log(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['workers.worker'] = None; from workers.__main__ import main; sys.exit(main(['l1']))"
    )

    done = run(program, tmp_path)

    assert done.returncode == 1
    assert "ModuleNotFoundError" in (tmp_path / "l1.log").read_text()


def test_a_log_directory_that_is_a_file_is_named_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    done = run("from workers import boot; boot.begin('l1')", file)

    assert done.returncode == 1
    assert done.stderr == f"l1 cannot start: {file}: File exists\n"


def test_nothing_but_the_standard_library_is_imported_before_the_log_is_open() -> None:
    program = (
        f"import sys; sys.path[:0] = [{str(Path(boot.__file__).parents[1])!r}]\n"
        "import workers.__main__\n"
        "known = sys.stdlib_module_names | {'workers', '__main__'}\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - known))"
    )

    bare = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(bare, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_every_command_is_described() -> None:
    assert set(DESCRIBED) == COMMANDS
