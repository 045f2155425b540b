"""Scripts that only seem to run: the `Runner` of the driver `simulator`.

What a script does is settled when it is started, and written to a file, so that every process sees the same. A few
programs behave like their namesakes: ``echo``, ``true``, ``false``, ``sleep``. Of any other a line is printed, and it
takes its share of the simulated time.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import orjson

from cloudmesh_actors.clients.shell.model import Kept, Look, Phase, Script

#: A script as it will go: when something is printed, and how it ends. Times are seconds since the epoch.
Course = dict[str, Any]


class SimulatedRunner:
    """A simulated server.

    Args:
        folder: where it is written how scripts go; processes that share it share the world.
        seconds: how long a script takes, beside the time that it sleeps.
        failures: how many of all scripts fail, from 0 to 1; which ones, their names decide.
    """

    place = "simulator"

    def __init__(
        self,
        folder: Path,
        *,
        seconds: float = 0.0,
        failures: float = 0.0,
        keep: Kept = Kept(),  # noqa: B008 - immutable
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._seconds, self._failures, self._keep, self._clock = folder, seconds, failures, keep, clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `Runner`."""

    def start(self, script: Script) -> bool:
        """See `Runner`."""
        course = self._course(script)
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with self._file(script.name).open("xb") as file:
                file.write(orjson.dumps(course))
        except FileExistsError:
            return False
        return True

    def look(self, name: str, since: int = 0) -> Look:
        """See `Runner`."""
        course = self._read(name)
        if course is None:
            return Look(Phase.ABSENT)
        if not course:
            return Look(Phase.STARTING)
        now = min(self._clock(), course.get("aborted", float("inf")))
        printed = "".join(text for at, text in course["prints"] if at <= now).encode()
        command = max((number for at, number in course["begins"] if at <= now), default=1)
        head, more = printed[: self._keep.head][since:], printed[self._keep.head :]
        if now >= course["ends"]:
            phase, status = Phase(course["phase"]), course["status"]
        elif "aborted" in course:
            phase, status = Phase.KILLED, None
        else:
            return Look(Phase.RUNNING, command, None, head)
        return Look(phase, command, status, head, more[-self._keep.tail :], complete=True)

    def abort(self, name: str) -> None:
        """See `Runner`."""
        course = self._read(name)
        if course and "aborted" not in course:
            fresh = self._file(name).with_suffix(".new")
            fresh.write_bytes(orjson.dumps({**course, "aborted": self._clock()}))
            fresh.replace(self._file(name))

    def forget(self, name: str) -> None:
        """See `Runner`."""
        self._file(name).unlink(missing_ok=True)

    def _course(self, script: Script) -> Course:
        commands = list(_commands(script))
        took = [*_times(commands, self._seconds)]
        fails = next((n for n, command in enumerate(commands) if command[0] == "false"), None)
        if fails is None and _share(script.name) < self._failures:
            fails = len(commands) - 1
        last = len(commands) if fails is None else fails + 1
        at = began = self._clock()
        prints, begins = [], []
        for number, command in enumerate(commands[:last]):
            begins.append((at, number + 1))
            at += took[number]
            prints.append((at, _printed(command)))
        if fails is not None and commands[fails][0] != "false":
            prints.append((at, "a simulated failure\n"))
        late = at - began > script.seconds
        status = None if late else int(fails is not None)
        phase = Phase.LATE if late else Phase.ENDED
        return {"prints": prints, "begins": begins, "ends": min(at, began + script.seconds), "phase": phase.value,
                "status": status}  # fmt: skip

    def _read(self, name: str) -> Course | None:
        try:
            content = self._file(name).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return dict(orjson.loads(content))
        except orjson.JSONDecodeError:  # it is being written
            return {}

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _commands(script: Script) -> Iterator[Sequence[str]]:
    if script.file is None:
        yield from script.commands
    else:
        yield from (("script", *arguments) for arguments in script.commands)


def _times(commands: Sequence[Sequence[str]], seconds: float) -> Iterator[float]:
    """How long each command takes."""
    own = sum(_program(command) not in ("echo", "true", "false", "sleep") for command in commands)
    for command in commands:
        match _program(command):
            case "sleep":
                yield float(command[1])
            case "echo" | "true" | "false":
                yield 0.0
            case _:
                yield seconds / own


def _printed(command: Sequence[str]) -> str:
    match _program(command):
        case "echo":
            return f"{' '.join(command[1:])}\n"
        case "true" | "false" | "sleep":
            return ""
    return f"simulated: {shlex.join(command)}\n"


def _program(command: Sequence[str]) -> str:
    return PurePosixPath(command[0]).name


def _share(name: str) -> float:
    """A number from 0 to below 1 that a name stands for."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48
