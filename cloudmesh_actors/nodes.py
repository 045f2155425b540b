"""Node sets: ``i[001-128]``, ``r[1-2]n[1-3]``, groups ``@india``, algebra ``@india!i[001-004]``, wildcards ``i00*``.

The syntax is clush's: ``,`` adds, ``!`` takes away, ``&`` keeps what both have, ``^`` what only one has; all from left
to right, none before another. ClusterShell reads and folds the ranges; groups come from the caller alone, never from
the system's group files, and no text is expanded before the sizes of its ranges are known.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException
from ClusterShell.RangeSet import RangeSet

from cloudmesh_actors import nodesyntax
from cloudmesh_actors.errors import NodeSetError, UnknownNode
from cloudmesh_actors.nodesyntax import shorten

#: The most nodes a set may name, at any step of its algebra.
MAX_NODES = 100_000

#: The most names that may be looked at in the whole of an expression.
MAX_WORK = 5 * MAX_NODES

#: Each wildcard is compared with every node: ``i*[1-100]`` are a hundred.
MAX_WILDCARDS = 100

#: The group of all nodes.
ALL = "all"

_NUMBER = re.compile(r"([0-9]+)")

_OPERATIONS: Mapping[str, Callable[[set[str], frozenset[str]], None]] = {
    ",": set.update,
    "!": set.difference_update,
    "&": set.intersection_update,
    "^": set.symmetric_difference_update,
}


class Groups:
    """Named groups of nodes; ``@NAME`` in a set stands for one. The group `ALL` is what wildcards look at."""

    def __init__(self, members: Mapping[str, Iterable[str]]) -> None:
        self._members = dict(members)
        self._sorted: dict[str, tuple[str, ...]] = {}
        self._sets: dict[str, frozenset[str]] = {}

    def __contains__(self, group: object) -> bool:
        return group in self._members

    def names(self) -> tuple[str, ...]:
        """All groups' names, without the ``@``."""
        return tuple(self._members)

    def members(self, group: str) -> tuple[str, ...]:
        """The group's nodes, sorted once. Raises UnknownNode."""
        if group not in self._sorted:
            self._sorted[group] = tuple(sorted(self._find(group), key=sort_key))
        return self._sorted[group]

    def member_set(self, group: str) -> frozenset[str]:
        """The group's nodes as a set, made once. Raises UnknownNode."""
        if group not in self._sets:
            self._sets[group] = frozenset(self._find(group))
        return self._sets[group]

    def _find(self, group: str) -> Iterable[str]:
        found = self._members.get(ALL if group == "*" else group)
        if found is not None:
            return found
        if not self._members:
            raise NodeSetError(f"groups such as @{group} cannot be used here", part=f"@{group}")
        raise UnknownNode(f"there is no group @{group}{near_miss(group, self._members, '@')}")


NO_GROUPS = Groups({})


@dataclass(frozen=True, slots=True)
class _Operand:
    """One piece of a set between two operators. `size` is how many names it can stand for at most."""

    operation: str
    text: str
    size: int


def expand(text: str, groups: Groups = NO_GROUPS) -> tuple[str, ...]:
    """All names of a set, each once, sorted by pattern and then by numbers.

    Raises NodeSetError (with the faulty part) for a text that is no set or stands for more than `MAX_NODES`
    names, within milliseconds; UnknownNode for a group that does not exist.
    """
    operands = _parse(text, groups)
    _check_size(operands)
    if len(operands) == 1:
        return _expand_alone(operands[0].text, groups)
    names: set[str] = set()
    for operand in operands:
        _OPERATIONS[operand.operation](names, _evaluate(operand.text, groups))
    return tuple(sorted(names, key=sort_key))


def _expand_alone(piece: str, groups: Groups) -> tuple[str, ...]:
    """The names of a set without algebra; a known group and a single range need no sorting."""
    if piece[0] == "@" and piece[1:] in groups:
        return groups.members(piece[1:])
    if piece[0] != "@" and not _is_wild(piece) and piece.count("[") <= 1:
        return _plain_names(piece)
    return tuple(sorted(_evaluate(piece, groups), key=sort_key))


def at_most(text: str, groups: Groups = NO_GROUPS) -> int:
    """How many nodes a set may stand for, found without expanding it. Raises as `expand` does."""
    return _check_size(_parse(text, groups))


def expand_ordered(text: str) -> tuple[str, ...]:
    """The names of a set whose order is beyond doubt: a single name or one ascending range, ``10.0.0.[1-64]``.

    For sets that are paired with one another, since ClusterShell sorts what it reads. Raises NodeSetError.
    """
    names = expand(text)
    if not nodesyntax.is_one_range(text):
        raise NodeSetError(
            f"{shorten(text)!r} is not one ascending range, as sets that are paired have to be", part=text
        )
    return names


def fold(names: Iterable[str]) -> str:
    """The shortest usual way to write these names: ``i[001-003],login``. The empty text for no names.

    `expand` gives the names back.
    """
    patterns: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for name in names:
        patterns[_pattern(name)].append(tuple(_NUMBER.findall(name)))
    return ",".join(pattern % vector for pattern in sorted(patterns) for vector in _fold_vectors(patterns[pattern]))


def sort_key(name: str) -> tuple[str, list[tuple[int, str]]]:
    """ClusterShell's order: by the text around the numbers, then by each number's width and value."""
    parts = _NUMBER.split(name)
    return "%s".join(parts[::2]), [(len(digits), digits) for digits in parts[1::2]]


def near_miss(word: str, known: Iterable[str], prefix: str = "") -> str:
    """``; did you mean i001?`` for the known word most like this one, or nothing."""
    match = difflib.get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {prefix}{match[0]}?" if match else ""


def near_node(name: str, known: Iterable[str]) -> str:
    """Like `near_miss`, but a name whose numbers are only padded differently comes first: i001 for i01."""
    known = tuple(known)
    plain = _unpadded(name)
    return next((f"; did you mean {other}?" for other in known if _unpadded(other) == plain), near_miss(name, known))


def _parse(text: str, groups: Groups) -> list[_Operand]:
    return [_Operand(sign, piece, _size(piece, groups)) for sign, piece in nodesyntax.split(text)]


def _size(piece: str, groups: Groups) -> int:
    """How many names the operand may stand for, found without making any. Raises if it is malformed."""
    count = nodesyntax.count(piece)
    if count > MAX_NODES:
        raise _too_many(piece)
    if piece[0] == "@":
        return sum(len(groups.members(group)) for group in _group_names(piece))
    if _is_wild(piece):
        return _wildcard_size(piece, count, groups)
    return count


def _wildcard_size(piece: str, count: int, groups: Groups) -> int:
    if ALL not in groups:
        raise NodeSetError(f"{shorten(piece)!r}: a wildcard can only be used where the nodes are known", part=piece)
    if count > MAX_WILDCARDS:
        raise NodeSetError(f"{shorten(piece)!r} is more than {MAX_WILDCARDS} wildcards", part=piece)
    return len(groups.members(ALL))


def _check_size(operands: Iterable[_Operand]) -> int:
    size = work = 0
    for operand in operands:
        work += operand.size
        if operand.operation == "&":
            size = min(size, operand.size)
        elif operand.operation != "!":
            size += operand.size
        if size > MAX_NODES or work > MAX_WORK:
            raise _too_many(operand.text)
    return size


def _too_many(piece: str) -> NodeSetError:
    shown = shorten(piece)
    return NodeSetError(f"with {shown!r} the set has more than {MAX_NODES:,} nodes", part=piece)


def _evaluate(piece: str, groups: Groups) -> frozenset[str]:
    if piece[0] == "@":
        return frozenset().union(*(groups.member_set(group) for group in _group_names(piece)))
    if _is_wild(piece):
        masks = _plain_names(piece)
        return frozenset(name for name in groups.members(ALL) if any(fnmatchcase(name, mask) for mask in masks))
    return frozenset(_plain_names(piece))


def _group_names(piece: str) -> tuple[str, ...]:
    return _plain_names(piece.removeprefix("@"))


def _plain_names(piece: str) -> tuple[str, ...]:
    """The operand's names, its brackets expanded by ClusterShell."""
    if "[" not in piece:
        return (piece,)
    try:
        return tuple(NodeSet(piece, resolver=RESOLVER_NOGROUP))
    except NodeSetException as error:
        raise NodeSetError(f"{shorten(piece)!r} cannot be read: {error}", part=piece) from None


def _is_wild(piece: str) -> bool:
    return "*" in piece or "?" in piece


def _pattern(name: str) -> str:
    return _NUMBER.sub("%s", name.replace("%", "%%"))


def _unpadded(name: str) -> str:
    return _NUMBER.sub(lambda digits: digits[0].lstrip("0") or "0", name)


def _fold_vectors(vectors: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Fold one axis after the other, the last one first: vectors that differ in that axis alone become one."""
    axes = len(vectors[0])
    for axis in reversed(range(axes)):
        alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for vector in vectors:
            alike[vector[:axis] + vector[axis + 1 :]].append(vector[axis])
        vectors = [(*rest[:axis], _fold_axis(values), *rest[axis:]) for rest, values in alike.items()]
    return sorted(set(vectors))


def _fold_axis(values: list[str]) -> str:
    if len(values) == 1:
        return values[0]
    ranges = RangeSet()
    ranges.update(values)
    return f"[{ranges}]" if len(ranges) > 1 else str(ranges)
