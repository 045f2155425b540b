"""Prints records as the programs do that qstat's parsers read: for tests, the fuzz target and benchmarks.

A listing is a list of `(name, attributes)`, attributes under the names of the text listing (`Resource_List.walltime`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

Listing = Sequence[tuple[str, Mapping[str, str]]]

#: The column at which Torque and OpenPBS break lines.
WIDTH = 80

#: The elements of Torque's XML and what names a record in them; OpenPBS's JSON objects.
ELEMENTS = {"jobs": ("Job", "Job_Id"), "queues": ("Queue", "name"), "nodes": ("Node", "name")}
CONTAINERS = {"jobs": "Jobs", "queues": "Queue", "nodes": "nodes"}
HEADINGS = {"jobs": "Job Id:", "queues": "Queue:"}


def text(listing: Listing, kind: str = "jobs", *, width: int | None = WIDTH) -> str:
    """`qstat -f`, `qstat -Q -f` or `pbsnodes -a` of Torque and OpenPBS; `width=None` is `-f1` and `-w`."""
    heading, indent = (f"{HEADINGS[kind]} ", 4) if kind in HEADINGS else ("", 5)
    lines: list[str] = []
    for name, attributes in listing:
        lines.append(f"{heading}{name}")
        for key, value in attributes.items():
            line = f"{' ' * indent}{key} = "
            lines.append(line + (value if width is None or kind == "nodes" else _wrapped(value, len(line), width)))
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def _wrapped(value: str, column: int, width: int) -> str:
    """Broken after commas, and in mid-word where an item alone is too long for a line."""
    out: list[str] = []
    for number, item in enumerate(value.split(",")):
        if number:
            out.append(",")
        if column + len(item) < width:
            out.append(item)
            column += len(item)
            continue
        if number:
            out.append("\n\t")
            column = 9
        for character in item:
            out.append(character)
            column += 1
            if column > width:
                out.append("\n\t")
                column = 8
    return "".join(out)


def slurm(listing: Listing, kind: str = "jobs") -> str:
    """The same of Slurm's wrapper."""
    heading, indent = (f"{HEADINGS[kind]}\t", "\t") if kind in HEADINGS else ("", "    ")
    return "".join(
        f"{heading}{name}\n" + "".join(f"{indent}{key} = {value}\n" for key, value in attributes.items()) + "\n"
        for name, attributes in listing
    )


def xml(listing: Listing, kind: str = "jobs", *, escaped: bool = True) -> str:
    """`qstat -x` and `pbsnodes -x` of Torque; old versions escape nothing, and print `<` as the character 14."""
    element, key = ELEMENTS[kind]
    records = "".join(
        f"<{element}>{''.join(_elements({key: name, **attributes}, escaped))}</{element}>"
        for name, attributes in listing
    )
    return f'<?xml version="1.0"?>\n<Data>{records}</Data>\n'


def _elements(attributes: Mapping[str, str], escaped: bool) -> Iterator[str]:
    for group, items in groupby(attributes.items(), lambda item: item[0].rpartition(".")[0]):
        leaves = "".join(_leaf(key.rpartition(".")[2], value, escaped) for key, value in items)
        yield f"<{group}>{leaves}</{group}>" if group else leaves


def _leaf(name: str, value: str, escaped: bool) -> str:
    if escaped:
        value = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<{name}>{value.replace('<', chr(14))}</{name}>"


def json(listing: Listing, kind: str = "jobs", *, old: bool = False) -> str:
    """`-F json` of OpenPBS; before 2024 indented by spaces, and whatever strtod(3) takes for a number is bare."""
    tab, colon = ("    ", ":") if old else ("\t", ":\t")
    records = [
        f"{tab * 2}{quoted(name)}{colon}" + _object(_members(attributes, tab, colon, old), tab * 2)
        for name, attributes in listing
    ]
    header = ('"timestamp"', "1795349888"), ('"pbs_version"', '"23.06.06"'), ('"pbs_server"', '"i136"')
    members = [f"{tab}{key}{colon}{value}" for key, value in header]
    members.append(f'{tab}"{CONTAINERS[kind]}"{colon}{_object(records, tab)}')
    return _object(members, "") + "\n"


def _object(members: Iterable[str], indent: str) -> str:
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"


def _members(attributes: Mapping[str, str], tab: str, colon: str, old: bool) -> Iterator[str]:
    for group, items in groupby(attributes.items(), lambda item: item[0].rpartition(".")[0]):
        if group:
            members = [f"{tab * 4}{quoted(key.rpartition('.')[2])}{colon}{_scalar(value, old)}" for key, value in items]
            yield f"{tab * 3}{quoted(group)}{colon}{_object(members, tab * 3)}"
            continue
        for key, value in items:
            yield f"{tab * 3}{quoted(key)}{colon}{_value(key, value, tab, colon, old)}"


def _value(key: str, value: str, tab: str, colon: str, old: bool) -> str:
    if key == "Variable_List":
        pairs = [item.partition("=") for item in value.split(",")] if value else []
        return _object([f"{tab * 4}{quoted(name)}{colon}{_scalar(item, old)}" for name, _, item in pairs], tab * 3)
    if key == "jobs":
        return f"[{', '.join(quoted(item) for item in value.split(', '))}]"
    return _scalar(value, old)


def _scalar(value: str, old: bool) -> str:
    return value if _bare(value, old) else quoted(value)


def _bare(value: str, old: bool) -> bool:
    if not old:
        return len(value) < 16 and value.isascii() and value.isdecimal() and str(int(value)) == value
    try:
        float(value)
    except ValueError:
        return not value
    return "_" not in value


def quoted(value: str) -> str:
    """A JSON string as cJSON writes it, which leaves all but ASCII's controls as it is."""
    for character, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        value = value.replace(character, escape)
    return '"' + "".join(f"\\u{ord(c):04x}" if c < " " else c for c in value) + '"'
