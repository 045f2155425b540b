"""`qstat -f`, `qstat -Q -f` and `pbsnodes -a` as text: Torque's, OpenPBS's, and that of Slurm's wrapper.

A record is a heading at the margin, then ``    name = value`` lines, then an empty line, the last record too, which is
how a whole output is told from one that was cut off. Long values go on after a line break and a tab, in mid-word where
they must; `-f1` and `-w` do not wrap, and Slurm's wrapper, which indents by one tab, never does. A user's environment
may hold line breaks, and so empty lines and lines that look like ours: a record begins only at a heading after an empty
line, and the first value of a name stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from sys import intern

from cloudmesh_actors.pbs.dialects import JOB_FIELDS, Found, Kind, Report, Source, complain, decoded, merged
from cloudmesh_actors.pbs.model import Attributes

#: How many of the names of attributes are remembered.
REMEMBERED = 1024

_NAME = re.compile(r"[^\s=]+")
_INDENT = re.compile(r"\n[ \t]+(?=\S+ =)")
_NAMES = "|".join(map(re.escape, JOB_FIELDS))
_FIELDS = {indent: re.compile(rf"{indent}({_NAMES}) = (.*)") for indent in ("\n    ", "\n\t")}


class _Layout:
    """What opens a record, a node's bare name excepted, and what shows that one begins where its heading is damaged."""

    def __init__(self, heading: bytes, first_attribute: bytes) -> None:
        self.heading = heading
        self.boundary = re.compile(
            rb"(?<=\n)(?=%b[^\n]*\n[ \t]+%b =)|(?<=\n\n)(?=\S[^\n]*\n[ \t]+%b =|(?:qstat|pbsnodes): )"
            % (heading or rb"(?!)", first_attribute, first_attribute)
        )


LAYOUTS = {
    Kind.JOBS: _Layout(b"Job Id:", b"Job_Name"),
    Kind.QUEUES: _Layout(b"Queue:", b"queue_type"),
    Kind.NODES: _Layout(b"", b"state"),
}


def read(source: Source, kind: Kind, report: Report) -> Iterator[Found]:
    """The records of a text listing."""
    layout = LAYOUTS[kind]
    for offset, block in _records(source, layout, report):
        text = decoded(block)
        indent = _INDENT.search(text)
        name = text[len(layout.heading) : indent.start() if indent else None].strip()
        if indent is None or not name or "\n" in name:
            if not complain(source, offset, block, report):
                reason = "no attributes follow its heading" if name else "it has no name"
                report(offset, name.partition("\n")[0], reason)
            continue
        if kind is Kind.JOBS and indent[0] in _FIELDS:
            fields = dict(reversed(_FIELDS[indent[0]].findall(_unwrapped(text, indent))))
            yield offset, name, fields, Attributes(source.data, offset, offset + len(block), attributes)
        else:
            everything = Attributes.of(attributes(block))
            yield offset, name, everything, everything


def _records(source: Source, layout: _Layout, report: Report) -> Iterator[tuple[int, bytes]]:
    """Each record, up to the empty line that ends it."""
    data, begin = source.data, source.begin
    inside, between = b"\n" + layout.heading, b"\n\n" + layout.heading
    while begin < len(data):
        end = data.find(b"\n\n", begin)
        is_clean = end >= 0 and data.startswith(layout.heading, end + 2)
        if not is_clean:
            end = data.find(between, begin)
        block = data[begin : end + 2] if end >= 0 else data[begin:]
        if is_clean and (not layout.heading or block.find(inside) < 0):
            yield begin, block
        else:
            yield from _untangled(source, begin, block, layout, report)
        begin += len(block)
        while data.startswith(b"\n", begin):
            begin += 1


def _untangled(
    source: Source, offset: int, block: bytes, layout: _Layout, report: Report
) -> Iterator[tuple[int, bytes]]:
    """The whole records of a block that is the last, or has an empty line, a heading or a complaint inside."""
    cuts = [0, *(match.start() for match in layout.boundary.finditer(block)), len(block)]
    for begin, end in pairwise(cuts):
        piece, start = block[begin:end], offset + begin
        if complain(source, start, piece, report):
            continue
        name = decoded(piece.partition(b"\n")[0].removeprefix(layout.heading)).strip()
        if not piece.endswith(b"\n\n"):
            if start + len(piece) == len(source.data):
                raise source.error("the output is cut off in this record, or goes on after it", start, name)
            report(start, name, "it is cut off: the next record begins inside it")
        elif not piece.startswith(layout.heading):
            report(start, name, "its heading cannot be read")
        else:
            yield start, piece


def _unwrapped(text: str, indent: re.Match[str]) -> str:
    """The attributes of a record, no longer wrapped; a record that is indented by a tab never was."""
    text = text[indent.start() :]
    return text if indent[0] == "\n\t" else text.replace("\n\t", "")


def attributes(block: bytes) -> dict[str, str]:
    """All attributes of a record, from its heading to its end."""
    text = decoded(block)
    indent = _INDENT.search(text)
    if indent is None:
        return {}
    found: dict[str, str] = {}
    last = ""
    for line in _unwrapped(text, indent).removeprefix(indent[0]).rstrip("\n").split(indent[0]):
        name, _, value = line.partition(" = ")
        if not _is_name(name):
            name, value = _unusual(line)
        if not name:  # from a user's environment: it goes on with the value before it
            if last:
                found[last] += indent[0] + line
        elif name in found:
            found[name], last = merged(found[name], value), ""
        else:
            last = intern(name)
            found[last] = value
    return found


@lru_cache(REMEMBERED)
def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def _unusual(line: str) -> tuple[str, str]:
    """A line that has lost the blank behind its equal sign; else no name."""
    name, equals, value = line.partition(" =")
    return (name, "") if equals and not value and _is_name(name) else ("", "")
