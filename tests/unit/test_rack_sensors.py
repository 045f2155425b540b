"""What is made of a node's readings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.clients.ipmi.model import Kind, Reading, State, Thresholds
from cloudmesh_actors.rack.model import Hottest
from cloudmesh_actors.rack.sensors import hottest, hottest_entry, in_unit, reading_as_json

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def reading(
    name: str, value: float | None, kind: Kind = "temperature", unit: str = "C", state: State | None = None
) -> dict[str, Any]:
    state = state or ("no reading" if value is None else "ok")
    return reading_as_json(Reading(name, kind, value, unit, state, Thresholds(upper_critical=90.0), NOW))


def test_the_hottest_sensor_is_a_temperature_with_a_reading() -> None:
    readings = [
        reading("Inlet", 22),
        reading("FAN 1", 9000, "fan", "RPM"),
        reading("CPU1", 61, state="warning"),
        reading("CPU2", None),
        reading("CPU3", 60),
    ]

    assert hottest(readings) == Hottest("CPU1", 61, "C", "warning")


def test_of_equally_hot_sensors_the_first_is_named() -> None:
    found = hottest([reading("A", 30), reading("B", 30)])

    assert found is not None
    assert found.sensor == "A"


def test_a_node_without_a_temperature_has_no_hottest_sensor() -> None:
    assert hottest([reading("CPU1", None), reading("FAN 1", 900, "fan", "RPM")]) is None
    assert hottest([]) is None


def test_below_freezing_is_a_temperature_too() -> None:
    assert hottest([reading("Margin", -40.0)], "F") == Hottest("Margin", -40.0, "F", "ok")


@pytest.mark.parametrize(("celsius", "fahrenheit"), [(0, 32), (100, 212), (-40, -40), (36.6, 97.88)])
def test_fahrenheit(celsius: float, fahrenheit: float) -> None:
    assert in_unit(celsius, "F") == fahrenheit
    assert in_unit(celsius, "C") == celsius


@given(st.lists(st.floats(-100, 200)), st.sampled_from(["C", "F"]))
def test_no_sensor_is_hotter_than_the_hottest(values: list[float], unit: str) -> None:
    found = hottest([reading(str(place), value) for place, value in enumerate(values)], unit)  # type: ignore[arg-type]

    assert (found is None) == (not values)
    if found:
        assert found.value == max(in_unit(value, unit) for value in values)  # type: ignore[arg-type]


def test_the_json_of_a_reading() -> None:
    shown = orjson.loads(orjson.dumps(reading("CPU1", 61.5)))

    assert shown == {
        "name": "CPU1",
        "kind": "temperature",
        "value": 61.5,
        "unit": "C",
        "state": "ok",
        "thresholds": {"upper_critical": 90.0},
    }


def test_no_reading_is_null_in_json() -> None:
    shown = reading("CPU1", None)

    assert (shown["value"], shown["state"]) == (None, "no reading")


def result(readings: list[dict[str, Any]], error: str | None = None) -> dict[str, Any]:
    return {
        "node": "i001",
        "time": "2026-01-02T00:00:00.000Z",
        "ok": error is None,
        "error": error,
        "error_kind": "unreachable" if error else None,
        "readings": readings,
    }


def test_the_entry_of_a_nodes_hottest_sensor() -> None:
    assert hottest_entry(result([reading("CPU1", 50.0)]), "F") == {
        "node": "i001",
        "time": "2026-01-02T00:00:00.000Z",
        "ok": True,
        "error": None,
        "error_kind": None,
        "sensor": "CPU1",
        "value": 122.0,
        "unit": "F",
        "state": "ok",
    }


def test_a_node_that_could_not_be_read_keeps_its_error() -> None:
    entry = hottest_entry(result([], "i001: silent."), "C")

    assert (entry["ok"], entry["error"], entry["value"]) == (False, "i001: silent.", None)


def test_a_node_without_a_temperature_is_an_error_of_its_own() -> None:
    entry = hottest_entry(result([reading("FAN 1", 4000, "fan", "RPM")]), "C")

    assert (entry["ok"], entry["error_kind"], entry["value"]) == (False, "unsupported", None)
    assert entry["error"].startswith("i001: ")
