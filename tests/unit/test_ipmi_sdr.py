"""Sensor data records: names, formulas, units and limits, against the specification's own rules."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.clients.ipmi.model import Thresholds
from cloudmesh_actors.clients.ipmi.sdr import (
    BCD_PLUS,
    Formula,
    decode_name,
    parse_sensor,
    sensor_key,
    signed,
    state_from_bits,
)

BCD, SIX_BIT, LATIN_1 = 0x40, 0x80, 0xC0
SIX_BIT_CHARACTERS = "".join(chr(code) for code in range(0x20, 0x60))


def pack_6_bit(text: str) -> bytes:
    bits = sum((ord(character) - 0x20) << 6 * place for place, character in enumerate(text))
    return bits.to_bytes(math.ceil(len(text) * 6 / 8), "little")


def record(**changes: int) -> bytes:
    """A full sensor record of a temperature in C, with single bytes changed by name."""
    places = {
        "owner": 5, "lun": 6, "number": 7, "capabilities": 11, "kind": 12, "reading_type": 13, "mask": 18,
        "units": 20, "base": 21, "modifier": 22, "linearization": 23, "m": 24, "m_high": 25, "b": 26, "b_high": 27,
        "exponents": 29, "uc": 37, "lnc": 41,
    }  # fmt: skip
    data = bytearray(48)
    data[3], data[5], data[7], data[12], data[13], data[21], data[24] = 1, 0x20, 9, 1, 1, 1, 1
    for name, value in changes.items():
        data[places[name]] = value
    data[47] = LATIN_1 | 4
    return bytes(data) + b"Temp"


class TestNames:
    def test_six_bit_characters_are_packed_as_in_the_specifications_example(self) -> None:
        assert decode_name(SIX_BIT | 3, bytes([0x29, 0xDC, 0xA6])) == "IPMI"

    @given(st.text(SIX_BIT_CHARACTERS, max_size=16))
    def test_any_packed_name_is_read_back(self, name: str) -> None:
        packed = pack_6_bit(name)

        assert decode_name(SIX_BIT | len(packed), packed) == name.strip()

    @given(st.text(BCD_PLUS, max_size=16))
    def test_any_bcd_plus_name_is_read_back(self, name: str) -> None:
        codes = [BCD_PLUS.index(character) for character in name.ljust(len(name) + len(name) % 2)]
        packed = bytes(low | high << 4 for low, high in zip(codes[::2], codes[1::2], strict=True))

        assert decode_name(BCD | len(packed), packed) == name.strip()

    @given(st.integers(0, 255), st.binary(max_size=64))
    def test_whatever_the_bytes_are_a_name_comes_out_and_is_short(self, type_length: int, data: bytes) -> None:
        assert len(decode_name(type_length, data)) <= 62

    @pytest.mark.parametrize(
        ("type_length", "data", "name"),
        [
            (LATIN_1 | 5, b"Temp\0", "Temp"),
            (LATIN_1 | 4, b"Temp and more", "Temp"),
            (LATIN_1 | 2, b"\xb0C", "°C"),
            (0x00 | 5, "Größe".encode()[:5], "Grö\N{REPLACEMENT CHARACTER}"),
            (LATIN_1, b"", ""),
        ],
    )
    def test_eight_bit_names_end_where_they_end(self, type_length: int, data: bytes, name: str) -> None:
        assert decode_name(type_length, data) == name


class TestFormula:
    @pytest.mark.parametrize(("raw", "value"), [(0, 0), (0x7F, 127), (0x80, -128), (0xFF, -1)])
    def test_twos_complement(self, raw: int, value: int) -> None:
        assert Formula(2, 0, 1, 0, 0, 0).value(raw) == value

    @pytest.mark.parametrize(("raw", "value"), [(0, 0), (0x7F, 127), (0x80, -127), (0xFF, 0), (0xFE, -1)])
    def test_ones_complement(self, raw: int, value: int) -> None:
        assert Formula(1, 0, 1, 0, 0, 0).value(raw) == value

    def test_the_offset_has_an_exponent_of_its_own(self) -> None:
        assert Formula(0, 0, m=2, b=5, b_exponent=1, r_exponent=-1).value(100) == 25.0

    def test_a_value_has_no_trace_of_binary_fractions(self) -> None:
        assert str(Formula(0, 0, 1, 0, 0, -1).value(33)) == "3.3"

    @pytest.mark.parametrize(
        ("linearization", "value"),
        [(0, 8), (3, 3), (7, 0.125), (8, 64), (9, 512), (11, 2)],
    )
    def test_linearizations(self, linearization: int, value: float) -> None:
        assert Formula(0, linearization, 1, 0, 0, 0).value(8) == value

    @pytest.mark.parametrize("linearization", [1, 2, 3, 7])
    def test_where_a_curve_has_no_value_there_is_none(self, linearization: int) -> None:
        assert Formula(0, linearization, 1, 0, 0, 0).value(0) is None

    @given(
        st.integers(0, 2),
        st.integers(0, 127),
        st.integers(-512, 511),
        st.integers(-512, 511),
        st.integers(-8, 7),
        st.integers(-8, 7),
        st.integers(0, 255),
    )
    def test_no_record_makes_it_fail(
        self, form: int, linearization: int, m: int, b: int, b_exponent: int, r_exponent: int, raw: int
    ) -> None:
        value = Formula(form, linearization, m, b, b_exponent, r_exponent).value(raw)

        assert value is None or isinstance(value, float)

    @given(st.integers(2, 16), st.data())
    def test_signed_numbers(self, bits: int, data: st.DataObject) -> None:
        number = data.draw(st.integers(-(1 << bits - 1), (1 << bits - 1) - 1))

        assert signed(number & (1 << bits) - 1, bits) == number


class TestRecords:
    def test_a_plain_temperature(self) -> None:
        sensor = parse_sensor(record())

        assert sensor is not None
        assert (sensor.name, sensor.kind, sensor.unit, sensor.value(42)) == ("Temp", "temperature", "C", 42.0)
        assert sensor.is_own
        assert sensor_key(record()) == (0x20, 0, 9)

    def test_m_and_b_are_ten_bits_wide(self) -> None:
        sensor = parse_sensor(record(m=0xFF, m_high=0xC0, b=0x01, b_high=0x40, exponents=0xF0))

        assert sensor is not None
        assert (sensor.formula.m, sensor.formula.b, sensor.formula.r_exponent) == (-1, 257, -1)

    @pytest.mark.parametrize(("base", "raw", "celsius"), [(1, 100, 100.0), (2, 212, 100.0), (3, 255, -18.15)])
    def test_temperatures_are_given_in_c_whatever_the_bmc_counts_in(self, base: int, raw: int, celsius: float) -> None:
        sensor = parse_sensor(record(base=base))

        assert sensor is not None
        assert (sensor.unit, sensor.value(raw)) == ("C", celsius)

    @pytest.mark.parametrize(
        ("changes", "kind", "unit"),
        [
            ({"base": 4}, "voltage", "V"),
            ({"base": 5}, "current", "A"),
            ({"base": 6, "kind": 3}, "power", "W"),
            ({"base": 18, "kind": 4}, "fan", "RPM"),
            ({"units": 1, "base": 0, "kind": 4}, "fan", "%"),
            ({"units": 1, "base": 0, "kind": 7}, "other", "%"),
            ({"base": 17}, "other", "CFM"),
            ({"base": 70, "units": 3 << 3}, "other", "byte per s"),
            ({"base": 42, "units": 1 << 1, "modifier": 23}, "other", "cycles/min"),
            ({"base": 255}, "other", ""),
        ],
    )
    def test_kinds_and_units(self, changes: dict[str, int], kind: str, unit: str) -> None:
        sensor = parse_sensor(record(**changes))

        assert sensor is not None
        assert (sensor.kind, sensor.unit) == (kind, unit)

    @pytest.mark.parametrize("changes", [{"units": 0xC0}, {"units": 0xC1}, {"reading_type": 0x6F, "base": 0}])
    def test_a_discrete_sensor_is_not_numeric(self, changes: dict[str, int]) -> None:
        assert parse_sensor(record(**changes)) is None

    def test_fixed_limits_are_in_the_record(self) -> None:
        sensor = parse_sensor(record(capabilities=3 << 2, mask=0b010001, uc=90, lnc=5))

        assert sensor is not None
        assert not sensor.has_readable_thresholds
        limits = sensor.thresholds(sensor.fixed_thresholds)
        assert limits == Thresholds(upper_critical=90.0, lower_non_critical=5.0)

    def test_readable_limits_are_those_that_the_mask_names(self) -> None:
        sensor = parse_sensor(record(capabilities=1 << 2))

        assert sensor is not None
        assert sensor.has_readable_thresholds
        assert sensor.thresholds(bytes([0b111000, 1, 2, 3, 70, 80, 90])) == Thresholds(
            upper_non_critical=70.0, upper_critical=80.0, upper_non_recoverable=90.0
        )

    def test_an_answer_that_is_cut_short_gives_the_limits_it_has(self) -> None:
        sensor = parse_sensor(record())

        assert sensor is not None
        assert sensor.thresholds(bytes([0b111111, 1, 2])) == Thresholds(lower_non_critical=1.0, lower_critical=2.0)

    @given(st.binary(min_size=48, max_size=80))
    def test_any_record_that_is_long_enough_can_be_read(self, data: bytes) -> None:
        sensor = parse_sensor(data[:3] + b"\x01" + data[4:])

        if sensor:
            sensor.value(data[0])
            sensor.thresholds(data[:7])
            assert sensor.name


class TestStates:
    @pytest.mark.parametrize(
        ("bits", "state"),
        [
            (0, "ok"),
            (0b11000000, "ok"),
            (0b001000, "warning"),
            (0b000001, "warning"),
            (0b011000, "critical"),
            (0b000011, "critical"),
            (0b100000, "critical"),
            (0b000100, "critical"),
        ],
    )
    def test_the_bmcs_own_comparison(self, bits: int, state: str) -> None:
        assert state_from_bits(bits) == state

    LIMITS = Thresholds(5, 8, 10, 70, 80, 90)

    @pytest.mark.parametrize(
        ("value", "state"),
        [(40, "ok"), (10, "warning"), (8, "critical"), (4, "critical"), (70, "warning"), (80, "critical")],
    )
    def test_a_value_on_a_limit_is_beyond_it(self, value: float, state: str) -> None:
        assert self.LIMITS.judge(value) == state

    def test_without_limits_every_value_is_ok(self) -> None:
        assert Thresholds().judge(1e9) == "ok"
        assert Thresholds().known() == {}
