"""Entries of the system event log, from their bytes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.clients.ipmi.sel import parse_event

NAMES = {(0x20, 0, 0x30): "CPU1 Temp"}
STAMP = 1_700_000_000


def entry(
    *, kind: int = 2, stamp: int = STAMP, sensor_type: int = 1, number: int = 0x30, event: int = 1, data: int = 0x59
) -> bytes:
    body = bytes([0x20, 0, 4, sensor_type, number, event, data, 0x95, 0x90])
    return b"\x07\x00" + bytes([kind]) + stamp.to_bytes(4, "little") + body


def test_a_threshold_event() -> None:
    event = parse_event(entry(), NAMES)

    assert (event.id, event.sensor, event.severity, event.asserted) == (7, "CPU1 Temp", "critical", True)
    assert event.time == datetime.fromtimestamp(STAMP, UTC)
    assert event.text == "Temperature: Upper critical"
    assert event.raw == entry().hex()


def test_an_event_that_is_over() -> None:
    event = parse_event(entry(event=0x81), NAMES)

    assert (event.severity, event.asserted) == ("ok", False)
    assert "deasserted" in event.text


def test_an_event_of_a_discrete_sensor() -> None:
    event = parse_event(entry(sensor_type=8, event=0x6F, data=1), NAMES)

    assert event.text.startswith("Power Supply: ")
    assert event.severity == "critical"


def test_a_sensor_without_a_record_is_called_by_its_number() -> None:
    assert parse_event(entry(number=0x31), NAMES).sensor == "sensor 0x31"


@pytest.mark.parametrize("stamp", [0, 2017, 0x1FFFFFFF, 0xFFFFFFFF])
def test_a_clock_that_was_not_set_gives_no_time(stamp: int) -> None:
    assert parse_event(entry(stamp=stamp), NAMES).time is None


@pytest.mark.parametrize(("kind", "has_time"), [(0xC0, True), (0xDF, True), (0xE0, False), (0xF0, False)])
def test_a_makers_own_record_is_shown_as_it_is(kind: int, has_time: bool) -> None:
    event = parse_event(entry(kind=kind), NAMES)

    assert "maker's own" in event.text
    assert (event.time is not None) == has_time


def test_a_meaning_that_nobody_knows_is_told_by_its_numbers() -> None:
    assert parse_event(entry(sensor_type=0xFE, event=0x6F), NAMES).text == "sensor type 0xfe: event 0x6f/9"


@given(st.binary(min_size=16, max_size=16))
def test_no_entry_makes_it_fail(record: bytes) -> None:
    event = parse_event(record, NAMES)

    assert event.text
    assert event.severity in {"ok", "warning", "critical"}


def test_an_entry_that_is_cut_short_is_refused() -> None:
    with pytest.raises(IndexError):
        parse_event(entry()[:15], NAMES)
