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

#: The end of the year 9999, after which there are no dates.
LAST_MOMENT = 253_402_300_799

#: How many of the latest conversions are remembered: walltimes, sizes and times repeat.
REMEMBERED = 4096

_DURATION = re.compile(r"(?:([0-9]+)-)?([0-9]+(?::[0-9]+){0,3})(?:\.[0-9]*)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*([kmgtpe]?)([bw]?)", re.IGNORECASE)
_MINUTE = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ 0-9][0-9]) ([0-9]{2}):([0-9]{2}): ([0-9]{4})")
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+)|\*([0-9]+))?")
_NCPUS = re.compile(r"(?:^|:)ncpus=([0-9]+)")
_PPN = re.compile(r":ppn=([0-9]+)")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CTIME_LENGTH = 24
_SIXTY = {f"{number:02d}": number for number in range(61)}
_UNIT_SECONDS = (1, 60, 3600, 86400)
_BYTES_PER_WORD = 8


@lru_cache(REMEMBERED)
def whole(text: str | None) -> int | None:
    """A whole number, signed."""
    if text is None or text.lower() in NOTHING:
        return None
    try:
        return _bounded(int(text))
    except ValueError:
        raise ValueError(f"{_shown(text)} is not a whole number") from None


def duration(text: str | None) -> int | None:
    """Seconds of `[[[D:]HH:]MM:]SS[.fraction]` or `D-HH:MM:SS` (pbs_resources(7B)); None when there is no limit."""
    if text is None:
        return None
    hours, minute, second = text[:-6], _SIXTY.get(text[-5:-3]), _SIXTY.get(text[-2:])
    if minute is not None and second is not None and text[-6::3] == "::" and hours.isdecimal():
        return _bounded(int(hours) * 3600 + minute * 60 + second)
    return _unusual_duration(text)


#: The same for walltimes that are asked for, of which there are few different ones.
duration_asked = lru_cache(REMEMBERED)(duration)


@lru_cache(REMEMBERED)
def _unusual_duration(text: str) -> int | None:
    if text.lower() in NOTHING:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{_shown(text)} is not a duration")
    days, clock = match.groups()
    parts = zip(reversed(clock.split(":")), _UNIT_SECONDS, strict=False)
    return _bounded(int(days or 0) * 86400 + sum(int(part) * unit for part, unit in parts))


def size(text: str | None) -> int | None:
    """Bytes of `N[k|m|g|t|p|e][b|w]`, powers of 1024; a word is eight bytes."""
    if text is None:
        return None
    if text[-2:] == "kb" and text[:-2].isdecimal():
        return _bounded(int(text[:-2]) * 1024)
    return _unusual_size(text)


@lru_cache(REMEMBERED)
def _unusual_size(text: str) -> int | None:
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


def moment(text: str | None, zone: tzinfo) -> int | None:
    """Seconds since the epoch, of just these or of ctime(3)'s text, which is in the server's own time zone."""
    if text is None:
        return None
    if text.isdecimal():
        return _within_time(int(text)) or None
    second = _SIXTY.get(text[17:19])
    if second is not None and len(text) == _CTIME_LENGTH:
        return _minute(text[:17] + text[19:], zone) + second
    if text.lower() in NOTHING:
        return None
    raise ValueError(f"{_shown(text)} is not a time")


def _within_time(seconds: int) -> int:
    if seconds > LAST_MOMENT:
        raise ValueError(f"{seconds} is not a time")
    return seconds


@lru_cache(REMEMBERED)
def _minute(text: str, zone: tzinfo) -> int:
    """Seconds since the epoch of a minute: `Sun Nov 22 12:31: 2026`."""
    match = _MINUTE.fullmatch(text)
    if match is None or match[1] not in _MONTHS:
        raise ValueError(f"{_shown(text)} is not a minute of a day")
    month, *numbers = match.groups()
    day, hour, minute, year = map(int, numbers)
    return int(datetime(year, _MONTHS.index(month) + 1, day, hour, minute, tzinfo=zone).timestamp())


def hosts(text: str, *, counted: bool = False) -> list[Slots]:
    """The hosts of an exec_host or exec_vnode, each once, with the slots held there.

    Torque writes a slot's number, or ranges of them, after the host (`i1/0+i1/1`, `i1/5-6`, `i1/0-2,5`), OpenPBS how
    many there are after a star (`i1/0*2`), vnodes their resources (`(i1:ncpus=2+i2:ncpus=1)`). Slurm's wrapper writes
    the count where the others write the number: these are `counted`.
    """
    host, _, slots = text.partition("/")
    again = f"+{host}/"
    is_plain = not ("(" in text or ":" in text or " " in text)
    if (
        is_plain
        and not counted
        and "+" not in host
        and host
        and slots[-1:].isdecimal()
        and slots.replace(again, "").isdecimal()
    ):
        return [Slots(host, slots.count(again) + 1)]
    held: dict[str, int] = {}
    for chunk in text.split("+"):
        host, slash, slots = chunk.partition("/")
        number, star, count = slots.partition("*")
        if not (is_plain and host and number.isdecimal() and (count.isdecimal() or not star)):
            host, here = _host(host, slots if slash else None)
        elif star or counted:
            here = _bounded(int(count or number))
        else:
            here = 1
        held[host] = held.get(host, 0) + here
    return list(map(Slots._make, held.items()))


def _host(place: str, slots: str | None) -> tuple[str, int]:
    """What of a chunk is no mere name and number: parentheses, a port, ranges, counts, resources."""
    host, _, resources = place.strip("( )").partition(":")
    if not host:
        raise ValueError(f"{_shown(place)} names no host")
    if slots is None:
        return host, _vnode_slots(resources)
    return host, sum(map(_range_length, slots.strip(" )").split(",")))


@lru_cache(REMEMBERED)
def _range_length(text: str) -> int:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{_shown(text)} is not a slot or a range of slots")
    first, last, count = match.groups()
    if last is not None and int(last) < int(first):
        raise ValueError(f"the range of slots {_shown(text)} runs backwards")
    return _bounded(int(count) if count is not None else int(last or first) - int(first) + 1)


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
