"""How readings are packed, and that nothing of them is lost but what is meant to be."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.rack.history import (
    DAY_S,
    HOUR_S,
    day_points,
    dump_layout,
    layout_of,
    load_layout,
    pack_day,
    pack_sample,
    sample_point,
)
from cloudmesh_actors.rack.model import Column

READINGS = [
    {"name": "CPU1 Temp", "kind": "temperature", "unit": "C", "value": 31.0, "state": "ok"},
    {"name": "FAN 1", "kind": "fan", "unit": "RPM", "value": None, "state": "no reading"},
    {"name": "12V", "kind": "voltage", "unit": "V", "value": 12.1, "state": "ok"},
]
MIDNIGHT = 20_000 * DAY_S
START = datetime.fromtimestamp(MIDNIGHT, UTC)

measured = st.none() | st.floats(-1000, 20_000, width=16)


def test_a_layout_comes_back_and_is_known_by_its_content() -> None:
    layout = layout_of(READINGS)
    key, text = dump_layout(layout)

    assert load_layout(text) == layout
    assert layout[1] == Column("FAN 1", "fan", "RPM")
    assert dump_layout(layout_of(READINGS))[0] == key
    assert dump_layout(layout_of(READINGS[:2]))[0] != key


def test_a_sample_takes_four_bytes_a_sensor_and_keeps_seven_digits() -> None:
    packed = pack_sample([31.0, None, 12.1])

    assert len(packed) == 12
    assert [sample_point(MIDNIGHT, packed, column).value for column in range(3)] == [31.0, None, 12.1]
    assert sample_point(MIDNIGHT, packed, 0).time == START


@given(st.lists(measured, min_size=1, max_size=40))
def test_any_sample_comes_back(values: list[float | None]) -> None:
    packed = pack_sample(values)

    for column, value in enumerate(values):
        point = sample_point(MIDNIGHT, packed, column)
        assert point.value == (None if value is None else pytest.approx(value, rel=1e-6))
        assert (point.low, point.high) == (point.value, point.value)


def test_a_day_holds_the_mean_the_low_and_the_high_of_each_hour() -> None:
    samples = [
        (MIDNIGHT + 3 * HOUR_S + minute * 60, pack_sample([10.0 * step, None]))
        for step, minute in enumerate((0, 20, 40))
    ]

    [point] = day_points(MIDNIGHT, pack_day(samples), 0)

    assert (point.time, point.value, point.low, point.high) == (START + timedelta(hours=3), 10.0, 0.0, 20.0)
    assert list(day_points(MIDNIGHT, pack_day(samples), 1)) == []


@given(
    st.lists(
        st.tuples(st.integers(0, DAY_S - 1), st.tuples(measured, measured)),
        min_size=1,
        max_size=60,
        unique_by=lambda sample: sample[0],
    )
)
def test_every_hour_of_a_day_sums_up_its_own_samples(day: list[tuple[int, tuple[float | None, ...]]]) -> None:
    packed = pack_day((MIDNIGHT + at, pack_sample(values)) for at, values in day)

    for column in range(2):
        points = {point.time: point for point in day_points(MIDNIGHT, packed, column)}
        for hour in range(24):
            values = [v[column] for at, v in day if at // HOUR_S == hour and v[column] is not None]
            point = points.get(START + timedelta(hours=hour))
            assert (point is None) == (not values)
            if point:
                assert point.low == pytest.approx(min(values), rel=1e-6)
                assert point.high == pytest.approx(max(values), rel=1e-6)
                assert point.value == pytest.approx(math.fsum(values) / len(values), rel=1e-5, abs=1e-5)


def test_a_day_of_quiet_sensors_is_small() -> None:
    day = [(MIDNIGHT + at, pack_sample(30.0 + sensor for sensor in range(22))) for at in range(0, DAY_S, 300)]

    assert len(pack_day(day)) < 3000
