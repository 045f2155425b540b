"""From an event to a line of JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudmesh_actors.logs import encode
from cloudmesh_actors.logs.encode import Encoder
from cloudmesh_actors.secret import Secret


@dataclass
class Server:
    host: str
    password: str
    hidden: str = field(default="x", repr=False)


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Slotted(Exception):
    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def _event(fields: dict[str, Any], context: dict[str, Any] | None = None, event: object = "done") -> dict[str, Any]:
    line = Encoder({"worker": "rack", "queue": "rack"}).line("info", event, fields, context=context or {})
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    loaded: dict[str, Any] = orjson.loads(line)
    return loaded


def test_a_line_begins_with_time_level_event_and_the_task() -> None:
    encoder = Encoder({"worker": "rack", "queue": "rack"}, clock=lambda: 1_700_000_000_000_001_999)

    line = encoder.line("info", "readings stored", {"nodes": 64}, context={"run": 1, "actor": "rack.x", "job_id": "ab"})

    assert line == (
        b'{"timestamp":"2023-11-14T22:13:20.000001Z","level":"info","event":"readings stored","worker":"rack",'
        b'"queue":"rack","actor":"rack.x","job_id":"ab","run":1,"nodes":64}\n'
    )


@settings(deadline=None)
@given(st.integers(0, 4_000_000_000 * 10**9), st.integers(0, 4_000_000_000 * 10**9))
def test_the_order_of_timestamps_as_text_is_that_of_time(one: int, other: int) -> None:
    first, second = sorted((one, other))

    assert encode.utc(first) <= encode.utc(second)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", encode.utc(first))


def test_what_is_bound_to_the_task_is_on_the_line() -> None:
    with structlog.contextvars.bound_contextvars(job_id="ab12", actor="rack.power"):
        line = Encoder({}).line("info", "off", {"actor": "mine"})

    assert orjson.loads(line)["job_id"] == "ab12"
    assert orjson.loads(line)["actor"] == "mine"
    assert "job_id" not in orjson.loads(Encoder({}).line("info", "off", {}))


def test_a_field_cannot_take_the_place_of_the_time_or_the_level() -> None:
    event = _event({"level": 3, "timestamp": "never"})

    assert event["level"] == "info"
    assert (event["level_"], event["timestamp_"]) == (3, "never")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        (2**70, str(2**70)),
        (float("nan"), None),
        ({1: "a", (2, 3): "b"}, {"1": "a", "(2, 3)": "b"}),
        ({"b"}, ["b"]),
        (b"\xffabc", "\\xffabc"),
        (Path("/tmp/x"), "/tmp/x"),
        (Server("h", "pw"), {"host": "h", "password": "***"}),
        (Secret("steel"), "Secret(***)"),
        (Unshowable(), "<Unshowable that cannot be shown: RuntimeError>"),
        ([Unshowable(), "\udcff"], ["<Unshowable that cannot be shown: RuntimeError>", "\\udcff"]),
        (ValueError("bad"), "ValueError('bad')"),
    ],
)
def test_what_json_cannot_say_is_said_otherwise(value: object, shown: object) -> None:
    assert _event({"value": value})["value"] == shown


def test_a_cycle_and_a_deep_nesting_end() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: dict[str, Any] = {}
    for _ in range(1000):
        deep = {"deeper": deep}

    assert "..." in str(_event({"loop": loop, "deep": deep}))


def test_an_event_may_be_any_object() -> None:
    assert _event({}, event=ValueError("x"))["event"] == "ValueError('x')"
    assert _event({}, event="a\nb\0")["event"] == "a\nb\0"


SCALARS = st.none() | st.text(max_size=9) | st.integers() | st.floats() | st.binary(max_size=9)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=9), SCALARS | st.lists(SCALARS, max_size=4), max_size=4))
def test_any_fields_make_one_line_of_json(fields: dict[str, Any]) -> None:
    fields = {key: value for key, value in fields.items() if key not in {"exc_info", "stack_info"}}

    assert _event(fields)["worker"] == fields.get("worker", "rack")


def test_a_traceback_is_logged_once() -> None:
    try:
        raise ValueError("boom") from KeyError("cause")
    except ValueError as error:
        first, second = _event({"exc_info": True}), _event({"exc_info": (ValueError, error, error.__traceback__)})

    assert first["exception"].startswith("KeyError: 'cause'\n\nThe above exception was the direct cause")
    assert first["exception"].endswith("ValueError: boom")
    assert "exception" not in second
    assert second["error"] == "ValueError: boom"
    assert "exception" not in _event({"exc_info": True})


def test_an_exception_that_cannot_be_marked_is_logged() -> None:
    assert "Slotted" in _event({"exc_info": Slotted("x")})["exception"]


def test_a_huge_traceback_loses_its_middle() -> None:
    words = _event({"exc_info": ValueError("x" * 1_000_000 + "end")})["exception"]

    assert words.startswith("ValueError: xxx")
    assert words.endswith("xend")
    assert "characters ...]" in words
    assert len(words) < encode.MAX_TRACEBACK + 100


def test_a_secret_in_an_exception_its_cause_and_its_locals_does_not_show() -> None:
    password = Secret("correct horse").reveal()
    try:
        try:
            raise KeyError(password)
        except KeyError:
            raise ValueError(f"cannot log in with {password!r}") from None
    except ValueError as error:
        error.add_note(f"tried {password}")
        words = _event({"exc_info": True, "arguments": [password]})

    assert "correct horse" not in str(words)
    assert "cannot log in with '***'" in words["exception"]
