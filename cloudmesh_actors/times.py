"""Times as this library shows them to programs (ISO 8601, UTC, with a Z), and waits between tries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, repeat


def iso(moment: datetime, timespec: str = "milliseconds") -> str:
    """``2026-03-10T15:35:00.000Z``. `moment` knows its time zone; `timespec` is that of `datetime.isoformat`."""
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def waits(first: Sequence[float]) -> Iterator[float]:
    """These waits, in seconds; then the last one again and again."""
    return chain(first, repeat(first[-1]))
