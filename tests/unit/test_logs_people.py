"""Events for people, stdlib records, hooks, and the command `logs`."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer
from typer.testing import CliRunner

from cloudmesh_actors import logs
from cloudmesh_actors.cli.logs import command
from cloudmesh_actors.logs import bridge, render
from cloudmesh_actors.logs.encode import Encoder, utc
from cloudmesh_actors.logs.reader import Entry

WHEN = "2025-03-01T12:00:00.123456Z"


def _local() -> str:
    return f"{datetime(2025, 3, 1, 12, tzinfo=UTC).astimezone():%m-%d %H:%M:%S}.123"


def _people(**event: Any) -> str:
    return render.for_people(Entry(WHEN, "rack", b"", {"timestamp": WHEN, "level": "info", **event}), worker_width=5)


def test_an_event_is_shown_with_its_task_and_its_fields() -> None:
    shown = _people(
        event="stored", actor="rack.power", job_id="abcdef0123456", run=2, nodes=3, why="no reply", more=[1]
    )

    task = "rack.power abcdef01 run 2"
    assert shown == f'{_local()}  info   rack   {task}  stored  nodes=3 why="no reply" more=[1]'


def test_a_print_and_raw_output_are_marked() -> None:
    assert _people(event="hello", stream="stdout") == f"{_local()}  info   rack   | hello"
    assert (
        render.for_people(Entry(WHEN, "l1", b"from C\xff\n"), worker_width=5)
        == f"{_local()}  raw    l1     | from C\\xff"
    )


def test_tracebacks_are_indented_and_long_ones_folded() -> None:
    assert _people(event="failed", exception="Traceback\n  x").endswith("failed\n    | Traceback\n    |   x")

    shown = _people(event="failed", exception="\n".join(map(str, range(100)))).splitlines()
    assert len(shown) == render.TRACEBACK_LINES + 2
    assert "    | ... 60 lines ..." in shown
    assert shown[-1] == "    | 99"


def test_nothing_in_a_log_steers_the_terminal() -> None:
    nasty = "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x08\x9b2J \u202egnp\r\x00"

    shown = _people(event=nasty, worker=nasty, actor=nasty, job_id=nasty, exception=nasty, **{nasty: nasty})
    raw = render.for_people(Entry(nasty, nasty, nasty.encode()))

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown + raw)
    assert "red" in shown


def test_colours_only_when_wanted() -> None:
    entry = Entry(WHEN, "rack", b"", {"timestamp": WHEN, "level": "error", "event": "x"})

    assert "\x1b[31merror" in render.for_people(entry, colour=True)
    assert "\x1b" not in render.for_people(entry)


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What the bridge emits; the process's loggers and hooks are as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in bridge.DAMPED}
    for module, hook in ((sys, "excepthook"), (threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(module, hook, getattr(module, hook))
    encoder = Encoder({})
    events: list[dict[str, Any]] = []

    def emit(level: str, event: object, fields: dict[str, Any], at_ns: int | None) -> None:
        events.append(json.loads(encoder.line(level, event, fields, at_ns=at_ns)))

    bridge.take_over_logging(emit, "info")
    bridge.take_over_exceptions(emit)
    yield events
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def test_records_of_stdlib_loggers_have_the_same_form(emitted: list[dict[str, Any]]) -> None:
    logger = logging.getLogger("dramatiq.worker")
    before = utc(1_000_000_000)

    logger.debug("quiet")
    logger.warning("%s of %d", "two", 3, extra={"nodes": 4, "password": "x"})
    logger.log(35, "between")

    first, second = emitted
    assert (first["level"], first["event"], first["logger"]) == ("warning", "two of 3", "dramatiq.worker")
    assert (first["nodes"], first["password"]) == (4, "***")
    assert second["level"] == "warning"
    assert before < first["timestamp"] <= second["timestamp"]


def test_a_wrong_log_call_is_an_event_too() -> None:
    events: list[object] = []
    record = logging.makeLogRecord({"name": "theirs", "levelno": 40, "msg": "%d nodes", "args": ("many",)})

    bridge.Bridge(lambda level, event, fields, at_ns: events.append(event)).handle(record)

    assert str(events[0]).startswith("%d nodes ('many',) (cannot be formatted: ")


def test_a_traceback_that_two_loggers_report_is_logged_once(emitted: list[dict[str, Any]]) -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("dramatiq").exception("failed to process message")
        logging.getLogger("jobs").exception("job failed")

    assert emitted[0]["exception"].startswith("Traceback")
    assert "exception" not in emitted[1]
    assert emitted[1]["error"] == "ValueError: boom"


def test_pika_is_damped_and_warnings_are_captured(emitted: list[dict[str, Any]]) -> None:
    import warnings

    logging.getLogger("pika.adapters.utils").error("a page about a refused connection")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    assert [event["logger"] for event in emitted] == ["py.warnings"]
    assert "DeprecationWarning: old" in emitted[0]["event"]


def test_what_nobody_caught_is_logged(emitted: list[dict[str, Any]]) -> None:
    def leave() -> None:
        raise SystemExit

    def fail() -> None:
        raise ValueError("boom")

    for target in (leave, fail):
        thread = threading.Thread(target=target, name="T1")
        thread.start()
        thread.join()
    sys.excepthook(KeyError, KeyError("k"), None)

    assert [(event["level"], event.get("thread")) for event in emitted] == [("error", "T1"), ("critical", None)]
    assert emitted[0]["exception"].endswith("ValueError: boom")
    assert emitted[1]["exception"] == "KeyError: 'k'"


def test_flush_works_on_plain_streams(capsys: pytest.CaptureFixture[str]) -> None:
    print("x", end="")
    logs.flush()

    assert capsys.readouterr().out == "x"


def test_no_trouble_where_nothing_is_configured() -> None:
    assert logs.troubles().lines_lost == 0


def test_a_program_that_configures_nothing_sees_only_warnings_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()
    try:
        log = logs.get_logger()
        log.info("quiet")
        log.warning("loud", token="x1y2z3")
    finally:
        structlog.reset_defaults()

    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"\d\d-\d\d [0-9:.]+  warn   loud  token=\*\*\*\n", captured.err)


runner = CliRunner()
app = typer.Typer()
app.command("logs")(command)
app.command("other")(lambda: None)


@pytest.fixture
def log_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path))
    for number, worker in enumerate(["rack", "l1"]):
        encoder = Encoder({"worker": worker}, clock=lambda number=number: (1_700_000_000 + number) * 10**9)  # type: ignore[misc]
        line = encoder.line("info", f"ready {worker}", {"job_id": f"job-{worker}"})
        (tmp_path / f"{worker}.log").write_bytes(line + b"raw\n")
    return tmp_path


def test_the_command_merges_and_marks(log_dir: Path) -> None:
    result = runner.invoke(app, ["logs"])

    assert result.exit_code == 0
    assert [line.split("  ", 1)[1].strip() for line in result.stdout.splitlines()] == [
        "info   rack  job-rack  ready rack",
        "raw    rack  | raw",
        "info   l1    job-l1  ready l1",
        "raw    l1    | raw",
    ]


def test_the_command_speaks_json(log_dir: Path) -> None:
    events = [
        json.loads(line) for line in runner.invoke(app, ["logs", "--json", "-n", "2", "rack"]).stdout.splitlines()
    ]

    assert events[0]["event"] == "ready rack"
    assert events[1] == {"timestamp": events[0]["timestamp"], "worker": "rack", "raw": "raw"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rak"], "Did you mean 'rack'?"),
        (["zzz"], "There are: l1, rack."),
        (["--level", "wrn"], "Did you mean 'warning'?"),
        (["--since", "soon"], "is no time"),
        (["-n", "-1"], "greater than"),
    ],
)
def test_a_wrong_word_is_wrong_usage(log_dir: Path, arguments: list[str], sentence: str) -> None:
    result = runner.invoke(app, ["logs", *arguments], env={"COLUMNS": "500", "TERM": "dumb"})

    assert result.exit_code == 2
    assert sentence in result.stderr


def test_without_logs_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path / "none"))

    result = runner.invoke(app, ["logs"])

    assert (result.exit_code, result.stdout) == (0, "")
    assert "There are no logs in" in result.stderr
