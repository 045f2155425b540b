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


def is_per_node(result: Any) -> bool:
    """Whether a result is an array with an entry per node."""
    return _has_entries(result, "node")


def is_per_server(result: Any) -> bool:
    """Whether a result is an array with an entry per batch server."""
    return _has_entries(result, "server")


def _has_entries(result: Any, key: str) -> bool:
    return (
        isinstance(result, list)
        and bool(result)
        and all(isinstance(entry, dict) and {key, "ok"} <= entry.keys() for entry in result)
    )


def alike(entries: Iterable[Entry], *keys: str) -> list[tuple[str, Entry]]:
    """Entries with equal values of `keys` as one: their nodes as a set, and the first of them."""
    groups: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[repr([entry.get(key) for key in keys])].append(entry)
    return [(fold(entry["node"] for entry in group), group[0]) for group in groups.values()]


def error_lines(entries: Iterable[Entry], label: str = "") -> Iterator[Text]:
    """The errors of nodes, a line for each sentence."""
    for names, sentence in shared_errors(entry for entry in entries if not entry["ok"]):
        yield output.text(f"{label}{names}: {sentence}", "red")


def shared_errors(entries: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """Sets of nodes and their error; what is a node's own in it is dropped from one that several share."""
    groups: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[general(entry)].append(entry)
    for sentence, group in groups.items():
        yield fold(entry["node"] for entry in group), sentence if len(group) > 1 else own(group[0])


def own(entry: Entry) -> str:
    """A node's error without its name in front."""
    return str(entry.get("error") or "no reason given").removeprefix(f"{entry['node']}: ")


def general(entry: Entry) -> str:
    """A node's error without its name and address, so that those of other nodes read the same."""
    return re.sub(rf"\b{re.escape(entry['node'])}\b", "it", _ADDRESS.sub("", own(entry)))
