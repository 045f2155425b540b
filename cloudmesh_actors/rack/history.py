"""How readings are packed: a sample is four bytes a sensor, a day of hours is compressed. Pure.

A sample holds its values in the order of its layout, the list of a BMC's sensors, which is stored once. A day holds,
for each sensor, 24 means, 24 lows and 24 highs. No reading, and an hour without one, is NaN.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from cloudmesh_actors.rack.model import Column, Point

HOUR_S, DAY_S, HOURS = 3600, 86_400, 24
NOTHING = math.nan

#: Of each sensor a day holds this many series: means, lows, highs.
SERIES = 3

Layout = tuple[Column, ...]


def layout_of(readings: Iterable[Mapping[str, Any]]) -> Layout:
    """The layout of a node's readings, which are JSON with `name`, `kind` and `unit`."""
    return tuple(Column(reading["name"], reading["kind"], reading["unit"]) for reading in readings)


def dump_layout(layout: Layout) -> tuple[str, str]:
    """A layout's key and its JSON; equal layouts have equal keys, in every process."""
    text = orjson.dumps([[column.name, column.kind, column.unit] for column in layout])
    return hashlib.blake2b(text, digest_size=16).hexdigest(), text.decode()


def load_layout(text: str) -> Layout:
    """What `dump_layout` made."""
    return tuple(Column(*entry) for entry in orjson.loads(text))


def pack_sample(values: Iterable[float | None]) -> bytes:
    """One reading of all sensors of a node, as 4-byte floats."""
    return _floats(NOTHING if value is None else value for value in values).tobytes()


def unpack_sample(packed: bytes) -> Sequence[float]:
    """The values of a sample; NaN where there was no reading."""
    return _unpacked(packed)


def pack_day(samples: Iterable[tuple[int, bytes]]) -> bytes:
    """The hours of a day from its samples: (seconds since the epoch, packed), all of one node, day and layout."""
    hours: defaultdict[int, list[Sequence[float]]] = defaultdict(list)
    for at, packed in samples:
        hours[at % DAY_S // HOUR_S].append(unpack_sample(packed))
    width = max(len(sample) for hour in hours.values() for sample in hour)
    day = array("f")
    for sensor in range(width):
        measured = [[s[sensor] for s in hours[hour] if not math.isnan(s[sensor])] for hour in range(HOURS)]
        for summary in (_mean, min, max):
            day.extend(summary(values) if values else NOTHING for values in measured)
    return zlib.compress(_little_endian(day).tobytes())


def sample_point(at: int, packed: bytes, column: int) -> Point:
    """One sensor of a sample."""
    value = _number(unpack_sample(packed)[column])
    return Point(_moment(at), value, value, value)


def day_points(start: int, packed: bytes, column: int) -> Iterator[Point]:
    """One sensor's hours of a day that begins at `start`; hours without a reading are left out."""
    day = _unpacked(zlib.decompress(packed))
    first = column * SERIES * HOURS
    for hour in range(HOURS):
        mean, low, high = (_number(day[first + series * HOURS + hour]) for series in range(SERIES))
        if mean is not None:
            yield Point(_moment(start + hour * HOUR_S), mean, low, high)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _floats(values: Iterable[float]) -> array[float]:
    return _little_endian(array("f", values))


def _unpacked(packed: bytes) -> array[float]:
    return _little_endian(array("f", packed))


def _little_endian(values: array[float]) -> array[float]:
    """The same bytes on every machine: a store may be shared by hosts of both byte orders."""
    import sys

    if sys.byteorder == "big":
        values.byteswap()
    return values


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.7g}")  # 12.1, not 12.100000381


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)
