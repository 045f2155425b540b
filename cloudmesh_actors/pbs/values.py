"""The value of one attribute: text to seconds, bytes, hosts and slots.

Every function raises ValueError with a sentence about what it could not read.
"""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from functools import lru_cache

from cloudmesh_actors.pbs.model import Slots

#: What is written where there is no limit, or no value.
NOTHING = frozenset({"", "-", "--", "none", "infinite", "infinity", "unlimited", "unknown"})

#: The largest number that every store can hold.
MAX_NUMBER = 2**63 - 1

#: How many of the latest conversions are remembered: walltimes, sizes and times repeat.
REMEMBERED = 4096

_DURATION = re.compile(r"(?:([0-9]+)-)?([0-9]+(?::[0-9]+){0,3})(?:\.[0-9]*)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*([kmgtpe]?)([bw]?)", re.IGNORECASE)
_CTIME = re.compile(
    r"[A-Z][a-z]{2} +([A-Z][a-z]{2}) +([0-9]{1,2}) +([0-9]{2}):([0-9]{2}):([0-9]{2})(?: +[A-Z]+)? +([0-9]{4})"
)
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+)|\*([0-9]+))?")
_NCPUS = re.compile(r"(?:^|:)ncpus=([0-9]+)")
_PPN = re.compile(r":ppn=([0-9]+)")

_MONTHS = {month: number for number, month in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_UNIT_SECONDS = (1, 60, 3600, 86400)
_BYTES_PER_WORD = 8


@lru_cache(REMEMBERED)
def whole(text: str) -> int | None:
    """A whole number, signed."""
    if text.lower() in NOTHING:
        return None
    try:
        return _bounded(int(text))
    except ValueError:
        raise ValueError(f"{_shown(text)} is not a whole number") from None


@lru_cache(REMEMBERED)
def duration(text: str) -> int | None:
    """Seconds of `[[[D:]HH:]MM:]SS[.fraction]` or `D-HH:MM:SS` (pbs_resources(7B)); None when there is no limit."""
    if text.lower() in NOTHING:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{_shown(text)} is not a duration")
    days, clock = match.groups()
    parts = reversed(clock.split(":"))
    return _bounded(int(days or 0) * 86400 + sum(int(part) * unit for part, unit in zip(parts, _UNIT_SECONDS, strict=False)))


@lru_cache(REMEMBERED)
def size(text: str) -> int | None:
    """Bytes of `N[k|m|g|t|p|e][b|w]`, powers of 1024; a word is eight bytes."""
    if text.lower() in NOTHING:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{_shown(text)} is not a size")
    number, prefix, unit = match.groups()
    factor: int = 1024 ** " kmgtpe".index(prefix.lower() or " ")
    if unit in ("w", "W"):
        factor *= _BYTES_PER_WORD
    return _bounded(int(float(number) * factor) if "." in number else int(number) * factor)


@lru_cache(REMEMBERED)
def moment(text: str, zone: tzinfo) -> int | None:
    """Seconds since the epoch, of just these or of ctime(3)'s text, which is in the server's own time zone."""
    if text.isdecimal():
        return _bounded(int(text)) or None
    if text.lower() in NOTHING:
        return None
    match = _CTIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{_shown(text)} is not a time")
    month, *numbers = match.groups()
    day, hour, minute, second, year = map(int, numbers)
    if month not in _MONTHS:
        raise ValueError(f"{_shown(text)} is not a time")
    return int(datetime(year, _MONTHS[month], day, hour, minute, min(second, 59), tzinfo=zone).timestamp())


def hosts(text: str, *, counted: bool = False) -> list[Slots]:
    """The hosts of an exec_host or exec_vnode, each once, with the slots held there.

    Torque writes a slot's number, or ranges of them, after the host (`i1/0+i1/1`, `i1/5-6`, `i1/0-2,5`), OpenPBS how
    many there are after a star (`i1/0*2`), vnodes their resources (`(i1:ncpus=2+i2:ncpus=1)`). Slurm's wrapper writes
    the count where the others write the number: these are `counted`.
    """
    held: dict[str, int] = {}
    for chunk in text.replace("(", "").replace(")", "").split("+"):
        place, slash, slots = chunk.partition("/")
        host, _, resources = place.strip().partition(":")
        if not host:
            raise ValueError(f"{_shown(text)} names no host")
        count = _slots(slots, counted) if slash else _vnode_slots(resources)
        held[host] = held.get(host, 0) + count
    return [Slots(host, _bounded(count)) for host, count in held.items()]


def _slots(text: str, counted: bool) -> int:
    if counted and text.isdecimal():
        return int(text)
    return sum(map(_range_length, text.split(",")))


@lru_cache(REMEMBERED)
def _range_length(text: str) -> int:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{_shown(text)} is not a slot or a range of slots")
    first, last, count = match.groups()
    if last is not None and int(last) < int(first):
        raise ValueError(f"the range of slots {_shown(text)} runs backwards")
    return int(count) if count is not None else int(last or first) - int(first) + 1


def _vnode_slots(resources: str) -> int:
    match = _NCPUS.search(resources)
    return int(match[1]) if match else 1


@lru_cache(REMEMBERED)
def processors_asked(nodes: str) -> int:
    """Processors of a Torque node request: `2:ppn=3` has 6, `i1:ppn=2+4` has 6."""
    return _bounded(sum(map(_part_processors, nodes.partition("#")[0].split("+"))))


def _part_processors(part: str) -> int:
    count = part.partition(":")[0]
    ppn = _PPN.search(part)
    return (int(count) if count.isdecimal() else 1) * (int(ppn[1]) if ppn else 1)


def true(text: str) -> bool:
    """PBS writes True, Slurm's wrapper yes."""
    return text.lower() in ("true", "yes", "1", "t", "y")


def _bounded(number: int) -> int:
    if abs(number) > MAX_NUMBER:
        raise ValueError("a number is too large")
    return number


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
