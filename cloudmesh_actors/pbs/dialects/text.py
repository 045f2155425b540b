"""`qstat -f`, `qstat -Q -f` and `pbsnodes -a` as text: Torque's, OpenPBS's, and that of Slurm's wrapper.

A record is a heading at the margin, then ``    name = value`` lines, then an empty line, the last record too, which is
how a whole output is told from one that was cut off. Long values go on after a line break and a tab, in mid-word where
they must; `-f1` and `-w` do not wrap, and Slurm's wrapper, which indents by one tab, never does. A user's environment
may hold line breaks, and so empty lines and lines that look like ours: a record begins only at a heading after an empty
line, and the first value of a name stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from cloudmesh_actors.pbs.dialects import Found, Kind, Report, Source, complain, decoded, merged

#: What opens a record, and the first attribute that follows; a node's heading is its bare name.
HEADINGS = {Kind.JOBS: (b"Job Id:", b"Job_Name"), Kind.QUEUES: (b"Queue:", b"queue_type"), Kind.NODES: (b"", b"state")}

#: How many of the latest lines are remembered: most of a record's are in the records before it.
REMEMBERED = 8192

Pair = tuple[str, str]
Split = Callable[[str], Pair | None]

_ATTRIBUTE = re.compile(r"(\S+) =(?: (.*))?", re.DOTALL)
_INDENT = re.compile(r"[ \t]+(?=\S+ =)")


def read(source: Source, kind: Kind, report: Report) -> Iterator[Found]:
    """The records of a text listing."""
    heading, first = HEADINGS[kind]
    prefix = heading.decode()
    wrapped, unwrapped = lru_cache(REMEMBERED)(_wrapped_pair), lru_cache(REMEMBERED)(_pair)
    for offset, block in _whole_records(source, heading, first, report):
        title, _, body = decoded(block).rstrip("\n").partition("\n")
        name = title.removeprefix(prefix).strip()
        indent = _INDENT.match(body)
        if not name or indent is None:
            report(offset, name, "no attributes follow its heading" if name else "it has no id")
            continue
        split = unwrapped if indent[0] == "\t" else wrapped
        yield offset, name, _attributes(body.removeprefix(indent[0]).split("\n" + indent[0]), split, "\n" + indent[0])


def _whole_records(source: Source, heading: bytes, first: bytes, report: Report) -> Iterator[tuple[int, bytes]]:
    boundary = re.compile(
        rb"(?<=\n)(?=%b[^\n]*\n[ \t]+%b =)|(?<=\n\n)(?=\S[^\n]*\n[ \t]+%b =|(?:qstat|pbsnodes): )"
        % (heading or rb"(?!)", first, first)
    )
    for offset, block in _blocks(source, heading):
        if block.find(b"\n\n") == len(block) - 2 and (not heading or block.find(b"\n" + heading) < 0):
            yield offset, block
        else:
            yield from _untangled(source, offset, block, heading, boundary, report)


def _blocks(source: Source, heading: bytes) -> Iterator[tuple[int, bytes]]:
    """The output from one heading that follows an empty line to the next such."""
    data, begin, mark = source.data, source.begin, b"\n\n" + heading
    while (end := data.find(mark, begin)) >= 0:
        yield begin, data[begin : end + 2]
        begin = end + 2
        while data.startswith(b"\n", begin):
            begin += 1
    if data[begin:].strip():
        yield begin, data[begin:]


def _untangled(
    source: Source, offset: int, block: bytes, heading: bytes, boundary: re.Pattern[bytes], report: Report
) -> Iterator[tuple[int, bytes]]:
    """The whole records of a block that has an empty line, a heading or a complaint inside, or no end."""
    cuts = [0, *(match.start() for match in boundary.finditer(block)), len(block)]
    for begin, end in zip(cuts, cuts[1:], strict=False):
        piece, start = block[begin:end], offset + begin
        if complain(source, start, piece, report):
            continue
        name = decoded(piece.partition(b"\n")[0].removeprefix(heading)).strip()
        if not piece.endswith(b"\n\n"):
            if start + len(piece) == len(source.data):
                raise source.error("the output is cut off in this record, or does not end after it", start, name)
            report(start, name, "it is cut off: the next record begins inside it")
        elif not piece.startswith(heading):
            report(start, name, "its heading cannot be read")
        else:
            yield start, piece


def _pair(line: str) -> Pair | None:
    match = _ATTRIBUTE.fullmatch(line)
    return (match[1], match[2] or "") if match else None


def _wrapped_pair(line: str) -> Pair | None:
    return _pair(line.replace("\n\t", ""))


def _attributes(lines: list[str], split: Split, separator: str) -> dict[str, str]:
    pairs = list(map(split, lines))
    if None not in pairs:
        attributes = dict(pairs)  # type: ignore[arg-type]
        if len(attributes) == len(pairs):
            return attributes
    return _disentangled(_with_stray_lines(lines, pairs, separator))


def _with_stray_lines(lines: list[str], pairs: Iterable[Pair | None], separator: str) -> Iterator[Pair]:
    """A line that is no attribute belongs to the value before it: it came from a user's environment."""
    name, value = "", ""
    for line, pair in zip(lines, pairs, strict=True):
        if pair is None:
            value += separator + line
            continue
        if name:
            yield name, value
        name, value = pair
    yield name, value


def _disentangled(pairs: Iterable[Pair]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, value in pairs:
        attributes[name] = merged(attributes[name], value) if name in attributes else value
    return attributes
