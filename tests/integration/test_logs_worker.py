"""Logs of real processes: what prints, C code, children and dying interpreters leave in NAME.log."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudmesh_actors.logs.encode import Encoder
from cloudmesh_actors.logs.history import Logs, Wanted
from cloudmesh_actors.logs.writer import LogFile

DEADLINE_S = 30

#: What a worker does first: descriptors 1 and 2 become its log.
BEGINNING = """
import os, sys
log_path = os.path.join(os.environ["CLOUDMESH_LOG_DIR"], "rack.log")
fd = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
os.dup2(fd, 1), os.dup2(fd, 2), os.close(fd)
from cloudmesh_actors import logs
logs.configure("rack", "rack")
import structlog
log = structlog.get_logger()
"""


def _python(program: str, log_dir: Path, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "CLOUDMESH_LOG_DIR": str(log_dir), "PYTHONWARNINGS": "default", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _worker(log_dir: Path, body: str, *, code: int = 0, **environ: str) -> list[dict[str, Any]]:
    """Run a worker that does `body`; its log's events, with raw lines as ``{"raw": ...}``."""
    process = _python(BEGINNING + textwrap.dedent(body), log_dir, **environ)
    printed = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code, (log_dir / "rack.log").read_text()
    assert printed == ("", "")
    entries = Logs(log_dir).all(Wanted())
    return [entry.event or {"raw": entry.line.rstrip(b"\n").decode(errors="replace")} for entry in entries]


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_everything_a_task_prints_or_logs_lands_in_the_log(tmp_path: Path) -> None:
    events = _worker(
        tmp_path,
        """
        import logging, subprocess, warnings
        with structlog.contextvars.bound_contextvars(job_id="ab12", actor="rack.power", run=1):
            log.info("logged", nodes=2)
            print("printed")
            print("to stderr", file=sys.stderr)
            logging.getLogger("dramatiq").warning("of %s", "dramatiq")
            warnings.warn("of warnings")
            sys.stdout.buffer.write(b"bytes\\n")
            os.write(1, b"of C\\n")
            subprocess.run(["echo", "of a child"], check=True)
            subprocess.run(["echo", "of a child to stdout"], check=True, stdout=sys.stdout)
            print("unfinished", end="")
            logs.flush()
        sys.stdout.close()
        print("after the task")
        sys.exit("so long")
        """,
        code=1,
    )

    assert [(event.get("level", "raw"), event.get("event", event.get("raw"))) for event in events if event] == [
        ("info", "logged"),
        ("info", "printed"),
        ("warning", "to stderr"),
        ("warning", "of dramatiq"),
        ("warning", events[4]["event"]),
        ("info", "bytes"),
        ("raw", "of C"),
        ("raw", "of a child"),
        ("raw", "of a child to stdout"),
        ("info", "unfinished"),
        ("info", "after the task"),
        ("warning", "so long"),
    ]
    assert "UserWarning: of warnings" in events[4]["event"]
    assert {event.get("job_id") for event in events[:10] if "raw" not in event} == {"ab12"}
    assert {event.get("job_id") for event in events[10:]} == {None}
    assert {event["worker"] for event in events if "raw" not in event} == {"rack"}
    assert events[1]["stream"] == "stdout"


def test_importing_the_library_changes_nothing(tmp_path: Path) -> None:
    process = _python(
        """
import sys, logging, threading
before = sys.stdout, sys.excepthook, threading.excepthook
from cloudmesh_actors import logs
log = logs.get_logger()
assert (sys.stdout, sys.excepthook, threading.excepthook) == before
assert not logging.getLogger().handlers
assert "structlog" not in sys.modules
log.info("quiet")
log.warning("loud")
logging.getLogger("theirs").info("quiet")
logs.configure()
logging.getLogger("theirs").info("quiet")
logging.getLogger("theirs").warning("theirs")
        """,
        tmp_path,
    )
    out, err = process.communicate(timeout=DEADLINE_S)

    assert (process.returncode, out) == (0, "")
    assert [line.split()[2:] for line in err.splitlines()] == [["warn", "loud"], ["warn", "theirs", "logger=theirs"]]
    assert list(tmp_path.iterdir()) == []


def test_c_code_that_prints_much_while_it_holds_the_gil_stops_nothing(tmp_path: Path) -> None:
    events = _worker(
        tmp_path,
        """
        import ctypes, threading
        libc = ctypes.PyDLL(None)                       # PyDLL keeps the GIL, but not from one call to the next:
        stdout = ctypes.c_void_p.in_dll(libc, "stdout") # with a smaller buffer, puts would write half a line
        assert libc.setvbuf(stdout, None, 0, 200_000) == 0
        text = b"c" * 199_999 + b"\\n"
        stop = threading.Event()
        def chatter():
            while not stop.is_set():
                log.info("between")
        thread = threading.Thread(target=chatter)
        thread.start()
        for _ in range(20):
            assert libc.write(1, text, len(text)) == len(text)
            print("after C")
        libc.puts(b"p" * 100_000)
        libc.fflush(None)
        stop.set()
        thread.join()
        """,
        CLOUDMESH_LOG_MAX_BYTES="100MB",
    )

    assert sum(event.get("raw") == "c" * 199_999 for event in events) == 20
    assert sum(event.get("event") == "after C" for event in events) == 20
    assert {"raw": "p" * 100_000} in events


def test_a_dying_interpreter_leaves_its_last_words(tmp_path: Path) -> None:
    events = _worker(
        tmp_path,
        """
        log.info("about to crash")
        import ctypes
        ctypes.string_at(0)
        """,
        code=-signal.SIGSEGV,
    )

    assert events[0]["event"] == "about to crash"
    assert events[1]["raw"].startswith("Fatal Python error: Segmentation fault")


def test_what_nobody_caught_is_an_event_without_secrets(tmp_path: Path) -> None:
    events = _worker(
        tmp_path,
        """
        import threading
        from cloudmesh_actors.secret import Secret
        password = Secret("correct horse").reveal()
        def fail():
            local = {"password": password}
            raise ValueError(f"no login as {local}")
        class Loud:
            def __del__(self):
                raise KeyError(password)
        thread = threading.Thread(target=fail, name="T")
        thread.start()
        thread.join()
        Loud()
        fail()
        """,
        code=1,
    )

    assert [(event["level"], event["event"]) for event in events] == [
        ("error", "uncaught exception in a thread"),
        ("error", "exception ignored"),
        ("critical", "uncaught exception"),
    ]
    assert all("Traceback" in event["exception"] for event in events)
    assert "correct horse" not in (tmp_path / "rack.log").read_text()


def test_no_secret_reaches_the_file_in_any_form(tmp_path: Path) -> None:
    _worker(
        tmp_path,
        """
        import json, logging, urllib.parse
        from cloudmesh_actors.secret import Secret
        password = Secret('s3cr\\u00e9t/"pa\\'ss').reveal()
        forms = [password, repr(password), ascii(password), json.dumps(password), urllib.parse.quote(password, safe="")]
        for form in forms:
            log.info(form, nested={"a": [form]}, text=f"x{form}y")
            print("value", form)
            print(form, end="")
            sys.stdout.buffer.write((form[:3]).encode())
            sys.stdout.buffer.write((form[3:] + "\\n").encode())
            logging.getLogger("x").error("%s", form)
            try:
                raise RuntimeError(form, {form: 1})
            except RuntimeError:
                log.exception("failed")
        print("x" * (65536 - 8) + password)
        log.info("url", url="amqp://admin:never-seen@host", bmc={"password": "never-seen"})
        """,
    )

    content = (tmp_path / "rack.log").read_text()
    assert not [part for part in ("pa'ss", "pa\\", "pa%27", "s3cr", "never-seen") if part in content]


def test_a_failing_actor_leaves_one_traceback(tmp_path: Path) -> None:
    events = _worker(
        tmp_path,
        """
        import dramatiq
        from dramatiq.brokers.stub import StubBroker
        broker = StubBroker(middleware=[])
        dramatiq.set_broker(broker)
        @dramatiq.actor
        def fail():
            try:
                raise ValueError("boom")
            except ValueError:
                log.exception("job failed")
                raise
        worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
        worker.start()
        fail.send()
        broker.join("default", fail_fast=False)
        worker.stop()
        """,
    )

    assert [event["event"] for event in events if "exception" in event] == ["job failed"]
    assert [event["error"] for event in events if "error" in event] == ["ValueError: boom"]


def test_a_forked_child_and_its_parent_write_whole_lines(tmp_path: Path) -> None:
    events = _worker(
        tmp_path,
        """
        import threading
        def chatter():
            for number in range(500):
                log.info("of the parent", number=number)
        thread = threading.Thread(target=chatter)
        print("begun before the fork", end="")
        thread.start()
        children = []
        for _ in range(4):
            child = os.fork()
            if not child:
                for number in range(50):
                    print("of a child", number)
                logs.flush()
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        thread.join()
        """,
        PYTHONWARNINGS="ignore",
    )

    texts = [event["event"] for event in events]
    assert texts.count("of the parent") == 500
    assert sum(text.startswith("of a child") for text in texts) == 200
    assert texts.count("begun before the fork") == 1


def test_a_file_that_may_not_grow_costs_lines_but_no_task(tmp_path: Path) -> None:
    events = _worker(
        tmp_path,
        """
        import resource
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        log.info("before")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        for number in range(20):
            log.info("x" * 100, number=number)
            print("y" * 100)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.info("after")
        assert logs.troubles().lines_lost
        """,
    )

    (torn,) = [event for event in events if "raw" in event]
    (report,) = [event for event in events if event.get("event") == "log lines lost"]
    assert torn["raw"].startswith('{"timestamp":')
    assert report["error"] == "File too large"
    assert report["lines"] == 42 - (len(events) - 2)
    assert [event.get("event") for event in events][-2:] == ["after", "log lines lost"]


def test_signals_and_asynchronous_exceptions_in_the_midst_of_a_line_block_nobody(tmp_path: Path) -> None:
    events = _worker(
        tmp_path,
        """
        import ctypes, signal, threading, time
        signal.signal(signal.SIGALRM, lambda *_: log.warning("of the handler"))
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        class Interrupt(BaseException): pass
        stop = threading.Event()
        def task():
            while not stop.is_set():
                try:
                    while not stop.is_set():
                        log.info("x" * 50)
                except Interrupt:
                    pass
        threads = [threading.Thread(target=task) for _ in range(3)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            for thread in threads:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Interrupt))
            log.info("of the main thread")
            time.sleep(0.001)
        stop.set()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        log.info("end")
        """,
        CLOUDMESH_LOG_MAX_BYTES="50000",
        CLOUDMESH_LOG_BACKUPS="1000",
    )

    texts = [event.get("event") for event in events]
    assert texts[-1] == "end"
    assert {"of the handler", "of the main thread", "x" * 50} <= set(texts)


@pytest.mark.parametrize("option", ["-f", "-F"])
def test_tail_goes_on_through_rotations(tmp_path: Path, option: str) -> None:
    if not shutil.which("tail"):
        pytest.skip("tail is missing")
    path = tmp_path / "rack.log"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    file = LogFile(fd, path, max_bytes=2000, backups=2)
    encoder = Encoder({"worker": "rack"})
    seen = tmp_path / "seen"
    with seen.open("wb") as output:
        tail = subprocess.Popen(["tail", option, "-n", "+1", path], stdout=output, stderr=subprocess.DEVNULL)
    try:
        for number in range(100):
            file.write(encoder.line("info", "event", {"number": number}))
            _until(lambda: seen.read_bytes().count(b"\n") > number, f"tail shows line {number}")  # noqa: B023
    finally:
        tail.kill()
        tail.wait()
        os.close(fd)

    assert [json.loads(line)["number"] for line in seen.read_bytes().splitlines()] == list(range(100))
    assert (tmp_path / "rack.log.2").exists()


COMMAND = """
import typer
from cloudmesh_actors.cli.logs import command
app = typer.Typer()
app.command("logs")(command)
app.command("other")(lambda: None)
app()
"""


def _command(log_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "logs", *arguments],
        env={**os.environ, "CLOUDMESH_LOG_DIR": str(log_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_following_ends_well_with_control_c(tmp_path: Path) -> None:
    path = tmp_path / "rack.log"
    encoder = Encoder({"worker": "rack"})
    path.write_bytes(encoder.line("info", "first", {}))
    process = _command(tmp_path, "-f", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "first"
    with path.open("ab") as file:
        file.write(encoder.line("info", "second", {}))
    assert json.loads(process.stdout.readline())["event"] == "second"

    process.send_signal(signal.SIGINT)

    assert process.communicate(timeout=DEADLINE_S) == ("", "")
    assert process.returncode == 0


def test_a_reader_that_has_seen_enough_may_leave(tmp_path: Path) -> None:
    line = Encoder({"worker": "rack"}).line("info", "x" * 100, {})
    (tmp_path / "rack.log").write_bytes(line * 5000)
    process = _command(tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()

    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(DEADLINE_S) == 0
