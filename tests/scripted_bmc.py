"""A BMC for unit tests that answers commands from tables, where `ipmi_sim` cannot be made to behave so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from cloudmesh_actors.clients.ipmi.deadline import Deadline
from cloudmesh_actors.clients.ipmi.faults import Subject
from cloudmesh_actors.clients.ipmi.session import AnswerLost, CommandRefused, Controller

DEVICE_ID = bytes.fromhex("2001030851 9f a20200 0001".replace(" ", ""))
CANNOT = 0xC1

#: A completion code, and the data that come with it.
Answer = tuple[int, bytes]


def full_record(number: int, name: bytes = b"Temp", **changes: int) -> bytes:
    """A full sensor record (IPMI 2.0 table 43-1) of a temperature in C; `changes` are bytes by offset, as `at13`."""
    record = bytearray(48) + name
    record[2], record[3], record[4] = 0x51, 1, len(record) - 5
    record[5], record[7], record[12], record[13], record[21], record[24] = 0x20, number, 1, 1, 1, 1
    record[47] = 0xC0 | len(name)
    for place, value in changes.items():
        record[int(place.removeprefix("at"))] = value
    return bytes(record)


@dataclass
class ScriptedBmc:
    """What stands in for a `Session`. Records are chained in their order; record n has the id n."""

    records: list[bytes] = field(default_factory=list)
    device_id: bytes = DEVICE_ID
    added_at: int = 1_700_000_000
    longest_read: int = 255
    in_a_circle: bool = False
    readings: dict[int, bytes] = field(default_factory=dict)
    limits: dict[int, bytes] = field(default_factory=dict)
    #: Readings of a controller behind the BMC; None when it does not answer.
    behind: dict[int, bytes] | None = None
    more: dict[tuple[int, int], Callable[[bytes], Answer]] = field(default_factory=dict)
    address: str = "127.0.0.1"
    seconds: float = 20.0
    sent: list[tuple[int, int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.subject = Subject("i001", self.address, 623, "admin")
        self.deadline = Deadline(self.seconds, str(self.subject))
        self.reservation = 0
        self._answers: dict[tuple[int, int], Callable[[bytes], Answer]] = {
            (0x06, 0x01): lambda _: (0, self.device_id),
            (0x0A, 0x20): lambda _: (0, self._repository_info()),
            (0x0A, 0x22): self._reserve,
            (0x04, 0x22): self._reserve,
            (0x0A, 0x23): self._record,
            (0x04, 0x21): self._record,
            (0x04, 0x2D): lambda body: self._of(self.readings, body),
            (0x04, 0x27): lambda body: self._of(self.limits, body),
            **self.more,
        }

    def request(self, netfn: int, command: int, data: bytes = b"", *, lun: int = 0, repeat: bool = True) -> bytes:
        self.sent.append((netfn, command, data))
        code, answer = self._answers.get((netfn, command), lambda _: (CANNOT, b""))(data)
        if code:
            raise CommandRefused(netfn, command, code)
        return answer

    def request_via(
        self, controller: Controller, netfn: int, command: int, data: bytes = b"", *, lun: int = 0
    ) -> bytes:
        self.sent.append((netfn, command, data))
        if self.behind is None:
            raise AnswerLost
        if data[0] not in self.behind:
            raise CommandRefused(netfn, command, 0xD4)
        return self.behind[data[0]]

    def count(self, netfn: int, command: int) -> int:
        return sum((netfn, command) == (n, c) for n, c, _ in self.sent)

    def _repository_info(self) -> bytes:
        count = len(self.records).to_bytes(2, "little")
        return b"\x51" + count + b"\0\0" + self.added_at.to_bytes(4, "little") + bytes(5)

    def _reserve(self, _: bytes) -> Answer:
        self.reservation += 1
        return 0, self.reservation.to_bytes(2, "little")

    def _record(self, body: bytes) -> Answer:
        number, offset, length = int.from_bytes(body[2:4], "little"), body[4], body[5]
        if offset and int.from_bytes(body[:2], "little") != self.reservation:
            return 0xC5, b""
        record = self.records[number]
        if min(length, len(record) - offset) > self.longest_read:
            return 0xCA, b""
        is_last = number == len(self.records) - 1
        following = 0 if is_last and self.in_a_circle else 0xFFFF if is_last else number + 1
        return 0, following.to_bytes(2, "little") + record[offset : offset + length]

    @staticmethod
    def _of(table: dict[int, bytes], body: bytes) -> Answer:
        return (0, table[body[0]]) if body[0] in table else (0xCB, b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
