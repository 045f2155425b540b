"""Times as this library shows them to programs: ISO 8601, UTC, with a Z."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(moment: datetime, timespec: str = "milliseconds") -> str:
    """``2026-03-10T15:35:00.000Z``. `moment` knows its time zone; `timespec` is that of `datetime.isoformat`."""
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
