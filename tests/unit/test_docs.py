"""The documentation is whole: what there is is mentioned, links lead somewhere, nothing is of one machine."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer

from cloudmesh_actors import actor, settings
from cloudmesh_actors.broker import tracking
from cloudmesh_actors.cli.app import app
from cloudmesh_actors.cli.exits import ExitCode
from cloudmesh_actors.errors import NodeError
from cloudmesh_actors.logs import encode
from cloudmesh_actors.settings import Settings

ROOT = Path(__file__).parents[2]

#: Every page that is read by people.
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "logs" / "README.md"])
PICTURE = ROOT / "docs" / "images" / "terminal.svg"

#: What a path on the writer's machine looks like.
OF_A_MACHINE = re.compile(rf"/home/\w|/Users/\w|/root/|/tmp/(?!cm-UID-HASH)\w|{re.escape(str(ROOT))}/")

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text()


@cache
def everything() -> str:
    return "\n".join(page.read_text() for page in PAGES)


def mentions(text: str, word: str) -> bool:
    """Whether a word is there as a whole, not as a part of another one."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def named(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


# -- what is mentioned


def make_targets() -> list[str]:
    return re.findall(r"^([a-z%-]+):.*?## ", text_of("Makefile"), re.MULTILINE)


@pytest.mark.parametrize("target", make_targets())
def test_every_make_target_is_mentioned(target: str) -> None:
    name = re.escape(target).replace("%", r"\w+")

    assert re.search(rf"(make |`){name}(?![\w-])", everything())


def test_every_setting_is_in_the_table() -> None:
    table = text_of("docs/settings.md")

    assert [name for name in map(settings.variable, Settings.model_fields) if f"| `{name}` |" not in table] == []


def test_every_setting_that_is_mentioned_exists() -> None:
    known = {settings.variable(name) for name in Settings.model_fields}

    mentioned = set(re.findall(r"\bCLOUDMESH_[A-Z][A-Z_]*[A-Z]", everything()))

    assert mentioned - known == set()


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_mentioned_with_its_options(name: str) -> None:
    page = text_of("docs/command-line.md") + text_of("docs/logs.md")

    assert mentions(page, name) or mentions(page, f"cm-actors {name}")
    options = [option for parameter in COMMANDS[name].params for option in parameter.opts if option.startswith("--")]
    assert [option for option in options if not mentions(page, option)] == []


def test_every_command_that_is_mentioned_exists() -> None:
    groups = {name.partition(" ")[0] for name in COMMANDS} | {"launcher", "rain", "--help", "--version"}

    written = set(re.findall(r"cm-actors ([a-z-]+)", everything()))

    assert written - groups == set()


def test_every_exit_code_is_in_the_table() -> None:
    page = text_of("docs/command-line.md")

    assert [code for code in ExitCode if f"| {code.value} |" not in page and f"| `{code.value}` |" not in page] == []


def actors() -> set[str]:
    """The library's own: tests in this process may have made some more."""
    actor.import_families()
    return {name for name, it in actor.ACTORS.items() if it.fn.__module__.startswith("cloudmesh_actors.")}


def test_every_actor_is_mentioned() -> None:
    assert "rack.read_sensors" in actors()
    assert [name for name in sorted(actors()) if not mentions(text_of("README.md"), name)] == []


def test_every_actor_that_is_mentioned_exists() -> None:
    with_actors = {name.partition(".")[0] for name in actors()}

    written = re.findall(rf"send ((?:{'|'.join(with_actors)})\.\w+)", everything())

    assert written
    assert set(written) - actors() == set()


def test_every_key_of_a_log_line_is_mentioned() -> None:
    keys = {"timestamp", "level", "event", "worker", "queue", "exception", *encode.LEADING, *tracking.LOG_KEYS}
    page = text_of("docs/logs.md") + text_of("docs/internals.md")

    assert [key for key in sorted(keys) if not mentions(page, key)] == []


def test_every_worker_is_in_the_table() -> None:
    names = [*(spec.name for spec in settings.read().worker_plan), "beat", "valkey"]

    assert [name for name in names if f"`{name}`" not in text_of("docs/workers.md")] == []


def test_every_kind_of_node_error_is_explained() -> None:
    kinds = [kind.kind for kind in NodeError.__subclasses__()]

    assert "unreachable" in kinds
    assert [kind for kind in kinds if f"`{kind}`" not in everything()] == []


def test_every_dependency_has_its_reason() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    names = {re.split(r"[\s<>=;\[]", line)[0] for lines in lists for line in lines.split("\n") if line.strip()}

    page = text_of("docs/decisions/dependencies.md")

    assert "dramatiq" in names
    assert [name for name in sorted(names - {"cloudmesh_actors"}) if not mentions(page, name)] == []


def test_every_decision_is_in_the_list() -> None:
    pages = {page.name for page in ROOT.glob("docs/decisions/*.md")} - {"README.md"}

    assert [page for page in sorted(pages) if f"]({page})" not in text_of("docs/decisions/README.md")] == []


def test_every_page_is_in_the_index() -> None:
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"}

    assert [page for page in sorted(pages) if f"]({page})" not in text_of("docs/README.md")] == []


def test_the_modules_that_a_page_names_exist() -> None:
    paths = re.findall(r"`((?:cloudmesh_actors|workers|tests|benchmarks|bin|docs)/[\w./-]*)`", everything())

    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def code_references() -> list[tuple[str, str]]:
    """What the pages say is where: `broker/recorder.py`: `Recorder.submit`."""
    return sorted(set(re.findall(r"`([\w/]+\.py)`:\s+`([\w.]+)`", everything())))


@pytest.mark.parametrize(("file", "name"), code_references())
def test_what_a_page_says_is_in_a_file_is_there(file: str, name: str) -> None:
    (path,) = [path for path in (ROOT / "cloudmesh_actors" / file, ROOT / file) if path.is_file()]
    source = path.read_text()

    defined = [rf"^\s*(def|class) {part}\b|^{part}\b.* = " for part in name.split(".")]

    assert [pattern for pattern in defined if not re.search(pattern, source, re.MULTILINE)] == []


# -- links


def anchor(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    plain = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in _HEADING.findall(_CODE.sub("", page.read_text()))}


def dead_links(page: Path) -> Iterator[str]:
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", named(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    assert list(dead_links(ROOT / page)) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# Here & there\n```\n# not a heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text("[a](there.md) [b](there.md#here--there) [c](gone.md) [d](there.md#not-a-heading) [e](http://x)")

    assert list(dead_links(page)) == ["gone.md", "there.md#not-a-heading"]


# -- nothing of one machine


@pytest.mark.parametrize("page", [*named(PAGES), str(PICTURE.relative_to(ROOT))])
def test_nothing_is_of_one_machine(page: str) -> None:
    assert OF_A_MACHINE.findall(text_of(page)) == []


def test_the_picture_is_small_and_takes_nothing_from_elsewhere() -> None:
    svg = PICTURE.read_text()

    ElementTree.fromstring(svg)
    assert len(svg) < 60_000
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)\S+", svg) == []
