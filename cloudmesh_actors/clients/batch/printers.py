"""Prints simulated records as qstat and pbsnodes do, in each dialect.

A listing is a list of `(name, attributes)`, the attributes under the names of the text listing
(`Resource_List.walltime`). A value that is a whole number is a moment in seconds since the epoch: Torque's XML has it
as it is, all others as ctime(3) writes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal
from xml.sax.saxutils import escape

import orjson

Kind = Literal["jobs", "queues", "nodes"]
Value = str | int
Record = tuple[str, Mapping[str, Value]]
Listing = Sequence[Record]

#: The column before which lines are broken in text, and the text before the name of a record.
WIDTH = 80
HEADINGS: Mapping[Kind, str] = {"jobs": "Job Id:", "queues": "Queue:", "nodes": ""}

#: Torque's element for a record and for its name; OpenPBS's object of all records.
ELEMENTS: Mapping[Kind, tuple[str, str]] = {
    "jobs": ("Job", "Job_Id"),
    "queues": ("Queue", "name"),
    "nodes": ("Node", "name"),
}
CONTAINERS: Mapping[Kind, str] = {"jobs": "Jobs", "queues": "Queue", "nodes": "nodes"}

#: Attributes that OpenPBS's JSON has as numbers, and as a list.
NUMBERS = frozenset({"total_jobs", "Priority", "Port", "pcpus", "run_count"})
LISTS = frozenset({"jobs"})


def text(listing: Listing, kind: Kind) -> bytes:
    """Torque's and OpenPBS's `qstat -f`, `qstat -Q -f` and `pbsnodes -a`."""
    indent = "     " if kind == "nodes" else "    "
    heading = f"{HEADINGS[kind]} ".lstrip()
    lines: list[str] = []
    for name, attributes in listing:
        lines.append(f"{heading}{name}")
        for key, value in attributes.items():
            line = f"{indent}{key} = {_shown(value)}"
            lines.append(line if kind == "nodes" else _folded(line))
        lines.append("")
    return _encoded(lines)


def slurm(listing: Listing, kind: Kind) -> bytes:
    """The same of Slurm's wrapper."""
    heading, indent = ("", "    ") if kind == "nodes" else (f"{HEADINGS[kind]}\t", "\t")
    lines: list[str] = []
    for name, attributes in listing:
        lines.append(f"{heading}{name}")
        lines.extend(f"{indent}{key} = {_shown(value)}" for key, value in attributes.items())
        lines.append("")
    return _encoded(lines)


def xml(listing: Listing, kind: Kind) -> bytes:
    """Torque's `qstat -x` and `pbsnodes -x`."""
    element, key = ELEMENTS[kind]
    records = "".join(f"<{element}>{_children({key: name, **found})}</{element}>" for name, found in listing)
    return f'<?xml version="1.0"?>\n<Data>{records}</Data>\n'.encode()


def json(listing: Listing, kind: Kind, server: str, now: float) -> bytes:
    """OpenPBS's `-F json`, which leaves out a container that would be empty."""
    records = {name: _members(attributes) for name, attributes in listing}
    header = {"timestamp": int(now), "pbs_version": "23.06.06", "pbs_server": server}
    found = {**header, CONTAINERS[kind]: records} if records else header
    return orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n"


def _encoded(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(value))


def _folded(line: str) -> str:
    """Broken after a comma if there is one, else in mid-word; what follows is behind a tab."""
    parts: list[str] = []
    while len(line) >= WIDTH:
        comma = line.rfind(",", 0, WIDTH - 1)
        cut = comma + 1 if comma > 0 else WIDTH - 2
        parts.append(line[:cut])
        line = f"\t{line[cut:]}"
    return "\n".join([*parts, line])


def _children(attributes: Mapping[str, Value]) -> str:
    return "".join(
        f"<{group}>{''.join(leaves)}</{group}>" if group else "".join(leaves)
        for group, leaves in ((group, [_leaf(*item) for item in items]) for group, items in _grouped(attributes))
    )


def _leaf(name: str, value: Value) -> str:
    return f"<{name}>{escape(str(value))}</{name}>"


def _members(attributes: Mapping[str, Value]) -> dict[str, object]:
    found: dict[str, object] = {}
    for group, items in _grouped(attributes):
        members = {name: _member(name, value) for name, value in items}
        found.update({group: members} if group else members)
    return found


def _member(name: str, value: Value) -> object:
    shown = _shown(value)
    if name == "Variable_List":
        return dict(item.partition("=")[::2] for item in shown.split(","))
    if name in LISTS:
        return shown.split(", ")
    return int(shown) if name in NUMBERS else shown


def _grouped(attributes: Mapping[str, Value]) -> Iterator[tuple[str, list[tuple[str, Value]]]]:
    """Attributes by group: those of `Resource_List.walltime` are `walltime` in "Resource_List"; "" is no group."""
    for group, items in groupby(attributes.items(), lambda item: item[0].rpartition(".")[0]):
        yield group, [(key.rpartition(".")[2], value) for key, value in items]
