"""How the words after an actor's name become its arguments. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn

from cloudmesh_actors.errors import ArgumentError

_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def parse(words: Iterable[str], known: Iterable[str]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments: ``NAME=VALUE`` is a named one, everything else a positional one.

    A text that holds ``=`` after a name is written as JSON (``'"a=b"'``) or with its argument's name (``text=a=b``).

    Raises:
        ArgumentError: a name that is not in `known`, or given twice, or followed by a positional argument.
    """
    names = list(known)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        named = _NAMED.fullmatch(word)
        if named is None and kwargs:
            raise ArgumentError(f"{word!r} comes after a named argument; write it before, or with its name.")
        if named is None:
            args.append(value(word))
            continue
        _check_name(named[1], word, names, kwargs)
        kwargs[named[1]] = value(named[2])
    return args, kwargs


def value(word: str) -> Any:
    """JSON if it parses, else the text itself. NaN and infinities are no JSON."""
    try:
        return json.loads(word, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return word


def _check_name(name: str, word: str, known: list[str], given: dict[str, Any]) -> None:
    if name in given:
        raise ArgumentError(f"The argument {name} is given twice.")
    if name not in known:
        near = get_close_matches(name, known, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}."
        text = f" To send {word!r} as text, write it as JSON: '\"{word}\"'."
        raise ArgumentError(f"There is no argument {name!r}; {hint}{text}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
