"""Outcomes of nodes, those that are alike told once."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.text import Text

from cloudmesh_actors.cli import output
from cloudmesh_actors.nodes import fold

Entry = Mapping[str, Any]

_ADDRESS = re.compile(r" at (?:\[[0-9a-fA-F:.]+\]|[^\s:]+):[0-9]+")


def alike(entries: Iterable[Entry], *keys: str) -> list[tuple[str, Entry]]:
    """Entries with equal values of `keys` as one: their nodes as a set, and the first of them."""
    groups: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[repr([entry.get(key) for key in keys])].append(entry)
    return [(fold(entry["node"] for entry in group), group[0]) for group in groups.values()]


def error_lines(entries: Iterable[Entry], label: str = "") -> Iterator[Text]:
    """The errors of nodes, a line for each kind of sentence; what is a node's own in it is dropped from shared ones."""
    groups: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if not entry["ok"]:
            groups[general(entry)].append(entry)
    for shared, group in groups.items():
        names = fold(entry["node"] for entry in group)
        sentence = shared if len(group) > 1 else own(group[0])
        line = output.text(f"{label}{names}: {sentence}", "red")
        yield line


def own(entry: Entry) -> str:
    """A node's error without its name in front."""
    return str(entry.get("error") or "no reason given").removeprefix(f"{entry['node']}: ")


def general(entry: Entry) -> str:
    """A node's error without name and address, so that those of other nodes read the same."""
    return _ADDRESS.sub("", own(entry))
