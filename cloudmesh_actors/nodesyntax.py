"""The syntax of node sets: operands between operators, each a name with ranges in brackets.

Nothing is expanded here; `count` says how many names an operand stands for by looking at its ranges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod

from cloudmesh_actors.errors import NodeSetError

#: The longest text of a set, in characters.
MAX_TEXT = 4_000_000

#: The longest node name, as DNS has it.
MAX_NAME = 253

_OPERAND = re.compile(r"([^\[\],!&^]*(?:\[[^\[\]]*\][^\[\],!&^]*)*)([\[\],!&^]|\Z)")
_OPERATOR = re.compile(r"[,!&^]")
_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,64})(?:\s*-\s*([0-9]{1,64})(?:/([0-9]{1,18}))?)?")
_NAME = re.compile(r"[A-Za-z0-9:][A-Za-z0-9_.:-]*")


def split(text: str) -> Iterator[tuple[str, str]]:
    """Each operand with the operator before it; the first one is added (",") to nothing. Raises NodeSetError."""
    if len(text) > MAX_TEXT:
        raise NodeSetError(f"the node set is longer than {MAX_TEXT:,} characters", part=text[:40])
    if not text.strip():
        raise NodeSetError("the node set is empty")
    sign = ","
    for match in _OPERAND.finditer(text):
        piece, stop = match[1].strip(), match[2]
        if stop in ("[", "]"):
            raise _bracket_error(text, match.start(2))
        if not piece:
            raise NodeSetError(f"a name is missing {_place(match.start(), sign, stop)}", part=stop or sign)
        yield sign, piece
        if not stop:
            return
        sign = stop


def _place(start: int, sign: str, stop: str) -> str:
    if start == 0:
        return f"before {stop!r}"
    return f"between {sign!r} and {stop!r}" if stop else f"after {sign!r}"


def _bracket_error(text: str, position: int) -> NodeSetError:
    part = shorten(text[max(0, position - 20) : position + 20])
    if text[position] == "]":
        return NodeSetError(f"a bracket is closed that was not opened: {part!r}", part=part)
    if "[" in text[position + 1 :].partition("]")[0]:
        return NodeSetError(f"a bracket is opened within a bracket: {part!r}", part=part)
    return NodeSetError(f"a bracket is not closed: {part!r}", part=part)


def count(piece: str) -> int:
    """How many names the brackets of an operand stand for. Raises NodeSetError if the operand is malformed."""
    _check_name(piece)
    return prod(_bracket_size(inner, piece) for inner in _BRACKET.findall(piece))


def is_one_range(text: str) -> bool:
    """Whether a valid set is a single name, or one with a single ascending range."""
    ranges = _BRACKET.findall(text)
    return len(ranges) <= 1 and "," not in "".join(ranges) and not _OPERATOR.search(_BRACKET.sub("", text))


def _check_name(piece: str) -> None:
    """What remains of an operand without its brackets and special signs has to be a name."""
    shown = shorten(piece)
    bare = _BRACKET.sub("0", piece.removeprefix("@"))
    if piece == "@*" or (piece[0] == "@" and piece.endswith(":*")):
        bare = bare[:-1] + "0"
    elif piece[0] != "@":
        bare = bare.replace("*", "0").replace("?", "0")
    if len(bare) > MAX_NAME:
        raise NodeSetError(f"{shown!r} is longer than {MAX_NAME} characters", part=piece)
    if _NAME.fullmatch(bare):
        return
    wrong = re.sub(r"[A-Za-z0-9_.:-]", "", bare)
    if wrong and wrong[0].isspace():
        raise NodeSetError(f"{shown!r} has a blank in it; names are separated by ','", part=piece)
    raise NodeSetError(
        f"{shown!r} is not a node name" + (f": {wrong[0]!r} cannot be in it" if wrong else ""), part=piece
    )


def _bracket_size(inner: str, piece: str) -> int:
    return sum(_range_size(subrange, piece) for subrange in inner.split(","))


def _range_size(subrange: str, piece: str) -> int:
    match = _RANGE.fullmatch(subrange.strip())
    if not match:
        what = f"{shorten(subrange.strip())!r} is not a range" if subrange.strip() else "there is an empty range"
        raise NodeSetError(f"in {shorten(piece)!r}: {what}", part=subrange)
    first, last, step = match[1], match[2] or match[1], int(match[3] or 1)
    if step == 0:
        raise NodeSetError(f"in {shorten(piece)!r}: the step of {subrange!r} is 0", part=subrange)
    if int(last) < int(first):
        raise NodeSetError(f"in {shorten(piece)!r}: {subrange!r} runs backwards", part=subrange)
    if len(first) != len(last) and "0" in (first[0], last[0]) and first != "0":
        raise NodeSetError(f"in {shorten(piece)!r}: the ends of {subrange!r} are not equally wide", part=subrange)
    return (int(last) - int(first)) // step + 1


def shorten(text: str) -> str:
    """The text, or so much of it as fits a sentence."""
    return text if len(text) <= 60 else f"{text[:57]}..."
