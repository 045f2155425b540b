"""Recipes: what is read from their files, and what is refused with file, line and key."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cloudmesh_actors import settings, site
from cloudmesh_actors.errors import ArgumentError, SiteError
from cloudmesh_actors.launcher import reading, recipes
from cloudmesh_actors.launcher.model import Recipe

SITE = """
clusters:
  india: {nodes: "i[001-008]"}
hosts:
  "i[001-008]": {driver: simulator}
recipes: recipes
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a recipe of the site, or a file beside it."""
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "recipes").mkdir()
    monkeypatch.setenv("CLOUDMESH_SITE", str(tmp_path / "site.yaml"))
    settings.reset()
    site.reset()
    recipes.reset()

    def write(text: str | bytes, name: str = "it.yaml") -> Path:
        path = tmp_path / "recipes" / name
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    return write


def only() -> Recipe:
    found = recipes.load_all()
    assert found.errors == []
    [recipe] = found.recipes.values()
    return recipe


def mistakes() -> list[str]:
    """All mistakes, with lines and keys, without the folder."""
    folder = f"{site.current().recipes}/"
    return [str(error).replace(folder, "") for error in recipes.load_all().errors]


def test_a_recipe_has_everything_that_is_written_in_it(write: Write) -> None:
    write("<svg xmlns='http://www.w3.org/2000/svg'/>", "own.svg")
    write("""
        name: node-setup
        label: Set a node up
        description: |
          Two lines:
          this is the second.
        image: own.svg
        parameters:
          cores: {type: integer, default: 4, min: 1, max: 8, label: Cores, description: Of each server.}
          share: {type: float, default: 0.5}
          name: {type: string, required: true, pattern: "[a-z]+"}
          now: {type: boolean, default: yes}
          level: {type: choice, choices: [low, high], default: low}
        script:
          - [setup, --cores, "{cores}", "{name}-{server}"]
          - [sh, -c, 'echo "$1" "{{name}}" ${HOME}', x, "{level}"]
        targets: "@india"
        timeout: 90
        changes_node: true
        repeatable: yes
        """)

    recipe = only()
    values = recipe.check({"name": "abc", "cores": "6"})

    assert (recipe.name, recipe.label, recipe.description) == (
        "node-setup", "Set a node up", "Two lines:\nthis is the second.",
    )  # fmt: skip
    assert recipe.image.endswith("recipes/own.svg")
    assert (recipe.targets, recipe.timeout, recipe.changes_node, recipe.repeatable) == ("@india", 90.0, True, True)
    assert values == {"cores": 6, "share": 0.5, "name": "abc", "now": True, "level": "low"}
    assert recipe.command_lists("i001", values) == (
        ("setup", "--cores", "6", "abc-i001"),
        ("sh", "-c", 'echo "$1" "{name}" ${HOME}', "x", "low"),
    )
    assert recipe.environment("i001", values) == {
        "CM_SERVER": "i001", "CM_RECIPE": "node-setup", "CM_CORES": "6", "CM_SHARE": "0.5", "CM_NAME": "abc",
        "CM_NOW": "true", "CM_LEVEL": "low",
    }  # fmt: skip


def test_a_script_may_be_a_file_with_arguments(write: Write) -> None:
    path = write("#!/bin/sh\n", "install.sh")
    write('{label: It, script: install.sh, arguments: [--on, "{server}"]}')

    recipe = only()

    assert recipe.name == "it"
    assert recipe.script_file == path
    assert recipe.command_lists("i001", {}) == (("--on", "i001"),)


GOOD = "label: It\nscript: [[echo, hello]]\n"

MISTAKES = {
    "label: It\n": ["it.yaml:1: script: is missing"],
    "script: [[echo]]\n": ["it.yaml:1: label: is missing"],
    GOOD + "scripts: x\n": ["it.yaml:3: scripts: is not a known key; did you mean script?"],
    GOOD + "name: a b\n": ["it.yaml:3: name: 'a b' is not a name: letters, digits, '_', '.' and '-'"],
    GOOD + "timeout: soon\n": ["it.yaml:3: timeout: 'soon' is not a number of seconds above 0, up to 86400"],
    GOOD + "targets: i009\n": ["it.yaml:3: targets: i009 is not in the site; did you mean i008?"],
    GOOD + "repeatable: maybe\n": ["it.yaml:3: repeatable: 'maybe' is neither true nor false"],
    GOOD + "image: no.svg\n": ["it.yaml:3: image: no.svg is no file of at most 256 kB"],
    GOOD + "image: hello\n": [
        f"it.yaml:3: image: 'hello' is neither one of {', '.join(reading.IMAGES)} nor a file .svg or .png"
    ],
    GOOD + 'description: "a\\u001bb"\n': ["it.yaml:3: description: has to be a text without control characters"],
    GOOD + "arguments: [x]\n": ["it.yaml:3: arguments: is for a script that is a file; argument lists hold theirs"],
    "label: It\nscript: []\n": [
        "it.yaml:2: script: has to be a list of argument lists, as in [[echo, hello]], or the name of a file"
    ],
    "label: It\nscript:\n  - echo\n": ["it.yaml:3: script[0]: has to be a list of words, as in [echo, hello]"],
    "label: It\nscript:\n  - [a]\n  - ['']\n": ["it.yaml:4: script[1]: has no program"],
    'label: It\nscript: [["{server}"]]\n': [
        "it.yaml:2: script[0]: takes the program from a parameter; name it in the recipe"
    ],
    'label: It\nscript: [[a, "{cores}"]]\n': ["it.yaml:2: script[0]: there is no parameter 'cores'; there are server"],
    "label: It\nscript: none.sh\n": ["it.yaml:2: script: none.sh cannot be read: No such file or directory"],
    GOOD + "parameters: {Cores: {type: integer}}\n": [
        "it.yaml:3: parameters.Cores: is not a parameter's name: small letters, digits and '_', 32 at most"
    ],
    GOOD + "parameters: {server: {type: string}}\n": [
        "it.yaml:3: parameters.server: is taken: a script has CM_SERVER anyway"
    ],
    GOOD + "parameters: {a: {type: number}}\n": [
        "it.yaml:3: parameters.a.type: 'number' is not one of integer, float, string, boolean, choice"
    ],
    GOOD + "parameters:\n  a:\n    type: integer\n    default: x\n": [
        "it.yaml:6: parameters.a.default: does not fit: it is 'x', which is not a whole number"
    ],
    GOOD + "parameters:\n  a: {type: integer, default: 9, max: 5}\n": [
        "it.yaml:4: parameters.a.default: does not fit: it is 9, which is more than 5"
    ],
    GOOD + "parameters:\n  a: {type: integer, min: 9, max: 5}\n": ["it.yaml:4: parameters.a.min: is more than max"],
    GOOD + "parameters:\n  a: {type: integer, min: few}\n": ["it.yaml:4: parameters.a.min: 'few' is not a number"],
    GOOD + "parameters:\n  a: {type: choice}\n": ["it.yaml:4: parameters.a.choices: is missing"],
    GOOD + "parameters:\n  a: {choices: [x]}\n": ["it.yaml:4: parameters.a.choices: is for the type choice only"],
    GOOD + "parameters:\n  a: {type: boolean, min: 1}\n": [
        "it.yaml:4: parameters.a.min: is for numbers, and for the length of texts"
    ],
    GOOD + "parameters:\n  a: {max: 5000}\n": [
        "it.yaml:4: parameters.a.max: is more than 1000, the most characters a text may have"
    ],
    GOOD + "parameters:\n  a: {required: true, default: x}\n": [
        "it.yaml:4: parameters.a.required: what is required has no default"
    ],
    GOOD + "parameters:\n  a: {pattern: '['}\n": [
        "it.yaml:4: parameters.a.pattern: is not a regular expression: unterminated character set at position 0"
    ],
    "- a\n": ["it.yaml:1: has to consist of keys such as 'label:'"],
    "label: [\n": ["it.yaml:2: is not YAML: did not find expected node content (while parsing a flow node)"],
    "": ["it.yaml: is empty"],
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_told_with_line_and_key_and_costs_no_other_recipe(write: Write, text: str) -> None:
    write(text)
    write("{label: Sound, script: [['true']]}", "sound.yaml")

    assert mistakes() == MISTAKES[text]
    assert list(recipes.load_all().recipes) == ["sound"]
    with pytest.raises(ArgumentError, match=r"The recipe 'it' cannot be used|There is no recipe 'it'"):
        recipes.find("it")


#: A value in these words could be anything but a value.
PROGRAMS = [
    ["sh", "-c", "echo {a}"],
    ["bash", "-xec", "{a}"],
    ["sudo", "-u", "alice", "bash", "-c", "rm {a}"],
    ["/usr/bin/env", "dash", "-c", "{a}"],
    ["python3", "-c", "print({a})"],
    ["perl", "-e", "{a}"],
    ["su", "alice", "--command=ls {a}"],
    ["ssh", "host", "ls {a}"],
    ["awk", "{a}"],
    ["sed", "s/x/{a}/"],
]


@pytest.mark.parametrize("command", PROGRAMS, ids=" ".join)
def test_no_parameter_gets_into_a_programs_text(write: Write, command: list[str]) -> None:
    write(f"label: It\nparameters: {{a: {{}}}}\nscript: [{command!r}]\n")

    [mistake] = mistakes()

    assert mistake.startswith("it.yaml:3: script[0]: puts a parameter into a program's text")
    assert "CM_NAME" in mistake


def test_a_parameter_after_a_programs_text_is_an_argument(write: Write) -> None:
    write("label: It\nparameters: {a: {}}\nscript: [[sh, -c, 'echo \"$1\"', x, '{a}'], [python3, -m, it, '{a}']]\n")

    assert only().command_lists("i001", {"a": "$(id)"})[0][-1] == "$(id)"


def test_recipes_are_read_again_when_a_file_changes(write: Write) -> None:
    path = write(GOOD)
    assert only().label == "It"

    path.write_text(GOOD.replace("It", "Other"))
    os.utime(path, ns=(1, 1))
    assert only().label == "Other"

    path.unlink()
    assert recipes.load_all().recipes == {}


def test_two_recipes_of_one_name_are_told(write: Write) -> None:
    write(GOOD, "a.yaml")
    write(GOOD + "name: a\n", "b.yaml")

    found = recipes.load_all()

    assert list(found.recipes) == ["a"]
    [error] = found.errors
    assert str(error).endswith("there are two recipes named 'a'")


def test_what_is_no_recipe_is_left_alone(write: Write) -> None:
    write(GOOD)
    write("garbage", "notes.txt")
    write("garbage: [", ".it.yaml.swp.yaml")

    assert only().name == "it"


def test_a_folder_that_cannot_be_read_is_a_mistake_of_the_site(write: Write, tmp_path: Path) -> None:
    found = site.current()
    (tmp_path / "recipes").rmdir()

    with pytest.raises(SiteError, match="the recipes cannot be read"):
        recipes.load_all(found)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    text=st.one_of(
        st.text(max_size=200),
        st.sampled_from([GOOD, *MISTAKES]).flatmap(
            lambda text: st.builds(
                lambda at, new: text[:at] + new + text[at + 1 :], st.integers(0, len(text)), st.text(max_size=3)
            )
        ),
    )
)
def test_whatever_is_in_a_file_it_is_a_recipe_or_a_mistake(write: Write, text: str) -> None:
    write(text.encode(errors="replace"))

    found = recipes.load_all()

    assert bool(found.recipes) != bool(found.errors)


# -- the examples


def test_the_examples_are_sound_and_there_without_a_site_file() -> None:
    found = recipes.load_all()

    assert found.errors == []
    assert list(found.recipes) == ["bigdata-class", "ganglia", "hadoop", "nagios", "openmpi", "slurm"]
    assert all(recipe.description and recipe.label for recipe in found.recipes.values())
    assert {parameter.type for recipe in found.recipes.values() for parameter in recipe.parameters} == {
        "integer", "float", "string", "boolean", "choice",
    }  # fmt: skip


def test_every_picture_is_there_and_takes_nothing_from_elsewhere() -> None:
    for name in reading.IMAGES:
        text = recipes.image_file(Recipe(name, "", "", name, (), ())).read_text()
        ElementTree.fromstring(text)
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert len(text) < 2000
