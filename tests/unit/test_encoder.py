"""What is a message, and what only looks like one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.broker.encoder import MAX_BYTES, StrictEncoder
from cloudmesh_actors.errors import ArgumentError

GOOD: dict[str, Any] = {
    "queue_name": "rack",
    "actor_name": "rack.events",
    "args": ["i001"],
    "kwargs": {},
    "options": {"root": "r", "eta": 12, "retries": 1, "time_limit": None},
    "message_id": "m",
    "message_timestamp": 1,
}

encoder = StrictEncoder()


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


def test_a_message_comes_back_as_it_went() -> None:
    assert encoder.decode(encoder.encode(GOOD)) == GOOD


@pytest.mark.parametrize(
    "fields",
    [
        [],
        "text",
        None,
        7,
        {},
        without("options"),
        {**GOOD, "more": 1},
        {**GOOD, "args": {}},
        {**GOOD, "args": "i001"},
        {**GOOD, "kwargs": []},
        {**GOOD, "options": []},
        {**GOOD, "queue_name": None},
        {**GOOD, "queue_name": "q" * 65},
        {**GOOD, "actor_name": ""},
        {**GOOD, "actor_name": "a" * 129},
        {**GOOD, "actor_name": "rack\u0000"},
        {**GOOD, "message_id": ""},
        {**GOOD, "message_id": "x" * 65},
        {**GOOD, "message_id": 7},
        {**GOOD, "message_timestamp": "now"},
        {**GOOD, "message_timestamp": 1.5},
        {**GOOD, "message_timestamp": True},
        *(
            {**GOOD, "options": {name: value}}
            for name in ("eta", "retries", "max_backoff")
            for value in ("7", [], True)
        ),
        *({**GOOD, "options": {name: value}} for name in ("root", "parent", "retry_of") for value in (7, [], "x" * 65)),
    ],
)
def test_what_is_not_a_message_is_refused(fields: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        encoder.decode(orjson.dumps(fields))


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{", b"[" * 5000, b"gASVCgAAAAAAAABdlC4=", b"null"])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        encoder.decode(data)


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        encoder.decode(data)


@given(st.dictionaries(st.sampled_from([*GOOD, "more"]), st.none() | st.integers() | st.text() | st.lists(st.none())))
def test_no_fields_raise_anything_else(fields: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        encoder.decode(orjson.dumps({**GOOD, "options": None, **fields}, option=orjson.OPT_NON_STR_KEYS, default=str))


def test_a_long_message_is_refused_by_sender_and_receiver() -> None:
    long = {**GOOD, "args": ["x" * MAX_BYTES]}

    with pytest.raises(ArgumentError, match=r"rack\.events: its arguments take 1,000,\d+ bytes, 1,000,000 at most"):
        encoder.encode(long)
    with pytest.raises(ValueError, match="are too many"):
        encoder.decode(orjson.dumps(long))


@pytest.mark.parametrize("value", [object(), {1, 2}, "\ud800", 2**70])
def test_what_json_does_not_have_is_refused(value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"rack\.events: an argument is not JSON: "):
        encoder.encode({**GOOD, "args": [value]})
