"""`cm-actors queues`: paused and resumed, and what was set aside, against a real store and a broker in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from cloudmesh_actors import broker, jobs, store
from cloudmesh_actors.actor import import_families
from cloudmesh_actors.cli import main


class Program:
    """Runs `cm-actors` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys, self.err = capsys, ""

    def __call__(self, *arguments: str, code: int = 0) -> str:
        self._capsys.readouterr()
        ended = main([*arguments])
        told = self._capsys.readouterr()
        self.err = told.err
        assert ended == code, told.err
        return told.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def cm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.setenv("CLOUDMESH_BROKER_URL", "stub://")
    monkeypatch.setenv("COLUMNS", "100")
    import_families()
    yield Program(capsys)
    broker.reset()
    store.reset()


@pytest.fixture
def aside(cm: Program) -> Callable[..., None]:
    """Puts bodies among those that were set aside."""

    def put(*bodies: bytes) -> None:
        queue = broker.current().queues["rack"]
        for body in bodies:
            queue.put(body)
        worker = dramatiq.Worker(broker.current(), queues={"rack"}, worker_timeout=20, worker_threads=1)
        worker.start()
        queue.join()
        worker.stop()

    broker.current().declare_queue("rack")
    return put


def message(name: str, actor: str = "rack.nobody") -> bytes:
    options: dict[str, Any] = {"queue_name": "rack", "actor_name": actor, "args": ["i001"], "kwargs": {}, "options": {}}
    return json.dumps({**options, "message_id": name, "message_timestamp": 1_700_000_000_000}).encode()


def test_a_queue_is_paused_with_a_reason_that_everybody_sees(cm: Program) -> None:
    [made] = cm.json("queues", "pause", "rack", "--reason", "disks are swapped")
    assert (made["queue"], made["paused"]["reason"]) == ("rack", "disks are swapped")
    assert cm.err == "Paused: rack. What runs goes on; nothing new begins.\n"

    rows = {row["queue"]: row["paused"] for row in cm.json("queues")}
    assert rows["rack"] == made["paused"]
    assert rows["pbs"] is None
    cm("queues")
    assert "The queue rack was paused by " in cm.err
    assert "(disks are swapped): nothing of it begins until somebody resumes it.\n" in cm.err
    job_id = cm("send", "rack.events", "i001").strip()
    assert "The queue rack was paused by " in cm.err
    assert jobs.get(job_id).state == "queued"

    assert cm.json("queues", "resume", "rack", "pbs") == [
        {"queue": "rack", "was_paused": True}, {"queue": "pbs", "was_paused": False},
    ]  # fmt: skip
    assert broker.paused() == {}


def test_a_queue_that_is_none_is_wrong_usage(cm: Program) -> None:
    cm("queues", "pause", "rak", code=2)
    assert "did you mean rack?" in cm.err
    cm("queues", "aside", "rak", code=2)
    assert "did you mean rack?" in cm.err


def test_what_was_set_aside_is_listed_and_shown(cm: Program, aside: Callable[..., None]) -> None:
    assert cm("queues", "aside") == ""
    assert cm.err == "No message is set aside.\n"
    aside(message("abcdefgh-1"), b"\xff\x1b[31m")

    readable, other = sorted(cm.json("queues", "aside", "rack"), key=lambda each: each["id"])
    assert (readable["id"], readable["actor"], readable["trusted"]) == ("abcdefgh-1", "rack.nobody", True)
    assert readable["reason"] == "It was set aside: this worker knows no actor rack.nobody."
    assert (other["actor"], other["trusted"], other["size"]) == (None, False, 6)
    assert ["abcdefgh", "rack", "rack.nobody"] in [line.split()[:3] for line in cm("queues", "aside").splitlines()]
    assert len(cm("queues", "aside", "list", "-n", "1").splitlines()) == 2
    assert cm.err == "And 1 message more; -n shows more of them.\n"
    assert '"i001"' in cm("queues", "aside", "show", "abc")
    assert "\\xff\\x1b[31m" in cm.json("queues", "aside", "show", other["id"])["body"]
    cm("queues", "aside", "show", "zzz", code=2)


def test_what_was_set_aside_is_sent_again_and_what_cannot_be_is_told(cm: Program, aside: Callable[..., None]) -> None:
    aside(message("one"), message("two", "rack.events"), b"\xff")
    cm("queues", "aside", "requeue", code=2)
    assert "name some by their ids, or use" in cm.err
    cm("queues", "aside", "requeue", "--all", "one", code=2)
    cm("queues", "aside", "requeue", "--all", "--force", code=2)

    done = cm.json("queues", "aside", "requeue", "--actor", "rack.nobody")
    assert [each["id"] for each in done["requeued"]] == ["one"]
    assert jobs.get(done["requeued"][0]["job"]).retry_of == "one"
    again = cm.json("queues", "aside", "requeue", "--all", code=1)
    assert len(again["refused"]) == 1
    assert "Not sent: x" in cm.err


def test_nothing_is_dropped_before_somebody_said_yes(
    cm: Program, aside: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    aside(message("one"), message("two"))
    cm("queues", "aside", "drop", "--queue", "rack", code=2)
    assert "2 messages would be dropped: nobody is there to be asked" in cm.err
    for answer, code in (("no\n", 2), ("yes\n", 0)):
        terminal = StringIO(answer)
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        monkeypatch.setattr("sys.stdin", terminal)
        cm("queues", "aside", "drop", "one", code=code)

    assert cm.json("queues", "aside", "drop", "--all", "--yes") == {"dropped": 1}
    assert cm.json("queues", "aside") == []
