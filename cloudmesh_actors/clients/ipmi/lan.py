"""A conversation with a real BMC, over IPMI 2.0 on LAN: the commands, and what their answers mean.

Sources: IPMI 2.0 §28 (chassis, and its boot options), §31 (event log), §35 (sensors); DCMI 1.5 §6.6.1 (power).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cloudmesh_actors.clients.ipmi import faults, sel
from cloudmesh_actors.clients.ipmi.deadline import Deadline
from cloudmesh_actors.clients.ipmi.exclusive import conversation
from cloudmesh_actors.clients.ipmi.faults import Subject
from cloudmesh_actors.clients.ipmi.model import (
    BmcInfo,
    BootDevice,
    ChassisCommand,
    NextBoot,
    PowerState,
    Reading,
    SelEvent,
    Thresholds,
)
from cloudmesh_actors.clients.ipmi.repository import (
    LAST_RECORD,
    DeviceId,
    Repositories,
    Repository,
    get_device_id,
)
from cloudmesh_actors.clients.ipmi.sdr import Sensor, state_from_bits
from cloudmesh_actors.clients.ipmi.session import AnswerLost, CommandRefused, Controller, Session
from cloudmesh_actors.errors import NodeError, OutcomeUnknown, ProtocolError

if TYPE_CHECKING:
    from cloudmesh_actors.site import Bmc

CHASSIS, SENSOR, STORAGE, GROUP_EXTENSION = 0x00, 0x04, 0x0A, 0x2C
GET_CHASSIS_STATUS, CHASSIS_CONTROL = 0x01, 0x02
SET_BOOT_OPTIONS, GET_BOOT_OPTIONS = 0x08, 0x09
GET_SENSOR_FACTORS, GET_SENSOR_THRESHOLDS, GET_SENSOR_READING = 0x23, 0x27, 0x2D
GET_SEL_INFO, GET_SEL_ENTRY = 0x40, 0x43

CHASSIS_CODES: dict[ChassisCommand, int] = {"off": 0, "on": 1, "soft": 5}

#: Boot options (table 28-14). The first keeps a BMC from forgetting the other when the node is not on within 60 s.
VALID_BIT_CLEARING, BOOT_FLAGS = 0x03, 0x05
NOT_WITHOUT_POWER_ON = 0b0000_1000
OPTION_UNKNOWN = 0x80

#: Bits of the boot flags: they count, for one boot only; and the device, of which one is the network.
FLAGS_COUNT, DEVICE, NETWORK = 0b1000_0000, 0b0011_1100, 0b0000_0100

#: Completion codes by which a BMC says that a sensor is there but cannot be read now (the node is off, say).
NO_READING_NOW = frozenset({0xC0, 0xC3, 0xCB, 0xCD, 0xCE, 0xD3, 0xD5, 0xFF})

#: Bits of the second byte of Get Sensor Reading (table 35-15).
SCANNING, UNAVAILABLE = 0b0100_0000, 0b0010_0000

#: A sensor's owner with this bit is software on the node, which cannot be asked from here.
SYSTEM_SOFTWARE = 0b1

#: Get Power Reading of DCMI: group extension 0xDC, mode "system power statistics".
DCMI, DCMI_GET_POWER = 0xDC, 0x02
DCMI_MEASURING = 0b0100_0000
DCMI_NAME = "DCMI Power"

WHOLE_LOG = b"\0\0"
LOG_IS_EMPTY = 0xCB

#: How long limits of sensors are not asked for again, in seconds. The state of a reading is the BMC's own, always.
LIMITS_TRUSTED_S = 3600.0


@dataclass(slots=True)
class Known:
    """What is remembered of one BMC while its repository stays the same: limits of sensors, and lack of DCMI."""

    repository: Hashable
    until: float
    limits: dict[tuple[int, int, int], bytes] = field(default_factory=dict)
    has_dcmi: bool = True


class Memory:
    """What this process knows of BMCs. Each one's entry is only touched inside a conversation with it."""

    def __init__(self) -> None:
        self.repositories = Repositories()
        self._known: dict[tuple[str, int], Known] = {}
        self._lock = threading.Lock()

    def of(self, address: str, port: int, repository: Hashable, now: float) -> Known:
        """What is known of a BMC; nothing when its repository changed or the knowledge is old."""
        with self._lock:
            known = self._known.get((address, port))
            if known is None or known.repository != repository or known.until < now:
                known = self._known[address, port] = Known(repository, now + LIMITS_TRUSTED_S)
            return known


MEMORY = Memory()


class IpmiClient:
    """A conversation with a real BMC: the `BmcClient` of the driver `ipmi`.

    Args:
        seconds: how long the whole conversation may take.
        locks: the folder of the lock files that keep conversations with one BMC apart.
    """

    def __init__(
        self,
        bmc: Bmc,
        seconds: float,
        locks: Path,
        *,
        memory: Memory = MEMORY,
        open_session: Callable[..., Session] = Session,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._subject = Subject(bmc.node, bmc.address, bmc.port, bmc.user)
        self._memory, self._clock = memory, clock
        self._device: DeviceId | None = None
        self._mute: set[Controller] = set()
        deadline = Deadline(seconds, str(self._subject))
        with ExitStack() as stack:
            stack.enter_context(conversation(bmc.address, bmc.port, locks, deadline))
            session = open_session(self._subject, bmc.password.reveal(), deadline, cipher=bmc.cipher)
            self._session = stack.enter_context(session)
            self._open = stack.pop_all()

    def sensors(self) -> list[Reading]:
        """See `BmcClient`."""
        now = self._clock()
        with self._sentences():
            key, repository = self._repository()
            known = self._memory.of(self._subject.address, self._subject.port, key, now.timestamp())
            readings = [self._read(sensor, known, now) for sensor in repository.sensors]
            return list(with_distinct_names([*readings, *self._dcmi_power(known, now)]))

    def power_status(self) -> PowerState:
        """See `BmcClient`."""
        with self._sentences():
            answer = self._session.request(CHASSIS, GET_CHASSIS_STATUS)
        return "on" if self._byte(answer, 0) & 1 else "off"

    def power(self, command: ChassisCommand) -> None:
        """See `BmcClient`."""
        try:
            with self._sentences():
                self._session.request(CHASSIS, CHASSIS_CONTROL, bytes([CHASSIS_CODES[command]]), repeat=False)
        except AnswerLost:
            self._look_whether_it_came(command)

    def boot_device(self) -> BootDevice:
        """See `BmcClient`."""
        with self._sentences():
            answer = self._session.request(CHASSIS, GET_BOOT_OPTIONS, bytes([BOOT_FLAGS, 0, 0]))
        is_locked, counts = self._byte(answer, 1) & 0b1000_0000, self._byte(answer, 2) & FLAGS_COUNT
        device = self._byte(answer, 3) & DEVICE
        if is_locked or not counts or not device:
            return "default"
        return "network" if device == NETWORK else "other"

    def set_boot_device(self, device: NextBoot) -> None:
        """See `BmcClient`."""
        with self._sentences():
            self._keep_boot_flags()
            flags = (FLAGS_COUNT, NETWORK) if device == "network" else (0, 0)
            self._session.request(CHASSIS, SET_BOOT_OPTIONS, bytes([BOOT_FLAGS, *flags, 0, 0, 0]))

    def events(self) -> list[SelEvent]:
        """See `BmcClient`."""
        with self._sentences():
            info = self._session.request(STORAGE, GET_SEL_INFO)
            if not int.from_bytes(info[1:3], "little"):
                return []
            names = self._repository()[1].names
            return [sel.parse_event(record, names) for record in self._log()]

    def identify(self) -> BmcInfo:
        """See `BmcClient`."""
        with self._sentences():
            return self._identity().info()

    def close(self) -> None:
        """See `BmcClient`."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- sensors

    def _identity(self) -> DeviceId:
        if self._device is None:
            self._device = get_device_id(self._session)
        return self._device

    def _repository(self) -> tuple[Hashable, Repository]:
        return self._memory.repositories.of(self._session, self._identity())

    def _read(self, sensor: Sensor, known: Known, now: datetime) -> Reading:
        limits = sensor.thresholds(self._limits(sensor, known))
        absent = Reading(sensor.name, sensor.kind, None, sensor.unit, "no reading", limits, now)
        answer = self._answer_if_any(GET_SENSOR_READING, sensor, bytes([sensor.number]))
        if len(answer) < 2 or answer[1] & UNAVAILABLE or not answer[1] & SCANNING:
            return absent
        value = sensor.value(answer[0], self._factors(sensor, answer[0]))
        if value is None:
            return absent
        state = state_from_bits(answer[2]) if len(answer) > 2 else limits.judge(value)
        return replace(absent, value=value, state=state)

    def _limits(self, sensor: Sensor, known: Known) -> bytes:
        if not sensor.has_readable_thresholds:
            return sensor.fixed_thresholds
        place = sensor.owner, sensor.lun, sensor.number
        if place not in known.limits:
            known.limits[place] = self._answer_if_any(GET_SENSOR_THRESHOLDS, sensor, bytes([sensor.number]))
        return known.limits[place]

    def _factors(self, sensor: Sensor, raw: int) -> bytes:
        if not sensor.formula.needs_factors:
            return b""
        return self._answer_if_any(GET_SENSOR_FACTORS, sensor, bytes([sensor.number, raw]))[1:7]

    def _answer_if_any(self, command: int, sensor: Sensor, body: bytes) -> bytes:
        """The answer to a sensor command; empty when the sensor cannot be asked now."""
        try:
            if sensor.is_own:
                return self._session.request(SENSOR, command, body, lun=sensor.lun)
            return self._answer_from_behind(command, sensor, body)
        except CommandRefused as refusal:
            if sensor.is_own and refusal.code not in NO_READING_NOW:
                raise
            return b""

    def _answer_from_behind(self, command: int, sensor: Sensor, body: bytes) -> bytes:
        """What the controller that owns the sensor answers. A mute one is not asked again in this conversation."""
        controller = Controller(sensor.owner, sensor.channel)
        if sensor.owner & SYSTEM_SOFTWARE or controller in self._mute:
            return b""
        try:
            return self._session.request_via(controller, SENSOR, command, body, lun=sensor.lun)
        except AnswerLost:
            self._mute.add(controller)
            return b""

    def _dcmi_power(self, known: Known, now: datetime) -> Iterator[Reading]:
        if not known.has_dcmi:
            return
        try:
            answer = self._session.request(GROUP_EXTENSION, DCMI_GET_POWER, bytes([DCMI, 1, 0, 0]))
        except CommandRefused:
            known.has_dcmi = False
            return
        measuring = len(answer) > 17 and bool(answer[17] & DCMI_MEASURING)
        value = float(int.from_bytes(answer[1:3], "little")) if measuring else None
        yield Reading(DCMI_NAME, "power", value, "W", "ok" if measuring else "no reading", Thresholds(), now)

    # -- power and the event log

    def _look_whether_it_came(self, command: ChassisCommand) -> None:
        try:
            status = self.power_status()
        except NodeError as error:
            raise OutcomeUnknown(
                f"{self._subject} did not confirm power {command!r}, and then: {error} Look at the node before "
                "you repeat the command."
            ) from error
        if status != command:
            raise OutcomeUnknown(
                f"{self._subject} did not confirm power {command!r}, and the node is {status}; look at it again in "
                "a moment before you repeat the command."
            )

    def _keep_boot_flags(self) -> None:
        try:
            self._session.request(CHASSIS, SET_BOOT_OPTIONS, bytes([VALID_BIT_CLEARING, NOT_WITHOUT_POWER_ON]))
        except CommandRefused as refusal:
            if refusal.code != OPTION_UNKNOWN:  # a BMC need not have it
                raise

    def _log(self) -> Iterator[bytes]:
        number, seen = 0, set[int]()
        while number != LAST_RECORD:
            if number in seen:
                raise ProtocolError(f"{self._subject} lists its event log in a circle; clear the log.")
            seen.add(number)
            body = WHOLE_LOG + number.to_bytes(2, "little") + b"\x00\xff"
            try:
                answer = self._session.request(STORAGE, GET_SEL_ENTRY, body)
            except CommandRefused as refusal:
                if refusal.code == LOG_IS_EMPTY:  # it was cleared meanwhile
                    return
                raise
            number = int.from_bytes(answer[:2], "little")
            yield self._whole(answer[2:])

    def _whole(self, record: bytes) -> bytes:
        if len(record) < sel.RECORD_LENGTH:
            raise ProtocolError(f"{self._subject} sends a broken entry of its event log; clear the log.")
        return record

    def _byte(self, answer: bytes, place: int) -> int:
        if len(answer) <= place:
            raise ProtocolError(f"{self._subject} sends an answer that is cut short; reset the BMC.")
        return answer[place]

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except CommandRefused as refusal:
            raise faults.command_failed(self._subject, refusal.netfn, refusal.command, refusal.code) from None


def with_distinct_names(readings: Iterable[Reading]) -> Iterator[Reading]:
    """The readings, where the second "Temp" is called "Temp (2)": makers give many sensors one name."""
    counts: Counter[str] = Counter()
    for reading in readings:
        counts[reading.name] += 1
        number = counts[reading.name]
        yield reading if number == 1 else replace(reading, name=f"{reading.name} ({number})")
