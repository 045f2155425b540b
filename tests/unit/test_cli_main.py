"""`cm-actors` as a whole: what it imports, what it says when something is wrong, and what it returns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudmesh_actors import errors, jobs
from cloudmesh_actors.cli import main
from cloudmesh_actors.cli.app import COMMANDS, command
from cloudmesh_actors.cli.exits import ExitCode, exit_code
from cloudmesh_actors.errors import CloudmeshError

DOCS = Path(__file__).parents[2] / "docs" / "command-line.md"


def commands(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that is no group, by its whole name."""
    for word, found in group.commands.items():
        whole = f"{name} {word}".strip()
        if hasattr(found, "commands"):
            yield from commands(found, whole)
        else:
            yield whole, found


def all_errors(kind: type[CloudmeshError] = CloudmeshError) -> Iterator[type[CloudmeshError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from all_errors(below)


def test_help_imports_nothing_that_is_heavy() -> None:
    heavy = {"rich", "sqlalchemy", "pydantic", "dramatiq", "structlog", "cloudmesh_actors.cli.jobs", "alembic"}
    code = (
        "import sys; from cloudmesh_actors.cli import main; assert main(['--help']) == 0; "
        f"print(sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr == "[]\n"
    assert [name for name in COMMANDS if not re.search(rf"^  {name}  ", done.stdout, re.MULTILINE)] == []


def test_every_command_can_be_loaded_and_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name, found in commands(command()):
        assert main([*name.split(), "--help"]) == 0
        assert found.help, name
        assert "--json" in capsys.readouterr().out, name


def test_every_command_and_option_is_documented() -> None:
    text = DOCS.read_text()
    program = command()
    missing = [name for name, _ in commands(program) if f"`{name} " not in text and f"`{name}`" not in text]
    everything = [("", program), *commands(program)]
    options = {option for _, found in everything for each in found.params for option in each.opts if option[0] == "-"}
    missing += [option for option in sorted(options) if not re.search(rf"(?<![\w-]){option}(?![\w-])", text)]

    assert missing == []


def test_every_exit_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", DOCS.read_text(), re.MULTILINE)

    assert rows == [(str(code.value), code.name) for code in ExitCode]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.BrokerUnavailable, 3),
        (errors.StoreUnavailable, 3),
        (errors.StoreError, 3),
        (errors.SiteError, 4),
        (errors.SettingsError, 4),
        (errors.UnknownActor, 2),
        (errors.UnknownNode, 2),
        (errors.NodeSetError, 2),
        (errors.UnknownJob, 2),
        (errors.JobFailed, 1),
        (errors.JobAborted, 1),
        (errors.JobTimeout, 1),
        (errors.FleetError, 1),
        (errors.Unreachable, 1),
    ],
)
def test_errors_have_exit_codes(kind: type[CloudmeshError], code: int) -> None:
    assert exit_code(kind("so")) == code


def test_no_error_of_ours_counts_as_success() -> None:
    assert {exit_code(kind.__new__(kind)) for kind in all_errors()} == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["jbs"], "Did you mean 'jobs'"),
        (["rack", "powr", "i001"], "Did you mean 'power'?"),
        (["rack", "power", "i001", "of"], "did you mean off?"),
        (["rack", "temperature", "i001", "--unit", "K"], "there are C, F."),
        (["jobs", "--state", "runing"], "did you mean running?"),
        (["jobs", "--queue", "rak"], "did you mean rack?"),
        (["jobs", "--actor", "rack.temprature"], "did you mean rack.temperature?"),
        (["send", "rack.temprature", "i001"], "did you mean rack.temperature?"),
        (["send", "rack.temperature", "i1"], "did you mean i001?"),
        (["send", "rack.temperature", "@indai"], "did you mean @india?"),
        (["send", "rack.temperature", "i001", "unt=F"], "did you mean unit?"),
        (["send", "rack.temperature", "i001", "unit=K"], "it should be 'C' or 'F'"),
        (["send", "rack.temperature"], "missing a required argument: 'nodes'"),
        (["site", "nodes", "i[001-"], "i[001-"),
    ],
)
def test_wrong_usage_has_a_near_miss_and_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(arguments)

    told = capsys.readouterr()
    assert code == 2
    assert sentence in told.err
    assert told.out == ""


def test_a_wrong_site_is_told_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "site.yaml").write_text("clusters:\n  india: {nods: 'i[001-004]'}\n")
    monkeypatch.setenv("CLOUDMESH_SITE", str(tmp_path / "site.yaml"))

    assert main(["send", "rack.events", "i001"]) == 4

    told = capsys.readouterr().err
    assert told.startswith(f"{tmp_path}/site.yaml:2: ")
    assert "nodes" in told


def test_a_wrong_setting_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("CLOUDMESH_WEB_PORT", "many")

    assert main(["jobs"]) == 4

    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "CLOUDMESH_WEB_PORT is 'many'" in told.err


def test_a_fault_is_one_line_and_its_traceback_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(jobs, "latest", lambda *_args, **_options: {}["gone"])

    assert main(["jobs"]) == ExitCode.BUG

    told = capsys.readouterr()
    (kept,) = tmp_path.iterdir()
    assert told.out == ""
    assert told.err == (
        f"A fault in this program (KeyError: 'gone'); the traceback is in {kept}, and --debug shows it.\n"
    )
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from cloudmesh_actors.cli import main; exit(main())", "--debug", "job", "nothing"],
        env={"CLOUDMESH_LOG_DIR": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "UnknownJob" in done.stderr


@pytest.mark.parametrize("arguments", [["nodes", "-e", "@all"], ["nodes", "--json", "@all"], ["check"]])
def test_when_nobody_reads_any_more_it_is_quiet(tmp_path: Path, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [sys.executable, "-c", "from cloudmesh_actors.cli import main; exit(main())", "site", *arguments],
        env={"CLOUDMESH_LOG_DIR": str(tmp_path), "PATH": ""},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (0, "")
