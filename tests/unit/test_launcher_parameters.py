"""Values of parameters: what is taken, how it is spelt for a script, and what is refused."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.launcher.model import Parameter, ParametersWrong, Recipe, Value, fill, places, spelt

TAKEN = [
    (Parameter(name="p", type="integer"), 5, 5),
    (Parameter(name="p", type="integer"), " -5 ", -5),
    (Parameter(name="p", type="integer", default=7), "", 7),
    (Parameter(name="p", type="integer", minimum=1, maximum=5), "5", 5),
    (Parameter(name="p", type="float"), "1e3", 1000.0),
    (Parameter(name="p", type="float"), 2, 2.0),
    (Parameter(name="p", type="float"), ".5", 0.5),
    (Parameter(name="p", type="boolean"), "Yes", True),
    (Parameter(name="p", type="boolean"), "0", False),
    (Parameter(name="p", type="boolean"), True, True),
    (Parameter(name="p", type="boolean"), None, None),
    (Parameter(name="p", type="choice", choices=("a", "b")), "b", "b"),
    (Parameter(name="p"), "some text; rm -rf $HOME", "some text; rm -rf $HOME"),
    (Parameter(name="p"), "", ""),
    (Parameter(name="p", default="x"), None, "x"),
    (Parameter(name="p", pattern="-?[a-z]+"), "-abc", "-abc"),
    (Parameter(name="p", minimum=2, maximum=3), "abc", "abc"),
]

REFUSED = [
    (Parameter(name="p", type="integer"), "five", "is 'five', which is not a whole number."),
    (Parameter(name="p", type="integer"), 1.5, "is 1.5, which is not a whole number."),
    (Parameter(name="p", type="integer"), True, "is True, which is not a whole number."),
    (Parameter(name="p", type="integer"), "9" * 19, f"is {'9' * 19}, which is not a whole number."),
    (Parameter(name="p", type="integer"), "0x10", "is '0x10', which is not a whole number."),
    (Parameter(name="p", type="integer"), "\u0661", "is '\u0661', which is not a whole number."),
    (Parameter(name="p", type="integer", minimum=1), 0, "is 0, which is less than 1."),
    (Parameter(name="p", type="integer", required=True), "", "is missing."),
    (Parameter(name="p", type="float"), "nan", "is 'nan', which is not a number."),
    (Parameter(name="p", type="float"), float("inf"), "is inf, which is not a number."),
    (Parameter(name="p", type="float", maximum=0.5), "0.6", "is 0.6, which is more than 0.5."),
    (Parameter(name="p", type="boolean"), "maybe", "is 'maybe', which is neither true nor false."),
    (Parameter(name="p", type="boolean"), 1, "is 1, which is neither true nor false."),
    (Parameter(name="p", type="choice", choices=("a", "b")), "c", "is 'c', which is not one of a, b."),
    (Parameter(name="p", type="choice", choices=("a", "b")), ["a"], "is ['a'], which is not one of a, b."),
    (Parameter(name="p", required=True), "", "is missing."),
    (Parameter(name="p", required=True), None, "is missing."),
    (Parameter(name="p"), 5, "is 5, which is not a text."),
    (Parameter(name="p"), "a\nb", "holds control characters or several lines."),
    (Parameter(name="p"), "a\x00b", "holds control characters or several lines."),
    (Parameter(name="p"), "\x1b[2J", "holds control characters or several lines."),
    (Parameter(name="p"), "\u202e", "holds control characters or several lines."),
    (Parameter(name="p"), "--help", "is '--help': it begins with '-', and a program would take it for an option."),
    (Parameter(name="p"), "x" * 1001, "has 1001 characters, 1000 at most."),
    (Parameter(name="p", minimum=2), "a", "has 1 characters, 2 at least."),
    (Parameter(name="p", pattern="[a-z]+"), "aB", "is 'aB', which is not of the form [a-z]+."),
]


@pytest.mark.parametrize(("parameter", "given_value", "value"), TAKEN)
def test_a_value_is_taken_as_it_is_spelt(parameter: Parameter, given_value: Any, value: Value) -> None:
    checked = parameter.check(given_value)

    assert checked == value
    assert type(checked) is type(value)


@pytest.mark.parametrize(("parameter", "given_value", "sentence"), REFUSED)
def test_what_does_not_fit_is_a_sentence(parameter: Parameter, given_value: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        parameter.check(given_value)
    assert str(refused.value) == sentence


def recipe(*parameters: Parameter) -> Recipe:
    return Recipe("it", "It", "", "script", parameters, (("echo", "{a}", "x{b}y"),))


def test_every_wrong_parameter_is_told_at_once_by_its_name() -> None:
    it = recipe(Parameter(name="a", type="integer", required=True), Parameter(name="b", type="boolean"))

    with pytest.raises(ParametersWrong) as wrong:
        it.check({"b": "perhaps", "c": 1})

    assert wrong.value.errors == {
        "c": "is no parameter of this recipe; there are a, b.",
        "a": "is missing.",
        "b": "is 'perhaps', which is neither true nor false.",
    }
    assert str(wrong.value).startswith("it: c is no parameter")


def test_what_was_not_given_is_an_empty_word_and_no_variable() -> None:
    it = recipe(Parameter(name="a"), Parameter(name="b", type="integer"))
    values = it.check({"a": "one two"})

    assert values == {"a": "one two", "b": None}
    assert it.command_lists("i001", values) == (("echo", "one two", "xy"),)
    assert it.environment("i001", values) == {"CM_SERVER": "i001", "CM_RECIPE": "it", "CM_A": "one two"}


@given(value=st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none(), st.lists(st.integers())))
@pytest.mark.parametrize("kind", ["integer", "float", "string", "boolean", "choice"])
def test_whatever_comes_is_taken_or_refused_and_what_is_taken_is_taken_again(kind: Any, value: Any) -> None:
    parameter = Parameter(name="p", type=kind, choices=("a", "b"))
    try:
        checked = parameter.check(value)
    except ValueError as error:
        assert str(error).endswith(".")
    else:
        assert parameter.check(checked) == checked
        if checked is not None:
            assert parameter.check(spelt(checked)) == checked
            assert spelt(checked).isprintable()


@given(value=st.text(), around=st.text(string.ascii_letters + "{} $'\""))
def test_a_value_is_put_in_its_place_and_is_not_read_again(value: str, around: str) -> None:
    word = f"{around}<{{a}}>"

    assert fill(word, {"a": value, "b": "B"} if places(word) <= {"a", "b"} else dict.fromkeys(places(word), value)
                ).endswith(f"<{value}>")  # fmt: skip
