"""The sensor data repository of a BMC: fetched, bounded, and shared by all BMCs that have the same one.

Sources: IPMI 2.0 §33 (SDR repository), §35.2 to §35.4 (device SDRs), §20.1 (device identity).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from cloudmesh_actors.clients.ipmi import sdr
from cloudmesh_actors.clients.ipmi.model import BmcInfo
from cloudmesh_actors.clients.ipmi.sdr import Sensor
from cloudmesh_actors.clients.ipmi.session import CommandRefused, Session
from cloudmesh_actors.errors import ProtocolError

APPLICATION, SENSOR, STORAGE = 0x06, 0x04, 0x0A
GET_DEVICE_ID = 0x01
GET_REPOSITORY_INFO = 0x20
RESERVE = 0x22

RESERVATION_LOST, CANNOT_RETURN_SO_MANY = 0xC5, 0xCA
#: What BMCs answer to a read that is longer than they can send.
TOO_LONG = frozenset({CANNOT_RETURN_SO_MANY, 0xC7, 0xC8, 0xC9, 0xFF})

WHOLE_RECORD = 0xFF
LAST_RECORD = 0xFFFF

#: The bytes of a record that are read at once when it cannot be read whole; halved until the BMC can send them.
FIRST_CHUNK, SMALLEST_CHUNK = 64, 4

#: More than any BMC has; a list that is longer runs in a circle.
MOST_RECORDS = 8192

#: How often a fetch begins anew because the repository was changed under it.
FETCHES = 3

#: How many reservations one fetch may use up. One is lost when the network doubles a datagram, or another reader comes.
MOST_RESERVATIONS = 100

#: Time stamps that say nothing (§33.9): never set, and not kept.
VOID_TIME_STAMPS = frozenset({0, 0xFFFFFFFF})

#: Repositories kept in memory; a repository of a hundred sensors takes about 50 kB.
MOST_REPOSITORIES = 2048

#: How long a repository that cannot be recognised is trusted to be the same BMC's, in seconds.
TRUSTED_S = 600.0

#: IANA enterprise numbers of makers of BMCs.
MANUFACTURERS = {
    2: "IBM",
    11: "HP",
    42: "Sun",
    343: "Intel",
    674: "Dell",
    2011: "Huawei",
    2623: "ASUS",
    5771: "Cisco",
    7244: "Quanta",
    10368: "Fujitsu",
    10876: "Supermicro",
    15370: "Gigabyte",
    19046: "Lenovo",
    20974: "AMI",
    47488: "Supermicro",
}


@dataclass(frozen=True, slots=True)
class DeviceId:
    """The answer to Get Device ID, and what of it says which repository the BMC has."""

    answer: bytes

    @property
    def has_repository(self) -> bool:
        """Whether there is an SDR repository; otherwise the BMC lists its sensors as device SDRs."""
        return bool(self.answer[5] & 0b10) or not self.answer[1] & 0x80

    def info(self) -> BmcInfo:
        """Who the BMC is."""
        manufacturer = int.from_bytes(self.answer[6:9], "little") & 0xFFFFF
        version = self.answer[4]
        return BmcInfo(
            manufacturer_id=manufacturer,
            manufacturer=MANUFACTURERS.get(manufacturer, f"IANA {manufacturer}"),
            product_id=int.from_bytes(self.answer[9:11], "little"),
            firmware=f"{self.answer[2] & 0x7F}.{self.answer[3]:02x}",
            ipmi_version=f"{version & 0x0F}.{version >> 4}",
        )


@dataclass(frozen=True, slots=True)
class Repository:
    """A BMC's numeric sensors in its order, and the names of all its sensors by (owner, LUN, number)."""

    sensors: tuple[Sensor, ...]
    names: dict[tuple[int, int, int], str]


@dataclass(frozen=True, slots=True)
class Source:
    """Where records come from: the two commands differ between the repository and device SDRs."""

    netfn: int
    get_record: int


REPOSITORY_SOURCE = Source(STORAGE, 0x23)
DEVICE_SOURCE = Source(SENSOR, 0x21)


def get_device_id(session: Session) -> DeviceId:
    """Ask a BMC who it is.

    Raises:
        ProtocolError: the answer is too short.
    """
    answer = session.request(APPLICATION, GET_DEVICE_ID)
    if len(answer) < 11:
        raise ProtocolError(f"{session.subject} tells too little of itself; update its firmware.")
    return DeviceId(answer)


class Repositories:
    """The repositories that this process knows. Many threads use it at once; each repository is fetched by one.

    A repository is shared by all BMCs of the same maker, product and firmware whose repository has as many records
    and the same time stamps. When the time stamps are void it is that one BMC's, and only for `TRUSTED_S`.
    """

    def __init__(self, most: int = MOST_REPOSITORIES, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Repository, float]] = OrderedDict()
        self._fetching: dict[Hashable, threading.Lock] = {}

    def of(self, session: Session, device: DeviceId) -> tuple[Hashable, Repository]:
        """The repository of a BMC, with its key: another key means another repository.

        Raises:
            NodeError: it could not be fetched.
        """
        key, trusted = _key(session, device)
        if (found := self._find(key)) is not None:
            return key, found
        turn = self._turn(key)
        if not turn.acquire(timeout=session.deadline.check("the wait for the list of sensors")):
            session.deadline.check("the wait for the list of sensors")
        try:
            found = self._find(key)
            if found is None:
                key, trusted, found = fetch_unchanged(session, device)
                self._keep(key, found, trusted)
            return key, found
        finally:
            turn.release()

    def _find(self, key: Hashable) -> Repository | None:
        with self._lock:
            found, until = self._kept.get(key, (None, 0.0))
            if found is None or until < self._clock():
                return None
            self._kept.move_to_end(key)
            return found

    def _turn(self, key: Hashable) -> threading.Lock:
        with self._lock:
            return self._fetching.setdefault(key, threading.Lock())

    def _keep(self, key: Hashable, repository: Repository, trusted: float) -> None:
        with self._lock:
            self._kept[key] = repository, self._clock() + trusted
            while len(self._kept) > self._most:
                old, _ = self._kept.popitem(last=False)
                self._fetching.pop(old, None)


def _key(session: Session, device: DeviceId) -> tuple[Hashable, float]:
    """What a repository is known by, and for how long in seconds."""
    model = device.answer[:5] + device.answer[6:]
    if not device.has_repository:
        return (model, session.subject.address, session.subject.port), TRUSTED_S
    info = session.request(STORAGE, GET_REPOSITORY_INFO)
    if len(info) < 13:
        raise ProtocolError(f"{session.subject} tells too little of its sensor records; update its firmware.")
    version_and_count, stamps = info[:3], info[5:13]
    if int.from_bytes(stamps[:4], "little") in VOID_TIME_STAMPS:
        return (model, version_and_count, session.subject.address, session.subject.port), TRUSTED_S
    return (model, version_and_count, stamps), float("inf")


def fetch_unchanged(session: Session, device: DeviceId) -> tuple[Hashable, float, Repository]:
    """Read the whole repository of a BMC; begin anew when it is changed meanwhile."""
    source = REPOSITORY_SOURCE if device.has_repository else DEVICE_SOURCE
    key, _ = _key(session, device)
    for _ in range(FETCHES):
        found = parse(list(Fetch(session, source).records()))
        before, (key, trusted) = key, _key(session, device)
        if key == before:
            return key, trusted, found
    raise ProtocolError(f"{session.subject} changes its sensor records all the time; try again later.")


def parse(records: list[bytes]) -> Repository:
    """The sensors of a repository's records; a record that is cut short or of another kind is left out."""
    sensors: list[Sensor] = []
    names: dict[tuple[int, int, int], str] = {}
    for record in records:
        if len(record) <= sdr.HEADER_LENGTH + 3 or record[3] not in sdr.NAME_AT:
            continue
        names[sdr.sensor_key(record)] = sdr.sensor_name(record)
        if record[3] == sdr.FULL_SENSOR_RECORD and len(record) >= sdr.NAME_AT[sdr.FULL_SENSOR_RECORD]:
            sensor = sdr.parse_sensor(record)
            sensors += [sensor] if sensor else []
    return Repository(tuple(sensors), names)


class Fetch:
    """One reading of a repository from its first record to its last."""

    def __init__(self, session: Session, source: Source) -> None:
        self._session, self._source = session, source
        self._chunk = WHOLE_RECORD
        self._reservation = b"\0\0"
        self._reservations = 0

    def records(self) -> Iterator[bytes]:
        """The records, in the order of the repository."""
        seen: set[int] = set()
        number = 0
        while number != LAST_RECORD:
            if number in seen or len(seen) >= MOST_RECORDS:
                raise ProtocolError(f"{self._session.subject} lists its sensor records in a circle; reset the BMC.")
            seen.add(number)
            number, record = self._record(number)
            yield record

    def _record(self, number: int) -> tuple[int, bytes]:
        if self._chunk == WHOLE_RECORD:
            try:
                following, record = self._part(number, 0, WHOLE_RECORD)
                if _is_whole(record):
                    return following, record
            except CommandRefused as refusal:
                if refusal.code not in TOO_LONG:
                    raise
            self._chunk = FIRST_CHUNK
            self._reserve()
        while True:
            try:
                return self._record_in_chunks(number)
            except CommandRefused as refusal:
                if refusal.code != RESERVATION_LOST or self._reservations >= MOST_RESERVATIONS:
                    raise
                self._reserve()

    def _reserve(self) -> None:
        """Parts of a record are only given to who holds the reservation (IPMI 2.0 §33.11)."""
        self._reservations += 1
        self._reservation = self._session.request(self._source.netfn, RESERVE)[:2]

    def _record_in_chunks(self, number: int) -> tuple[int, bytes]:
        following, record = self._part(number, 0, sdr.HEADER_LENGTH)
        if len(record) < sdr.HEADER_LENGTH:
            raise ProtocolError(f"{self._session.subject} sends a broken sensor record; reset the BMC.")
        length = sdr.HEADER_LENGTH + record[4]
        while len(record) < length:
            record += self._next_chunk(number, record, length)
        return following, record

    def _next_chunk(self, number: int, record: bytes, length: int) -> bytes:
        while True:
            try:
                return self._part(number, len(record), min(self._chunk, length - len(record)))[1]
            except CommandRefused as refusal:
                if refusal.code not in TOO_LONG or self._chunk <= SMALLEST_CHUNK:
                    raise
                self._chunk //= 2

    def _part(self, number: int, offset: int, length: int) -> tuple[int, bytes]:
        body = self._reservation + number.to_bytes(2, "little") + bytes([offset, length])
        answer = self._session.request(self._source.netfn, self._source.get_record, body)
        if len(answer) <= 2:
            raise ProtocolError(f"{self._session.subject} sends an empty sensor record; reset the BMC.")
        return int.from_bytes(answer[:2], "little"), answer[2:]


def _is_whole(record: bytes) -> bool:
    return len(record) >= sdr.HEADER_LENGTH and len(record) >= sdr.HEADER_LENGTH + record[4]
