"""How words become an actor's arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.cli.arguments import parse, value
from cloudmesh_actors.errors import ArgumentError


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("3", 3),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ('["i001", "i002"]', ["i001", "i002"]),
        ("i[001-004]", "i[001-004]"),
        ("[1-4]", "[1-4]"),
        ('"3"', "3"),
        ('"a=b"', "a=b"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("", ""),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_value_is_json_if_it_parses_else_text(word: str, meant: object) -> None:
    assert value(word) == meant
    assert type(value(word)) is type(meant)


@given(st.text())
def test_every_text_can_be_sent_as_json(text: str) -> None:
    args, kwargs = parse([json.dumps(text)], ["text"])

    assert (args, kwargs) == ([text], {})


@pytest.mark.parametrize(
    ("words", "args", "kwargs"),
    [
        (["i001", "unit=F"], ["i001"], {"unit": "F"}),
        (["unit=a=b"], [], {"unit": "a=b"}),
        (["unit="], [], {"unit": ""}),
        (["unit=[1]"], [], {"unit": [1]}),
        (["i001,i002=x"], ["i001,i002=x"], {}),
        (["2=3"], ["2=3"], {}),
    ],
)
def test_a_name_and_an_equals_sign_make_a_named_argument(
    words: list[str], args: list[Any], kwargs: dict[str, Any]
) -> None:
    assert parse(words, ["nodes", "unit"]) == (args, kwargs)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["unt=F"], "did you mean unit? To send 'unt=F' as text, write it as JSON: '\"unt=F\"'."),
        (["colour=F"], "there are nodes, unit."),
        (["unit=F", "unit=C"], "The argument unit is given twice."),
        (["unit=F", "i001"], "'i001' comes after a named argument"),
    ],
)
def test_a_wrong_name_is_refused_with_what_may_be_meant(words: list[str], sentence: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse(words, ["nodes", "unit"])

    assert sentence in str(caught.value)
