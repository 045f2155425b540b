"""Scripts that run on a server on their own: whoever started them may die, and somebody else asks how they ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from cloudmesh_actors.errors import ArgumentError

#: The most words, environment and all, that a script may be started with, in bytes: execve(2) takes 128 kB at once.
LONGEST_START = 100_000

#: What a script that is ended may do to end in order, in seconds; then it is killed.
KILL_AFTER_S = 5

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,79}")


class Kept(NamedTuple):
    """What is kept of an output where the script runs: so much of its beginning and of its end, in bytes."""

    head: int = 2**20
    tail: int = 2**16


class Phase(StrEnum):
    """How far a script has come."""

    ABSENT = "absent"  # nothing of that name was started here, or it was forgotten
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"  # by itself: there is an exit status
    LATE = "late"  # it was ended because its time was up
    KILLED = "killed"  # it was ended from outside
    LOST = "lost"  # it is gone and left no word: its host went down, or somebody killed it and its keeper


#: Phases that are never left again.
OVER = frozenset({Phase.ENDED, Phase.LATE, Phase.KILLED, Phase.LOST})


@dataclass(frozen=True, slots=True)
class Script:
    """Argument lists, run one after the other until one fails.

    `name` is what it is asked for by; on each server a name is used once. With a `file`, this is the only command, and
    `commands` holds its arguments. After `seconds` it is ended, with all that it has started.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    seconds: float
    environment: Mapping[str, str] = field(default_factory=dict)
    file: bytes | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a name for a script")
        words = [word for command in self.commands for word in command]
        words += [part for pair in self.environment.items() for part in pair]
        if sum(len(word.encode()) + 4 for word in words) > LONGEST_START:
            raise ArgumentError(f"A script's words and parameters take more than {LONGEST_START:,} bytes.")
        if any("\0" in word for word in words):
            raise ArgumentError("A script's words and parameters cannot hold NUL characters.")


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a script. `command` counts from 1: the one that runs, or ran last; `status` is its exit status.

    `output` is what it has printed after the offset that was asked for. Of a long output the middle is not kept;
    `tail` is then its end, once the script is over. `complete` says that no more output will come.
    """

    phase: Phase
    command: int = 0
    status: int | None = None
    output: bytes = b""
    tail: bytes = b""
    complete: bool = False

    @property
    def over(self) -> bool:
        """Whether the script runs no more."""
        return self.phase in OVER


class Runner(Protocol):
    """Starts scripts on one server and tells of them. A context manager; all methods raise NodeErrors.

    What it knows of a script is kept where the script runs, until it is told to forget it.
    """

    @property
    def place(self) -> str:
        """Where its scripts run; one who asks elsewhere will not find them."""

    def __enter__(self) -> Self:
        """Connect."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; scripts go on."""

    def start(self, script: Script) -> bool:
        """Start a script; False when one of that name was started before, which is then left alone."""

    def look(self, name: str, since: int = 0) -> Look:
        """What a script does, and what it has printed after the first `since` bytes."""

    def abort(self, name: str) -> None:
        """Have a script end with all that it has started; one that has not begun never will. Returns at once."""

    def forget(self, name: str) -> None:
        """Remove what is kept of a script that is over."""
