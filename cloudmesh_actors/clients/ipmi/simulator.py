"""A simulated BMC: the `BmcClient` of the driver `simulator`.

What it measures is a pure function of its seed, its node and the time, so every process sees the same. The node's
power is a file in the state folder, so what one process switches off is off for all.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import orjson

from cloudmesh_actors.clients.ipmi.deadline import Deadline
from cloudmesh_actors.clients.ipmi.exclusive import conversation
from cloudmesh_actors.clients.ipmi.model import (
    BmcInfo,
    BootDevice,
    ChassisCommand,
    Kind,
    NextBoot,
    PowerState,
    Reading,
    SelEvent,
    Severity,
    Thresholds,
)
from cloudmesh_actors.errors import AuthenticationFailed, SessionsExhausted, Unreachable

if TYPE_CHECKING:
    from cloudmesh_actors.site import Bmc

#: How long a silent BMC is waited for, and how long a slow one takes over each answer, in seconds.
SILENCE_S, SLOWNESS_S = 1.0, 2.0

#: How long after a command the node is in the new state, in seconds: the BMC reports it only then.
DELAYS_S: dict[ChassisCommand, float] = {"on": 0.3, "off": 0.2, "soft": 1.0}

#: Values wander from one random level to the next in so many seconds.
DRIFT_S = 900.0

#: Power changes that the event log remembers of a node.
CHANGES_KEPT = 50

INFO: Final = BmcInfo(0, "cloudmesh_actors", 1, "1.00", "2.0")


@dataclass(frozen=True, slots=True)
class Gauge:
    """A simulated sensor: it swings by `swing` around `level`, in whole `step`s.

    `off` is what it measures when the node is off; None when it cannot be read then.
    """

    name: str
    kind: Kind
    unit: str
    level: float
    swing: float
    step: float
    limits: Thresholds = Thresholds()  # noqa: RUF009 - immutable
    off: float | None = None


AIR = Thresholds(upper_non_critical=38.0, upper_critical=42.0)
MEMORY = Thresholds(upper_non_critical=75.0, upper_critical=85.0)
SILICON = Thresholds(upper_non_critical=80.0, upper_critical=90.0, upper_non_recoverable=95.0)
SPINNING = Thresholds(lower_non_recoverable=500.0, lower_critical=1000.0, lower_non_critical=2000.0)


def _rail(volts: float, off: float | None = None) -> Gauge:
    low, high = round(volts * 0.9, 2), round(volts * 1.1, 2)
    limits = Thresholds(lower_critical=low, upper_critical=high)
    return Gauge(f"{volts:g}V", "voltage", "V", volts, volts * 0.01, 0.01, limits, off)


GAUGES = (
    Gauge("Inlet Temp", "temperature", "C", 23.0, 3.0, 1.0, AIR, off=21.0),
    Gauge("CPU1 Temp", "temperature", "C", 56.0, 10.0, 1.0, SILICON),
    Gauge("CPU2 Temp", "temperature", "C", 54.0, 10.0, 1.0, SILICON),
    Gauge("DIMM Temp", "temperature", "C", 41.0, 5.0, 1.0, MEMORY),
    *(Gauge(f"FAN {n}", "fan", "RPM", 6000.0, 800.0, 100.0, SPINNING, off=0.0) for n in range(1, 5)),
    _rail(12.0),
    _rail(5.0, off=5.0),
    _rail(3.3),
    Gauge("PSU1 Current", "current", "A", 0.9, 0.2, 0.1, off=0.0),
    Gauge("PSU1 Power", "power", "W", 190.0, 40.0, 2.0, off=6.0),
    Gauge("PSU2 Power", "power", "W", 186.0, 40.0, 2.0, off=6.0),
)

#: What the faults `hot` and `no-reading` change.
HOT_SENSOR, HOT_C = "CPU1 Temp", 93.0
UNREADABLE = frozenset({"CPU2 Temp", "FAN 3"})


class SimulatedBmc:
    """A conversation with a simulated BMC.

    Args:
        seconds: how long the whole conversation may take.
        folder: where the simulated nodes' power is kept; processes that share it share the world.

    Raises:
        Unreachable, AuthenticationFailed, SessionsExhausted, DeadlineExceeded: what the BMC's `fault` says.
    """

    def __init__(
        self,
        bmc: Bmc,
        seconds: float,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bmc, self._clock, self._sleep = bmc, clock, sleep
        self._subject = f"{bmc.node}: the simulated BMC"
        self._deadline = Deadline(seconds, self._subject)
        self._power = PowerFile(folder / "power" / f"{bmc.node}.json")
        self._next_boot = folder / "boot" / bmc.node
        with ExitStack() as stack:
            stack.enter_context(conversation(bmc.node, bmc.port, folder / "locks", self._deadline))
            self._log_in()
            self._open = stack.pop_all()

    def sensors(self) -> list[Reading]:
        """See `BmcClient`."""
        self._take_time()
        now = self._clock()
        is_on = self._power.state(now) == "on"
        return [self._read(gauge, now, is_on) for gauge in GAUGES]

    def power_status(self) -> PowerState:
        """See `BmcClient`."""
        self._take_time()
        return self._power.state(self._clock())

    def power(self, command: ChassisCommand) -> None:
        """See `BmcClient`."""
        self._take_time()
        now = self._clock()
        self._power.change(now, now + DELAYS_S[command], "on" if command == "on" else "off")

    def boot_device(self) -> BootDevice:
        """See `BmcClient`."""
        self._take_time()
        now, asked_at = self._clock(), self._network_asked_at()
        booted = any(state == "on" and (asked_at or 0.0) < at <= now for at, state in self._power.changes())
        return "default" if asked_at is None or booted else "network"

    def set_boot_device(self, device: NextBoot) -> None:
        """See `BmcClient`."""
        self._take_time()
        if device == "default":
            self._next_boot.unlink(missing_ok=True)
            return
        self._next_boot.parent.mkdir(parents=True, exist_ok=True)
        self._next_boot.write_text(repr(self._clock()))

    def events(self) -> list[SelEvent]:
        """See `BmcClient`."""
        self._take_time()
        return [
            _event(number, at, sensor, text, severity)
            for number, (at, sensor, text, severity) in enumerate(self._happenings(), start=1)
        ]

    def identify(self) -> BmcInfo:
        """See `BmcClient`."""
        self._take_time()
        return INFO

    def close(self) -> None:
        """See `BmcClient`."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _log_in(self) -> None:
        match self._bmc.fault:
            case "silent":
                self._wait(SILENCE_S)
                raise Unreachable(f"{self._subject} does not answer; it is told to be silent in the site file.")
            case "wrong-password":
                raise AuthenticationFailed(
                    f"{self._subject} refuses the password of {self._bmc.user!r}; it is told to in the site file."
                )
            case "sessions-exhausted":
                raise SessionsExhausted(f"{self._subject} has no free session; it is told so in the site file.")

    def _take_time(self) -> None:
        if self._bmc.fault == "slow":
            self._wait(SLOWNESS_S)
        self._deadline.check()

    def _wait(self, seconds: float) -> None:
        self._sleep(min(seconds, self._deadline.left()))
        self._deadline.check()

    def _read(self, gauge: Gauge, now: float, is_on: bool) -> Reading:
        value = self._measure(gauge, now) if is_on else gauge.off
        if self._bmc.fault == "no-reading" and gauge.name in UNREADABLE:
            value = None
        state = "no reading" if value is None else gauge.limits.judge(value) if is_on else "ok"
        time = datetime.fromtimestamp(now, UTC)
        return Reading(gauge.name, gauge.kind, value, gauge.unit, state, gauge.limits, time)

    def _measure(self, gauge: Gauge, now: float) -> float:
        if self._bmc.fault == "hot" and gauge.name == HOT_SENSOR:
            return HOT_C
        wandering = drift(f"{self._bmc.seed}/{self._bmc.node}/{gauge.name}", now)
        return round(round((gauge.level + gauge.swing * wandering) / gauge.step) * gauge.step, 3)

    def _network_asked_at(self) -> float | None:
        try:
            return float(self._next_boot.read_text())
        except FileNotFoundError:
            return None

    def _happenings(self) -> Iterator[tuple[float | None, str, str, Severity]]:
        if self._bmc.fault == "hot":
            yield None, HOT_SENSOR, "Temperature: Upper critical", "critical"
        for at, state in self._power.changes():
            if at <= self._clock():
                yield at, "Chassis", f"System ACPI Power State: {'S0/G0' if state == 'on' else 'S5/G2'}", "ok"


class PowerFile:
    """A node's power changes, past and soon to come, in a file that processes share."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def changes(self) -> list[tuple[float, PowerState]]:
        """When the node went, or will go, on and off: seconds since the epoch, oldest first."""
        try:
            return [(at, state) for at, state in orjson.loads(self._path.read_bytes())]
        except FileNotFoundError:
            return []

    def state(self, now: float) -> PowerState:
        """Whether the node is on; a node that was never switched is."""
        states: list[PowerState] = [state for at, state in self.changes() if at <= now]
        return states[-1] if states else "on"

    def change(self, now: float, at: float, state: PowerState) -> None:
        """Let the node go on or off at a moment, and forget what else was to come. Only in a conversation."""
        past = [change for change in self.changes() if change[0] <= now]
        changes = past if self.state(now) == state else [*past, (at, state)]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        draft.write_bytes(orjson.dumps(changes[-CHANGES_KEPT:]))
        draft.replace(self._path)


def drift(seed: str, now: float) -> float:
    """A number between -1 and 1 that wanders smoothly with time, the same in every process."""
    step, part = divmod(now / DRIFT_S, 1)
    here, there = _level(f"{seed}/{step:.0f}"), _level(f"{seed}/{step + 1:.0f}")
    smooth = part * part * (3 - 2 * part)
    return here + (there - here) * smooth


def _level(seed: str) -> float:
    return random.Random(seed).uniform(-1, 1)  # noqa: S311 - a weather, not a secret


def _event(number: int, at: float | None, sensor: str, text: str, severity: Severity) -> SelEvent:
    time = None if at is None else datetime.fromtimestamp(at, UTC).replace(microsecond=0)
    return SelEvent(number, time, sensor, text, severity, True, f"{number:032x}")
