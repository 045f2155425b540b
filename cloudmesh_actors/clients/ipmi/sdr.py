"""Sensor data records: from the bytes of a BMC's repository to sensors that can turn a raw reading into a value.

Pure. Sources: IPMI 2.0 §43.1 (full sensor record), §43.15 (names), §36.3 (the formula), §35.9 (thresholds).
Offsets are those of the specification's tables less one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from pyghmi.ipmi.sdr import sensor_rates, unit_types

from cloudmesh_actors.clients.ipmi.model import Kind, State, Thresholds

FULL_SENSOR_RECORD = 0x01
COMPACT_SENSOR_RECORD = 0x02
EVENT_ONLY_RECORD = 0x03

#: Where a record's sensor name begins: its type/length byte.
NAME_AT = {FULL_SENSOR_RECORD: 47, COMPACT_SENSOR_RECORD: 31, EVENT_ONLY_RECORD: 16}

HEADER_LENGTH = 5
BMC_ADDRESS = 0x20
THRESHOLD_BASED = 0x01
NO_ANALOG_READING = 3

BCD_PLUS = "0123456789 -.:,_"

FAN, PERCENT = 0x04, "%"
KINDS_BY_UNIT: dict[str, Kind] = {
    "C": "temperature",
    "V": "voltage",
    "A": "current",
    "W": "power",
    "RPM": "fan",
}

#: Bits of Get Sensor Reading's third byte (table 35-15): at or beyond which threshold.
WARNING_BITS, CRITICAL_BITS = 0b001001, 0b110110

#: The thresholds' order in Get Sensor Thresholds (table 35-9), and so in its mask.
THRESHOLD_ORDER = (
    "lower_non_critical",
    "lower_critical",
    "lower_non_recoverable",
    "upper_non_critical",
    "upper_critical",
    "upper_non_recoverable",
)

#: Linearizations 0 to 11 (table 43-1, byte 24).
LINEARIZATIONS: tuple[Callable[[float], float], ...] = (
    float,
    math.log,
    math.log10,
    math.log2,
    math.exp,
    lambda x: 10.0**x,
    lambda x: 2.0**x,
    lambda x: 1.0 / x,
    lambda x: x**2,
    lambda x: x**3,
    math.sqrt,
    math.cbrt,
)


def decode_name(type_length: int, data: bytes) -> str:
    """A sensor's name from its type/length byte and what follows (IPMI 2.0 §43.15)."""
    data = data[: type_length & 0x1F]
    return _NAME_DECODERS[type_length >> 6](data).rstrip("\0 ").lstrip()


def _decode_unicode(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _decode_bcd_plus(data: bytes) -> str:
    """Two characters a byte. Which comes first the specification leaves open: the lower half, as with six bits."""
    return "".join(BCD_PLUS[byte & 0x0F] + BCD_PLUS[byte >> 4] for byte in data)


def _decode_6_bit(data: bytes) -> str:
    """Characters of six bits, the first in the lowest bits of the first byte, 0x20 added to each."""
    bits = int.from_bytes(data, "little")
    return "".join(chr((bits >> 6 * place & 0x3F) + 0x20) for place in range(len(data) * 8 // 6))


def _decode_latin_1(data: bytes) -> str:
    return data.decode("latin-1")


_NAME_DECODERS = (_decode_unicode, _decode_bcd_plus, _decode_6_bit, _decode_latin_1)


def signed(value: int, bits: int) -> int:
    """A two's complement number of so many bits."""
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


@dataclass(frozen=True, slots=True)
class Formula:
    """y = L((m·x + b·10^b_exponent) · 10^r_exponent), with x in `number_format` (0 unsigned, 1 or 2: complement)."""

    number_format: int
    linearization: int
    m: int
    b: int
    b_exponent: int
    r_exponent: int

    @property
    def needs_factors(self) -> bool:
        """Whether m and b differ from reading to reading, and have to be asked for each (§35.5)."""
        return self.linearization >= len(LINEARIZATIONS)

    def value(self, raw: int) -> float | None:
        """The value of a raw byte; None where the formula has none (the logarithm of 0)."""
        x = self._number(raw)
        linear = (self.m * x + self.b * 10.0**self.b_exponent) * 10.0**self.r_exponent
        curve = LINEARIZATIONS[0 if self.needs_factors else self.linearization]
        try:
            value = float(f"{curve(linear):.9g}")  # 3.3, not 3.3000000000000003
        except (ValueError, ZeroDivisionError, OverflowError):
            return None
        return value if math.isfinite(value) else None

    def with_factors(self, factors: bytes) -> Formula:
        """This formula with the six bytes of Get Sensor Reading Factors (without "next reading")."""
        m, b, b_exponent, r_exponent = _factors(factors)
        return replace(self, m=m, b=b, b_exponent=b_exponent, r_exponent=r_exponent)

    def _number(self, raw: int) -> int:
        if self.number_format == 2:
            return signed(raw, 8)
        if self.number_format == 1:
            return -(raw ^ 0xFF) if raw & 0x80 else raw
        return raw


def _factors(data: bytes) -> tuple[int, int, int, int]:
    m = signed(data[0] | (data[1] & 0xC0) << 2, 10)
    b = signed(data[2] | (data[3] & 0xC0) << 2, 10)
    return m, b, signed(data[5] & 0x0F, 4), signed(data[5] >> 4, 4)


@dataclass(frozen=True, slots=True)
class Sensor:
    """One numeric sensor of a repository.

    `fixed_thresholds` are the mask and the six raw limits of a sensor whose limits cannot be asked for, in the
    order of Get Sensor Thresholds; empty otherwise. `scale` turns the BMC's unit into `unit`.
    """

    name: str
    owner: int
    channel: int
    lun: int
    number: int
    kind: Kind
    unit: str
    scale: Callable[[float], float]
    formula: Formula
    has_readable_thresholds: bool
    fixed_thresholds: bytes

    @property
    def is_own(self) -> bool:
        """Whether the BMC itself owns the sensor, rather than a controller behind it."""
        return self.owner == BMC_ADDRESS

    def value(self, raw: int, factors: bytes = b"") -> float | None:
        """The value of a raw reading in `unit`; with `factors` when the formula needs them."""
        formula = self.formula.with_factors(factors) if factors else self.formula
        value = formula.value(raw)
        return None if value is None else self.scale(value)

    def thresholds(self, answer: bytes) -> Thresholds:
        """The limits from an answer to Get Sensor Thresholds, or from `fixed_thresholds`."""
        if not answer or self.formula.needs_factors:
            return Thresholds()
        limits = zip(THRESHOLD_ORDER, answer[1:], strict=False)
        readable = {name: raw for bit, (name, raw) in enumerate(limits) if answer[0] >> bit & 1}
        return Thresholds(**{name: self.value(raw) for name, raw in readable.items()})


def sensor_name(record: bytes) -> str:
    """The name in a full, compact or event-only sensor record."""
    at = NAME_AT[record[3]]
    return decode_name(record[at], record[at + 1 :]) if len(record) > at else ""


def sensor_key(record: bytes) -> tuple[int, int, int]:
    """Who a sensor record speaks of: owner, owner's LUN, number, as events name it."""
    return record[5], record[6] & 0x03, record[7]


def parse_sensor(record: bytes) -> Sensor | None:
    """The numeric sensor of a full sensor record; None for a discrete one.

    Raises:
        IndexError: the record is shorter than its type says.
    """
    number_format = record[20] >> 6
    percent = bool(record[20] & 1)
    numeric = record[13] == THRESHOLD_BASED or record[21] != 0 or percent
    if number_format == NO_ANALOG_READING or not numeric:
        return None
    unit, scale = _unit(record[20], record[21], record[22])
    m, b, b_exponent, r_exponent = _factors(record[24:30])
    access = record[11] >> 2 & 3
    return Sensor(
        name=sensor_name(record) or f"sensor {record[7]:#04x}",
        owner=record[5],
        channel=record[6] >> 4,
        lun=record[6] & 3,
        number=record[7],
        kind=_kind(unit, record[12]),
        unit=unit,
        scale=scale,
        formula=Formula(number_format, record[23] & 0x7F, m, b, b_exponent, r_exponent),
        has_readable_thresholds=access in {1, 2},
        fixed_thresholds=_limits_in_record(record) if access == 3 else b"",
    )


def _limits_in_record(record: bytes) -> bytes:
    upper_to_lower = record[36:42]
    return bytes([record[18], *reversed(upper_to_lower)])


def _kind(unit: str, sensor_type: int) -> Kind:
    if unit == PERCENT and sensor_type == FAN:
        return "fan"
    return KINDS_BY_UNIT.get(unit, "other")


def _unit(units: int, base: int, modifier: int) -> tuple[str, Callable[[float], float]]:
    """The unit's short name, and how to convert to it: temperatures are given in C whatever the BMC counts in."""
    if units & 1:
        return PERCENT, float
    rate = sensor_rates.get(units >> 3 & 7, "")
    joint = {1: "/", 2: " "}.get(units >> 1 & 3, "")
    if not rate and not joint and base in _TEMPERATURES:
        return "C", _TEMPERATURES[base]
    name = unit_types.get(base, "") + (joint + unit_types.get(modifier, "") if joint else "") + rate
    return name, float


def _from_fahrenheit(value: float) -> float:
    return round((value - 32) / 1.8, 3)


def _from_kelvin(value: float) -> float:
    return round(value - 273.15, 3)


_TEMPERATURES: dict[int, Callable[[float], float]] = {1: float, 2: _from_fahrenheit, 3: _from_kelvin}


def state_from_bits(bits: int) -> State:
    """The state that the BMC itself reports with a reading (table 35-15)."""
    if bits & CRITICAL_BITS:
        return "critical"
    return "warning" if bits & WARNING_BITS else "ok"
