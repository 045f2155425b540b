"""What a batch server shows: its batch jobs, batch queues and batch nodes.

Times are seconds since the epoch, durations seconds, memory bytes. `attributes` are all that the server printed, as it
printed them, under one name in all dialects: ``Resource_List.walltime``, ``resources_used.mem``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class JobState(StrEnum):
    """PBS's letters (qstat(1B)) and what they stand for."""

    BEGUN = "B"  # an array of which at least one subjob has started
    COMPLETED = "C"  # Torque: it has run, and is shown for a while yet
    EXITING = "E"
    FINISHED = "F"  # OpenPBS: history
    HELD = "H"
    MOVED = "M"  # OpenPBS: to another server
    QUEUED = "Q"
    RUNNING = "R"
    SUSPENDED = "S"
    TRANSIT = "T"
    INTERRUPTED = "U"  # suspended, the workstation's own user is back; Slurm's wrapper: a state that PBS has not
    WAITING = "W"
    EXPIRED = "X"  # a subjob that has ended


class NodeState(StrEnum):
    """The words of pbsnodes: Torque's, OpenPBS's, and those that Slurm's wrapper lets through."""

    ACTIVE = "active"
    ALLOCATED = "allocated"
    BUSY = "busy"
    COMPLETING = "completing"
    DOWN = "down"
    DRAIN = "drain"
    DRAINING = "draining"
    FREE = "free"
    INITIALIZING = "initializing"
    JOB_BUSY = "job-busy"
    JOB_EXCLUSIVE = "job-exclusive"
    JOB_SHARING = "job-sharing"
    MAINT = "maint"
    MAINTENANCE = "maintenance"
    MIXED = "mixed"
    NO_HIERARCHY = "MOM-list-not-sent"
    OFFLINE = "offline"
    OFFLINE_BY_MOM = "offline_by_mom"
    PLANNED = "planned"
    PROVISIONING = "provisioning"
    RESERVE = "reserve"
    RESERVED = "reserved"
    RESERVATION_EXCLUSIVE = "resv-exclusive"
    SLEEP = "sleep"
    STALE = "Stale"
    TIME_SHARED = "time-shared"
    UNKNOWN = "state-unknown"
    UNRESOLVABLE = "unresolvable"
    UP = "up"
    WAIT_PROVISIONING = "wait-provisioning"


class Attributes(Mapping[str, str]):
    """The attributes of a record as printed.

    Unless they were needed to read it, they are read from the output when first asked for, and the output is kept until
    then: a hundred thousand jobs are read several times faster so, and in less memory.
    """

    __slots__ = ("_begin", "_data", "_end", "_known", "_read")

    def __init__(self, data: bytes, begin: int, end: int, read: Callable[[bytes], dict[str, str]]) -> None:
        self._data, self._begin, self._end, self._read = data, begin, end, read
        self._known: dict[str, str] | None = None

    @classmethod
    def of(cls, known: dict[str, str]) -> Attributes:
        """Attributes that are known already."""
        attributes = cls(b"", 0, 0, lambda _: known)
        attributes._known = known
        return attributes

    def plain(self) -> dict[str, str]:
        """A dictionary of them; what had to be read for it is, unlike otherwise, not kept for the next time."""
        return self._read(self._data[self._begin : self._end]) if self._known is None else dict(self._known)

    def unread(self) -> tuple[Callable[[bytes], dict[str, str]], bytes] | None:
        """What reads them and the text that it reads them from; None when they are known."""
        return (self._read, self._data[self._begin : self._end]) if self._known is None else None

    def __getitem__(self, name: str) -> str:
        return self._kept()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept())

    def __len__(self) -> int:
        return len(self._kept())

    def __repr__(self) -> str:
        return repr(self._kept())

    def _kept(self) -> dict[str, str]:
        if self._known is None:
            self._known = self.plain()
            self._data = b""
        return self._known


class Slots(NamedTuple):
    """How many slots (processors, `np`, `ncpus`) of a host a batch job holds."""

    host: str
    slots: int


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A batch job, or a whole array of them (`39[].server`)."""

    id: str  # as the server writes it: "34.server", "39[].server", "39[5].server", Slurm: "34"
    name: str
    owner: str  # without the host
    state: JobState
    queue: str
    nodes: list[Slots]  # empty until it runs; each host once, in the order of exec_host
    node_count: int | None  # asked for, or held
    cpus: int | None  # held, or else asked for
    memory: int | None  # asked for
    memory_used: int | None
    walltime_requested: int | None  # None also when there is no limit
    walltime_used: int | None
    submitted: int | None
    started: int | None
    ended: int | None
    exit_status: int | None
    attributes: Mapping[str, str]

    @property
    def is_array(self) -> bool:
        """Whether this stands for all subjobs of an array."""
        return "[]" in self.id


@dataclass(frozen=True, slots=True)
class BatchQueue:
    """A batch queue; in Slurm a partition."""

    name: str
    type: str  # "Execution" or "Route"
    enabled: bool  # takes jobs
    started: bool  # runs them
    total: int | None  # jobs in it; Slurm's wrapper does not tell
    states: dict[str, int]  # jobs by state, in PBS's words: {"Queued": 3, "Running": 1, …}
    limits: dict[str, str]  # the attributes that limit its jobs: max_running, resources_max.walltime, …
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BatchNode:
    """A batch node; in OpenPBS a vnode."""

    name: str
    states: frozenset[str]  # NodeState where the word is known, else the word
    slots: int | None
    jobs: list[str]  # ids, each once
    properties: list[str]
    memory: int | None  # physical
    load: float | None
    attributes: Mapping[str, str]
