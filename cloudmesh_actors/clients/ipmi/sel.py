"""The system event log: from a record's 16 bytes to an event. Pure.

Sources: IPMI 2.0 §32 (record formats), table 42-2 and 42-3 (what an offset means), whose texts pyghmi carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pyghmi.constants import Health
from pyghmi.ipmi.private import constants

from cloudmesh_actors.clients.ipmi.model import SelEvent, Severity

RECORD_LENGTH = 16
SYSTEM_EVENT = 0x02

#: Record types up to here are, or may be, laid out as system events; from OEM_WITHOUT_TIME on there is no time.
OEM_WITH_TIME, OEM_WITHOUT_TIME = 0xC0, 0xE0

#: Earlier times count from the BMC's start, since its clock was not set (§37.1); the last value means none.
FIRST_REAL_TIME, NO_TIME = 0x20000000, 0xFFFFFFFF

SENSOR_SPECIFIC = 0x6F

#: What the event data of a threshold event carry in bytes 2 and 3 (table 29-6).
READING_GIVEN, THRESHOLD_GIVEN = 0b01, 0b01


def parse_event(record: bytes, names: Mapping[tuple[int, int, int], str]) -> SelEvent:
    """One event of the log. `names` are the BMC's sensors by (owner, LUN, number).

    Raises:
        IndexError: the record is shorter than 16 bytes.
    """
    if len(record) < RECORD_LENGTH:
        raise IndexError("a record of the event log has 16 bytes")
    kind = record[2]
    time = None if kind >= OEM_WITHOUT_TIME else _time(record[3:7])
    number = int.from_bytes(record[:2], "little")
    if kind >= OEM_WITH_TIME:
        text = f"record of the maker's own, type {kind:#04x}: {record[3:].hex(' ')}"
        return SelEvent(number, time, "", text, "ok", True, record.hex())
    asserted = not record[12] & 0x80
    text, severity = _meaning(record[10], record[12] & 0x7F, record[13] & 0x0F, asserted)
    sensor = names.get((record[7], record[8] & 3, record[11]), f"sensor {record[11]:#04x}")
    return SelEvent(number, time, sensor, text, severity, asserted, record.hex())


def _time(stamp: bytes) -> datetime | None:
    seconds = int.from_bytes(stamp, "little")
    if seconds < FIRST_REAL_TIME or seconds == NO_TIME:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _meaning(sensor_type: int, event_type: int, offset: int, asserted: bool) -> tuple[str, Severity]:
    offsets = (
        constants.sensor_type_offsets.get(sensor_type, {})
        if event_type == SENSOR_SPECIFIC
        else constants.generic_type_offsets.get(event_type, {})
    )
    known: dict[str, Any] = offsets.get(offset, {})
    what = str(constants.sensor_type_codes.get(sensor_type, f"sensor type {sensor_type:#04x}"))
    if not known:
        return f"{what}: event {event_type:#04x}/{offset}" + ("" if asserted else " over"), "ok"
    if asserted:
        return f"{what}: {known['desc']}", _severity(known["severity"])
    return f"{what}: {known['deassertion_desc']}", _severity(known["deassertion_severity"])


def _severity(health: int) -> Severity:
    if health & (Health.Critical | Health.Failed):
        return "critical"
    return "warning" if health & Health.Warning else "ok"
