"""From a recipe's YAML file to a `Recipe`: each mistake is noted with its line and key."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cloudmesh_actors.errors import CloudmeshError
from cloudmesh_actors.launcher import model
from cloudmesh_actors.launcher.model import Parameter, ParameterType, Recipe, Value
from cloudmesh_actors.site import Site
from cloudmesh_actors.site.document import Listing, Scalar, parse
from cloudmesh_actors.site.document import Value as Written
from cloudmesh_actors.site.fields import Fields
from cloudmesh_actors.site.report import Report

#: Every key of a recipe, and of one of its parameters. ``docs/launcher.md`` explains each.
KEYS = ("name", "label", "description", "image", "parameters", "script", "arguments", "targets", "timeout",
        "changes_node", "repeatable")  # fmt: skip
PARAMETER_KEYS = ("type", "label", "description", "required", "default", "min", "max", "choices", "pattern")

#: How long a script may take unless its recipe says otherwise, in seconds.
DEFAULT_TIMEOUT_S = 600.0

#: Pictures that come with the library.
IMAGES = ("script", "cluster", "hadoop", "ganglia", "nagios", "openmpi", "bigdata")
DEFAULT_IMAGE = "script"
PICTURES = (".svg", ".png")

#: The largest script file and picture, in bytes.
LARGEST_FILE = 256 * 2**10

#: The most parameters, commands, and words of a command.
MOST = 100

#: Names that scripts know already, as in CM_SERVER.
TAKEN = ("server", "recipe", "job")

#: Programs that take a word for a program's text: a value in it could be anything but a value.
_INTERPRETERS = re.compile(
    r"(ba|da|z|k|c|tc|fi)?sh|python[0-9.]*|perl|ruby|node|lua|awk|gawk|mawk|sed|su|ssh|eval|xargs"
)
_TAKES_PROGRAM = re.compile(r"-[a-zA-Z]*[ce]|--(command|eval|expression|session-command)(=.*)?")
_TAKES_ANYWHERE = frozenset({"awk", "gawk", "mawk", "sed", "ssh", "eval"})

_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,9})?")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,31}")


def read(content: bytes, file: Path, of: Site | None) -> tuple[Recipe, Report]:
    """The recipe in a file, and the mistakes in it. Raises SiteError for anything that is no YAML mapping.

    Args:
        of: the site whose recipe it is; None for one that comes with the library and has no files beside it.
    """
    report = Report(file)
    keys = parse(content, file, report.errors, "keys such as 'label:'")
    fields = RecipeFields(keys, "", 1, report, KEYS)
    fields.require("label", "script")
    name = fields.text("name") or PurePosixPath(file.name).stem
    fields.check_recipe_name(name)
    parameters = tuple(read_parameters(fields.table("parameters")))
    commands, script_file = read_script(fields, {parameter.name for parameter in parameters})
    recipe = Recipe(
        name,
        label=fields.text("label"),
        description=fields.prose("description"),
        image=read_image(fields, resource=of is None),
        parameters=parameters,
        commands=commands,
        script_file=script_file,
        targets=read_targets(fields, of),
        timeout=fields.seconds("timeout", DEFAULT_TIMEOUT_S),
        changes_node=fields.boolean("changes_node"),
        repeatable=fields.boolean("repeatable"),
    )
    return recipe, report


def read_targets(fields: Fields, of: Site | None) -> str:
    """``targets``: the node set on which the recipe may be launched."""
    text = fields.text("targets")
    if text and of is not None:
        try:
            of.nodes(text)
        except CloudmeshError as error:
            fields.fail("targets", str(error))
    return text


class RecipeFields(Fields):
    """Fields of a recipe; its mappings hold recipe fields too."""

    def table(self, name: str, known: Collection[str] | None = None) -> RecipeFields:
        """The mapping under a key; an empty one if there is none."""
        return RecipeFields(self._table.values.get(name), self.key(name), self.line_of(name), self.report, known)

    def prose(self, name: str) -> str:
        """A text of one or several lines."""
        value = self.written(name)
        if value is None:
            return ""
        if not isinstance(value, Scalar) or not all(line.isprintable() for line in value.text.splitlines()):
            self.fail(name, "has to be a text without control characters")
            return ""
        return value.text.strip()

    def boolean(self, name: str) -> bool:
        """Yes or no; no by default."""
        text = self.text(name, "false")
        if text.lower() not in _BOOLEANS:
            self.fail(name, f"{text!r} is neither true nor false")
        return _BOOLEANS.get(text.lower(), False)

    def number(self, name: str) -> float | None:
        """A decimal number."""
        text = self.text(name)
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            self.fail(name, f"{text!r} is not a number")
            return None
        return float(text)

    def words(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self.written(name)
        return () if value is None else self._words(name, value)

    def word_lists(self, name: str) -> tuple[tuple[str, ...], ...]:
        """A list of lists of texts."""
        value = self.written(name)
        if not isinstance(value, Listing) or not value.items:
            self.fail(name, "has to be a list of argument lists, as in [[echo, hello]], or the name of a file")
            return ()
        return tuple(self._words(f"{name}[{place}]", item, at=name) for place, item in enumerate(value.items))

    def written(self, name: str) -> Written | None:
        """What is written under a key, None for nothing."""
        return self._table.values[name] if name in self else None

    def complain(self, name: str, line: int, message: str) -> None:
        """Note a mistake within the value of a key, at its own line."""
        self.report.add(message, line, self.key(name))

    def check_recipe_name(self, name: str) -> None:
        """Note if this is no name."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            self.fail("name", f"{name!r} is not a name: letters, digits, '_', '.' and '-'")

    def _words(self, name: str, value: Written, at: str = "") -> tuple[str, ...]:
        if not isinstance(value, Listing) or not value.items or not all(isinstance(w, Scalar) for w in value.items):
            self.complain(name, value.line, "has to be a list of words, as in [echo, hello]")
            return ()
        words = tuple(item.text for item in value.items if isinstance(item, Scalar))
        if len(words) > MOST:
            self.complain(name, value.line, f"has more than {MOST} words")
        if any("\0" in word for word in words):
            self.complain(name, value.line, "holds a NUL character")
        return words


# -- parameters


def read_parameters(section: RecipeFields) -> Iterator[Parameter]:
    """``parameters``, by name, in the order in which they are asked for."""
    if len(list(section)) > MOST:
        section.report.add(f"has more than {MOST} parameters", section.line, section.path)
        return
    for name in section:
        fields = section.table(name, PARAMETER_KEYS)
        if not _PARAMETER.fullmatch(name):
            section.fail(name, "is not a parameter's name: small letters, digits and '_', 32 at most")
        elif name in TAKEN:
            section.fail(name, f"is taken: a script has CM_{name.upper()} anyway")
        else:
            yield _read_parameter(name, fields)


def _read_parameter(name: str, fields: RecipeFields) -> Parameter:
    kind: ParameterType = fields.choice("type", ParameterType, "string")
    parameter = Parameter(
        name=name,
        type=kind,
        label=fields.text("label") or name,
        description=fields.prose("description"),
        required=fields.boolean("required"),
        minimum=fields.number("min"),
        maximum=fields.number("max"),
        choices=_read_choices(fields, kind),
        pattern=_read_pattern(fields, kind),
    )
    _check_bounds(fields, parameter)
    return _with_default(fields, parameter)


def _read_choices(fields: RecipeFields, kind: ParameterType) -> tuple[str, ...]:
    if kind == "choice":
        fields.require("choices")
        return fields.words("choices")
    if "choices" in fields:
        fields.fail("choices", "is for the type choice only")
    return ()


def _read_pattern(fields: RecipeFields, kind: ParameterType) -> str | None:
    pattern = fields.text("pattern")
    if not pattern:
        return None
    if kind != "string":
        fields.fail("pattern", "is for the type string only")
    try:
        re.compile(pattern)
    except re.error as error:
        fields.fail("pattern", f"is not a regular expression: {error}")
        return None
    return pattern


def _check_bounds(fields: RecipeFields, parameter: Parameter) -> None:
    low, high = parameter.minimum, parameter.maximum
    for name in ("min", "max"):
        if name in fields and parameter.type in ("boolean", "choice"):
            fields.fail(name, "is for numbers, and for the length of texts")
    if low is not None and high is not None and low > high:
        fields.fail("min", "is more than max")
    if parameter.type == "string" and high is not None and high > model.LONGEST_TEXT:
        fields.fail("max", f"is more than {model.LONGEST_TEXT}, the most characters a text may have")


def _with_default(fields: RecipeFields, parameter: Parameter) -> Parameter:
    if "default" not in fields:
        return parameter
    if parameter.required:
        fields.fail("required", "what is required has no default")
        return parameter
    try:
        default: Value = parameter.check(fields.text("default"))
    except ValueError as error:
        fields.fail("default", f"does not fit: it {error}".rstrip("."))
        return parameter
    values: dict[str, Any] = {name: getattr(parameter, name) for name in Parameter.__dataclass_fields__}
    return Parameter(**{**values, "default": default})


# -- scripts and pictures


def read_script(fields: RecipeFields, parameters: set[str]) -> tuple[tuple[tuple[str, ...], ...], Path | None]:
    """``script``: argument lists; or a file, whose arguments are under ``arguments``."""
    if "script" not in fields:
        return (), None
    if isinstance(fields.written("script"), Scalar):
        arguments = fields.words("arguments")
        _check_places(fields, "arguments", arguments, parameters)
        return (arguments,), _read_file(fields, "script")
    if "arguments" in fields:
        fields.fail("arguments", "is for a script that is a file; argument lists hold theirs")
    commands = fields.word_lists("script")
    for place, command in enumerate(commands):
        _check_command(fields, f"script[{place}]", command, parameters)
    return commands, None


def _check_command(fields: RecipeFields, key: str, command: Sequence[str], parameters: set[str]) -> None:
    if not command:
        return
    line = _line_of(fields, key)
    if not command[0]:
        fields.complain(key, line, "has no program")
    if model.places(command[0]):
        fields.complain(key, line, "takes the program from a parameter; name it in the recipe")
    _check_places(fields, key, command, parameters)
    for word in program_texts(command):
        if model.places(word):
            advice = "give it as a further argument, or use the variable CM_NAME of the environment"
            fields.complain(key, line, f"puts a parameter into a program's text, {word!r}: {advice}")


def program_texts(command: Sequence[str]) -> Iterator[str]:
    """The words of a command that a shell or another interpreter would read as a program."""
    interpreter = ""
    takes = False
    for word in command:
        if takes:
            yield word
        takes = bool(interpreter) and bool(_TAKES_PROGRAM.fullmatch(word))
        if interpreter in _TAKES_ANYWHERE or (takes and "=" in word):
            yield word
        if _INTERPRETERS.fullmatch(PurePosixPath(word).name):
            interpreter = PurePosixPath(word).name


def _check_places(fields: RecipeFields, key: str, words: Sequence[str], parameters: set[str]) -> None:
    strangers = sorted(set().union(*map(model.places, words)) - parameters - {"server"})
    if strangers:
        known = ", ".join(sorted({"server", *parameters}))
        fields.complain(key, _line_of(fields, key), f"there is no parameter {strangers[0]!r}; there are {known}")


def _line_of(fields: RecipeFields, key: str) -> int:
    name, _, place = key.partition("[")
    value = fields.written(name)
    if isinstance(value, Listing) and place:
        return value.items[int(place.rstrip("]"))].line
    return fields.line_of(name)


def _read_file(fields: RecipeFields, name: str) -> Path | None:
    """A file beside the recipe that can be run."""
    path = fields.file(name)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        fields.fail(name, f"{path} cannot be read: {error.strerror}")
        return None
    if not content.startswith(b"#!"):
        fields.fail(name, f"{path} does not begin with '#!' and its interpreter, as in '#!/bin/sh'")
    if len(content) > LARGEST_FILE:
        fields.fail(name, f"{path} is larger than {LARGEST_FILE // 1024} kB")
    return path


def read_image(fields: RecipeFields, *, resource: bool) -> str:
    """``image``: the name of a picture that comes with the library, or a file beside the recipe."""
    name = fields.text("image", DEFAULT_IMAGE)
    if name in IMAGES:
        return name
    path = fields.file("image")
    if resource or path is None or path.suffix.lower() not in PICTURES:
        fields.fail("image", f"{name!r} is neither one of {', '.join(IMAGES)} nor a file {' or '.join(PICTURES)}")
    elif not path.is_file() or path.stat().st_size > LARGEST_FILE:
        fields.fail("image", f"{path} is no file of at most {LARGEST_FILE // 1024} kB")
    else:
        return str(path)
    return DEFAULT_IMAGE
