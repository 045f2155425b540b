"""The values of the family launcher that cross a boundary: recipes with their parameters, launches, statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from cloudmesh_actors.errors import ArgumentError

ParameterType = Literal["integer", "float", "string", "boolean", "choice"]

#: The value of a parameter: None is an optional one that was not given.
Value = int | float | str | bool | None

#: The longest text that a parameter may be, in characters, unless its `maximum` says less.
LONGEST_TEXT = 1000

#: Whole numbers have 64 bits where they are stored.
LARGEST_INTEGER = 2**63 - 1

N = TypeVar("N", int, float)

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_FLOAT = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

#: A parameter's place in a word of a script, ``{name}``; doubled braces stand for themselves.
_PLACE = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}|\{([a-z][a-z0-9_]*)\}")


class LaunchState(StrEnum):
    """What a launch on one server is doing."""

    QUEUED = "queued"
    RUNNING = "running"  # a worker has taken it up
    DEPLOY = "deploy"  # its script runs
    ACTIVE = "active"  # its script ended well
    ERROR = "error"
    ABORTED = "aborted"


#: States that are never left again.
ENDED = frozenset({LaunchState.ACTIVE, LaunchState.ERROR, LaunchState.ABORTED})


class ParametersWrong(ArgumentError):
    """Parameters do not fit their recipe; `errors` has a sentence for each that is wrong."""

    def __init__(self, recipe: str, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__(f"{recipe}: " + " ".join(f"{name} {sentence}" for name, sentence in self.errors.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What may be said when a recipe is launched.

    `minimum` and `maximum` are bounds of a number, and of a text's length. A `pattern` matches the whole text.
    """

    name: str
    type: ParameterType = "string"
    label: str = ""
    description: str = ""
    required: bool = False
    default: Value = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None

    def check(self, value: Any) -> Value:
        """The value as it is used; one as it is spelt in a form or a command line is understood too.

        Raises:
            ValueError: it does not fit; the text goes on after the parameter's name.
        """
        if value is None or (value == "" and self.type != "string"):
            value = self.default
        if value is None or (value == "" and self.required):
            if self.required:
                raise ValueError("is missing.")
            return None
        match self.type:
            case "integer":
                return self._bounded(_integer(value))
            case "float":
                return self._bounded(_float(value))
            case "boolean":
                return _boolean(value)
            case "choice":
                return self._chosen(value)
        return self._text(value)

    def _bounded(self, number: N) -> N:
        if self.minimum is not None and number < self.minimum:
            raise ValueError(f"is {number}, which is less than {_number(self.minimum)}.")
        if self.maximum is not None and number > self.maximum:
            raise ValueError(f"is {number}, which is more than {_number(self.maximum)}.")
        return number

    def _chosen(self, value: Any) -> str:
        if value not in self.choices:
            raise ValueError(f"is {_shown(value)}, which is not one of {', '.join(self.choices)}.")
        return str(value)

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"is {_shown(value)}, which is not a text.")  # noqa: TRY004 - it is told like the others
        longest = LONGEST_TEXT if self.maximum is None else self.maximum
        if len(value) > longest:
            raise ValueError(f"has {len(value)} characters, {_number(longest)} at most.")
        if self.minimum is not None and len(value) < self.minimum:
            raise ValueError(f"has {len(value)} characters, {_number(self.minimum)} at least.")
        if not value.isprintable():
            raise ValueError("holds control characters or several lines.")
        if self.pattern is not None:
            if not re.fullmatch(self.pattern, value):
                raise ValueError(f"is {_shown(value)}, which is not of the form {self.pattern}.")
        elif value.startswith("-"):
            raise ValueError(f"is {_shown(value)}: it begins with '-', and a program would take it for an option.")
        return value


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is launched on a server: a script and the parameters that it takes.

    `image` is the name of a picture that comes with the library, or a path. `commands` are argument lists, run one
    after the other; of a recipe whose script is the file `script_file` there is one, without its first word. `targets`
    is the node set on which it may be launched, empty for all. `timeout` is in seconds.
    """

    name: str
    label: str
    description: str
    image: str
    parameters: tuple[Parameter, ...]
    commands: tuple[tuple[str, ...], ...]
    script_file: Path | None = None
    targets: str = ""
    timeout: float = 600.0
    changes_node: bool = False
    repeatable: bool = False

    def check(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """The values of all parameters; those that were not given have their default, else None.

        Raises:
            ParametersWrong: some do not fit, or there are no such parameters.
        """
        checked: dict[str, Value] = {}
        errors = {str(name): self._stranger() for name in values if name not in self._names()}
        for parameter in self.parameters:
            try:
                checked[parameter.name] = parameter.check(values.get(parameter.name))
            except ValueError as error:
                errors[parameter.name] = str(error)
        if errors:
            raise ParametersWrong(self.name, errors)
        return checked

    def command_lists(self, server: str, values: Mapping[str, Value]) -> tuple[tuple[str, ...], ...]:
        """The argument lists with the server and checked values in their places; a word stays one word."""
        known = {**values, "server": server}
        return tuple(tuple(fill(word, known) for word in command) for command in self.commands)

    def environment(self, server: str, values: Mapping[str, Value]) -> dict[str, str]:
        """What a script finds in its environment: server, recipe, and ``CM_NAME`` for each parameter `name`."""
        own = {"CM_SERVER": server, "CM_RECIPE": self.name}
        return own | {f"CM_{name.upper()}": spelt(value) for name, value in values.items() if value is not None}

    def _names(self) -> set[str]:
        return {parameter.name for parameter in self.parameters}

    def _stranger(self) -> str:
        known = ", ".join(parameter.name for parameter in self.parameters)
        return f"is no parameter of this recipe; there are {known}." if known else "is one too many; there are none."


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A recipe launched on one server. `error` is a sentence; `worker` took it up last."""

    step_id: str
    job_id: str
    recipe: str
    server: str
    parameters: dict[str, Value]
    state: LaunchState
    error: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    worker: str | None

    @property
    def ended(self) -> bool:
        """Whether the state will not change any more."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Stat:
    """How many launches of a recipe on a server are in a state; of those that ended, how long they took in seconds."""

    recipe: str
    server: str
    state: LaunchState
    count: int
    shortest: float | None
    mean: float | None
    longest: float | None
    latest: datetime


def places(word: str) -> set[str]:
    """The names that stand in a word for values."""
    return {match[2] for match in _PLACE.finditer(word) if match[2]}


def fill(word: str, values: Mapping[str, Value]) -> str:
    """A word with values in their places; one that was not given is empty."""
    return _PLACE.sub(lambda match: f"{{{match[1]}}}" if match[1] else spelt(values[match[2]]), word)


def spelt(value: Value) -> str:
    """A value as a script gets it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _integer(value: Any) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST_INTEGER:
        raise ValueError(f"is {_shown(value)}, which is not a whole number.")
    return value


def _float(value: Any) -> float:
    if isinstance(value, str) and _FLOAT.fullmatch(value.strip()):
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e300 or math.isnan(value):
        raise ValueError(f"is {_shown(value)}, which is not a number.")
    return float(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = _BOOLEANS.get(value.lower()) if isinstance(value, str) else None
    if known is None:
        raise ValueError(f"is {_shown(value)}, which is neither true nor false.")
    return known


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
