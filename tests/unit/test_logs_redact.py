"""What reaches a log of what nobody may see: nothing."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudmesh_actors import secret
from cloudmesh_actors.logs import encode, redact
from cloudmesh_actors.secret import Secret

PASSWORD = "p\"a's\\s/w@rd ü%"


@pytest.mark.parametrize(
    "key",
    [
        *("password", "bmc_password", "Password", "passwd", "secret", "client_secret", "token", "access_token"),
        *("authorization", "Proxy-Authorization", "api_key", "apiKey", "x-api-key", "private_key", "credentials"),
    ],
)
def test_a_key_that_names_a_secret_is_known(key: str) -> None:
    assert redact.names_secret(key)


@pytest.mark.parametrize("key", ["password_file", "key", "node", "tokens_used", "secret_env", 3, None, "passed"])
def test_a_key_that_is_only_about_a_secret_is_not(key: object) -> None:
    assert not redact.names_secret(key)


def test_values_are_masked_by_their_keys_however_deep() -> None:
    fields = {"node": "i001", "bmc": [{"user": "admin", "password": "x", "more": {"api_key": 12}}], "token": None}

    assert redact.by_key(fields) == {
        "node": "i001",
        "bmc": [{"user": "admin", "password": "***", "more": {"api_key": "***"}}],
        "token": None,
    }


def test_a_cycle_ends() -> None:
    loop: dict[str, Any] = {"name": "a"}
    loop["self"] = loop

    assert "..." in str(redact.by_key({"loop": loop}))


@pytest.mark.parametrize(
    "spelt",
    [
        PASSWORD,
        repr(PASSWORD),
        repr({"x": PASSWORD}),
        repr(repr(PASSWORD)),
        ascii(PASSWORD),
        json.dumps(PASSWORD),
        json.dumps({"x": repr(PASSWORD)}),
        quote(PASSWORD),
        quote(PASSWORD, safe=""),
        quote_plus(PASSWORD),
        quote(PASSWORD, safe="").lower(),
        repr(PASSWORD.encode()),
        PASSWORD.encode().hex(),
        base64.b64encode(PASSWORD.encode()).decode(),
    ],
)
@pytest.mark.parametrize("others", [0, 200])
def test_a_known_secret_is_struck_out_in_every_spelling(spelt: str, others: int) -> None:
    redact.register(PASSWORD)
    for number in range(others):
        redact.register(f"another {number}")

    line = encode.render({"event": f"before {spelt} after", "deep": [{"k": spelt}, {spelt: 1}]})

    event = orjson.loads(line)
    everything = [event["event"], event["deep"][0]["k"], *event["deep"][1]]
    assert all("***" in words for words in everything)
    assert not [words for words in everything if re.search(redact.pattern(PASSWORD), words)]


@settings(deadline=None)
@given(
    password=st.text(st.characters(exclude_categories=["Cs"]), min_size=6),
    before=st.text("ab\n\\\"'", max_size=5),
    after=st.text("ab\n\\\"'", max_size=5),
)
def test_no_secret_survives_in_any_text(password: str, before: str, after: str) -> None:
    secret.forget()
    redact.register(password)

    struck = orjson.loads(encode.render({"event": before + password + after}))["event"]

    assert password not in struck.replace("***", "\0")


def test_the_longer_of_two_secrets_goes_first() -> None:
    redact.register("hunter")
    redact.register("hunter2000")

    assert redact.text("hunter2000 hunter") == "*** ***"


def test_each_line_of_a_key_of_several_lines_is_struck_out() -> None:
    redact.register("-----BEGIN KEY-----\nabcdefghijklmnop\nqrstuvwxyz012345\n")

    assert redact.text("qrstuvwxyz012345") == "***"


def test_a_short_value_is_not_replaced_blindly() -> None:
    redact.register("abc")

    assert redact.text("abc abcdef") == "abc abcdef"


def test_a_secret_that_looks_like_an_id_or_a_level_spoils_neither() -> None:
    redact.register("1234")
    redact.register("info")

    line = encode.render({"timestamp": "t", "level": "info", "event": "pin 1234", "job_id": "ab1234", "pin": 1234})

    assert orjson.loads(line) == {
        "timestamp": "t",
        "level": "info",
        "event": "pin ***",
        "job_id": "ab1234",
        "pin": "***",
    }


def test_a_secret_that_only_seems_to_be_in_the_escapes_leaves_valid_json() -> None:
    redact.register("n1234")

    assert orjson.loads(encode.render({"event": "a\n1234"}))["event"] == "a\n1234"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:pw@host:5672/", "amqp://user:***@host:5672/"),
        ("redis://:pw@host", "redis://:***@host"),
        ("see postgresql://u:p%40w/x@h/db, then", "see postgresql://u:***@h/db, then"),
        ("amqp://u:p@w@host", "amqp://u:***@host"),
        ("http://127.0.0.1:5000/cm/workers/l1@host", "http://127.0.0.1:5000/cm/workers/l1@host"),
        ("http://user@host/", "http://user@host/"),
    ],
)
def test_the_password_in_a_url_is_struck_out(url: str, shown: str) -> None:
    assert redact.text(url) == shown


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("password=hunter2 user=bob", "password=*** user=bob"),
        ("{'password': 'hun\\'t, er2', 'user': 'bob'}", "{'password': '***', 'user': 'bob'}"),
        ('{"api_key": "a b"}', '{"api_key": "***"}'),
        ("Authorization: Basic YWJjOmRlZg==", "Authorization: ***"),
        ("authorization: bearer abc.def", "authorization: ***"),
        ("BMC_PASSWORD='x y'", "BMC_PASSWORD='***'"),
        ("Password: hunter2", "Password: ***"),
        ("site.yml:3: password: cannot be read", "site.yml:3: password: cannot be read"),
        ("password=None", "password=None"),
        ("password_file=/run/secrets/x", "password_file=/run/secrets/x"),
        ("password: ***", "password: ***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----!", "***!"),
    ],
)
def test_what_surely_is_a_secret_is_struck_out_of_text(words: str, shown: str) -> None:
    assert redact.text(words) == shown
    assert orjson.loads(encode.render({"event": words}))["event"] == shown


def test_a_secret_is_known_from_its_making() -> None:
    hidden = Secret("made of iron")

    assert redact.text(f"it is {hidden.reveal()}") == "it is ***"


def test_a_line_is_not_cut_within_a_secret() -> None:
    redact.register("correct horse")

    assert redact.safe_cut("my correct horse battery", 10) == 3
    assert redact.safe_cut("my correct horse battery", 16) == 16
    assert redact.safe_cut("my correct horse battery", 2) == 2


def test_an_innocent_line_is_not_taken_apart() -> None:
    redact.register("hunter2000")

    assert not redact.suspicious(b'{"timestamp":"2025-03-01T12:00:00.000000Z","level":"info","event":"readings"}')
