"""The five task families, their queues, and how the settings' short texts speak of them.

Cheap to import (the standard library only), so that the command line can name families at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

#: The families. Each has one queue, of the same name.
FAMILIES = ("launcher", "provisioner", "pbs", "rain", "rack")

#: First letters of numbered workers: launcher has l1, l2, ...; a family that is not here has NAME, NAME2, ...
WORKER_LETTERS: Mapping[str, str] = MappingProxyType({"launcher": "l", "provisioner": "p", "pbs": "q"})


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker of the fleet: its name (``l1``) and the family whose queue it works on (``launcher``)."""

    name: str
    family: str


def worker_name(family: str, number: int) -> str:
    """The name of a family's worker; `number` counts from 1 (``l1``; ``rack``, ``rack2``)."""
    letter = WORKER_LETTERS.get(family)
    if letter:
        return f"{letter}{number}"
    return family if number == 1 else f"{family}{number}"


@lru_cache(maxsize=64)
def parse_counts(text: str) -> Mapping[str, int]:
    """``"launcher=2 rack=1"`` as a mapping; a family that is left out has no workers. Raises ValueError."""
    counts = dict.fromkeys(FAMILIES, 0)
    for family, number in _pairs(text):
        if not family:
            raise ValueError(f"each count needs a family, as in rack={number}")
        if number > 99:
            raise ValueError(f"{family}={number} is more than 99 workers")
        counts[family] = number
    return MappingProxyType(counts)


@lru_cache(maxsize=256)
def parse_limits(text: str, default: str, lowest: int) -> Mapping[str, int]:
    """``"8 rack=4"`` as a mapping of every family: a bare number is for all, ``family=number`` for one.

    What the text leaves open is as in `default`, a text of the same kind that begins with a bare number.
    Raises ValueError for a number below `lowest`.
    """
    numbers = dict(_pairs(text))
    for number in numbers.values():
        if number < lowest:
            raise ValueError(f"{number} is less than {lowest}")
    if "" not in numbers and text != default:
        numbers = dict(_pairs(default)) | numbers
    return MappingProxyType({family: numbers.get(family, numbers.get("", lowest)) for family in FAMILIES})


def _pairs(text: str) -> Iterator[tuple[str, int]]:
    seen: set[str] = set()
    for word in re.split(r"[\s,]+", text.strip()):
        family, _, number = word.rpartition("=")
        if "=" in word and family not in FAMILIES:
            raise ValueError(f"{family!r} is not a family; the families are {', '.join(FAMILIES)}")
        if not re.fullmatch(r"[0-9]{1,9}", number):
            raise ValueError(f"{word!r} is not of the form family=number")
        if family in seen:
            raise ValueError(f"{family or 'the number for all families'} is given twice")
        seen.add(family)
        yield family, int(number)
