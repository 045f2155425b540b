"""What a BMC tells, as plain values: readings, events, identity; and the Protocol of its clients."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from types import TracebackType
from typing import Literal, Protocol, Self

Kind = Literal["temperature", "voltage", "fan", "current", "power", "other"]
State = Literal["ok", "warning", "critical", "no reading"]
Severity = Literal["ok", "warning", "critical"]
PowerState = Literal["on", "off"]

#: The Chassis Control commands that are used: power up, power down at once, ask the operating system to shut down.
ChassisCommand = Literal["on", "off", "soft"]

#: From what a node boots the next time: as its firmware is set up, from the network (PXE), or from something else that
#: somebody asked the BMC for.
BootDevice = Literal["default", "network", "other"]
NextBoot = Literal["default", "network"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits of a sensor in its own unit; None where it has none."""

    lower_non_recoverable: float | None = None
    lower_critical: float | None = None
    lower_non_critical: float | None = None
    upper_non_critical: float | None = None
    upper_critical: float | None = None
    upper_non_recoverable: float | None = None

    def known(self) -> dict[str, float]:
        """The limits that the sensor has, by name."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in named if value is not None}

    def judge(self, value: float) -> State:
        """The state of a value between these limits; on a limit counts as beyond it (IPMI 2.0 §35.13)."""
        if self._beyond(value, self.lower_critical, self.upper_critical):
            return "critical"
        if self._beyond(value, self.lower_non_recoverable, self.upper_non_recoverable):
            return "critical"
        if self._beyond(value, self.lower_non_critical, self.upper_non_critical):
            return "warning"
        return "ok"

    @staticmethod
    def _beyond(value: float, lower: float | None, upper: float | None) -> bool:
        return (lower is not None and value <= lower) or (upper is not None and value >= upper)


@dataclass(frozen=True, slots=True)
class Reading:
    """One sensor at one moment.

    `value` is in `unit` (C, V, RPM, A, W, %, or the BMC's own for other kinds), and None exactly when `state` is
    "no reading". `time` is when the conversation read it, in UTC.
    """

    name: str
    kind: Kind
    value: float | None
    unit: str
    state: State
    thresholds: Thresholds
    time: datetime


@dataclass(frozen=True, slots=True)
class SelEvent:
    """One entry of the system event log.

    `time` is by the BMC's clock, read as UTC; None when that clock was not set. `sensor` is the sensor's name, or
    its number when the BMC has no record of it. `raw` is the entry's 16 bytes in hexadecimal.
    """

    id: int
    time: datetime | None
    sensor: str
    text: str
    severity: Severity
    asserted: bool
    raw: str


@dataclass(frozen=True, slots=True)
class BmcInfo:
    """Who a BMC is (IPMI 2.0 §20.1): its maker's IANA number and name, product number, firmware, IPMI version."""

    manufacturer_id: int
    manufacturer: str
    product_id: int
    firmware: str
    ipmi_version: str


class BmcClient(Protocol):
    """One conversation with one BMC. Closed when its `with` block ends; never used by two threads at once.

    Every method raises a NodeError: Unreachable, AuthenticationFailed, SessionsExhausted, ProtocolError,
    DeadlineExceeded or Unsupported.
    """

    def sensors(self) -> list[Reading]:
        """The numeric sensors, in the order in which the BMC lists them."""

    def power_status(self) -> PowerState:
        """Whether the node is powered."""

    def power(self, command: ChassisCommand) -> None:
        """Send one Chassis Control command, exactly once; returns when the BMC has taken it, not when it is done.

        Raises:
            OutcomeUnknown: it was sent, and whether the BMC took it is not known.
        """

    def boot_device(self) -> BootDevice:
        """From what the node boots the next time; what was asked for is "default" again once it has booted."""

    def set_boot_device(self, device: NextBoot) -> None:
        """Have the node boot from the network the next time, once; or take that back."""

    def events(self) -> list[SelEvent]:
        """The system event log, oldest entry first."""

    def identify(self) -> BmcInfo:
        """Maker, product and firmware."""

    def close(self) -> None:
        """End the conversation. May be called twice."""

    def __enter__(self) -> Self:
        """The conversation itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the conversation."""
