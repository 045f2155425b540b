"""The driver `simulator`: a node that takes its time, and fails now and then. Nothing real is touched.

Its power is the simulated BMC's of that node, so `rack` shows it too. How long things take, and whether they fail, is
drawn from a seed, the node's name and how often it was provisioned: the same in every process, and in every repetition.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from cloudmesh_actors import settings
from cloudmesh_actors.clients.ipmi.simulator import PowerFile
from cloudmesh_actors.provisioner import drivers
from cloudmesh_actors.provisioner.model import InstallationFailed, Progress, Sent
from cloudmesh_actors.provisioner.tasks import PowerState, Preparation

#: What takes its time, each as a part of the whole provisioning.
SHARES: Mapping[str, float] = {"prepare": 0.15, "off": 0.05, "on": 0.05, "install": 0.6, "answer": 0.15}

#: Delays are drawn from a triangle between these two, most likely 1, and are multiplied with the usual one.
SHORTEST, LONGEST = 0.5, 2.0

#: What may fail, and what is told then.
FAILURES: Mapping[str, str] = {
    "prepare": "the simulated image could not be copied",
    "install": "the simulated installer stopped",
    "answer": "the simulated node has come up without a network",
}


@dataclass(frozen=True, slots=True)
class Course:
    """How simulated provisionings go: how long they usually take, in seconds; which part of them fails; the seed."""

    seconds: float
    failures: float
    seed: int

    @classmethod
    def current(cls) -> Course:
        """As the settings say."""
        config = settings.current()
        return cls(config.provision_delay, config.provision_failures, config.provision_seed)

    def delay(self, what: str, node: str, number: int) -> float:
        """How long something takes on a node in its provisioning of this number, in seconds."""
        draw = self._dice(node, number, what).triangular(SHORTEST, LONGEST, 1.0)
        return self.seconds * SHARES[what] * draw

    def failure(self, node: str, number: int) -> str | None:
        """What fails in a provisioning; None when it goes well."""
        dice = self._dice(node, number, "failure")
        fails = dice.random() < self.failures
        return dice.choice(sorted(FAILURES)) if fails else None

    def _dice(self, node: str, number: int, what: str) -> random.Random:
        return random.Random(f"{self.seed}/{node}/{number}/{what}")  # noqa: S311 - a game, not a secret


@dataclass(slots=True)
class World:
    """What is kept of a node: how often it was prepared, when last, and whether it boots its installer then."""

    number: int = 0
    prepared_at: float = 0.0
    armed: bool = False
    booted_at: float | None = None
    commands: list[str] = field(default_factory=list)


class SimulatedDriver:
    """A `Driver`.

    Args:
        folder: where the world is kept; processes that share it share the world.
    """

    def __init__(
        self, node: str, image: str, course: Course, folder: Path, clock: Callable[[], float] = time.time
    ) -> None:
        self._node, self._image, self._course, self._clock = node, image, course, clock
        self._file = folder / "provision" / f"{node}.json"
        self._power = PowerFile(folder / "power" / f"{node}.json")

    def check(self) -> None:
        """See `Driver`."""
        drivers.known_image(self._node, self._image)

    def preparation(self) -> Preparation:
        """See `Driver`."""
        with self._world() as world:
            if not world.armed:
                return "none"
            return "done" if self._is_over("prepare", world.prepared_at, world) else "underway"

    def prepare(self) -> None:
        """See `Driver`."""
        with self._world() as world:
            world.number, world.armed, world.prepared_at = world.number + 1, True, self._clock()
            world.commands.append("prepare")

    def put_back(self) -> None:
        """See `Driver`."""
        with self._world() as world:
            world.armed = False
            world.commands.append("put back")

    def power(self) -> PowerState:
        """See `Driver`."""
        return self._power.state(self._clock())

    def switch(self, command: PowerState) -> str:
        """See `Driver`."""
        with self._world() as world:
            now = self._clock()
            at = now + self._course.delay(command, self._node, world.number)
            self._power.change(now, at, command)
            if command == "on":  # the installer takes care that it boots its own disk afterwards
                world.booted_at, world.armed = (at if world.armed else None), False
            world.commands.append(command)
        return command

    def sent(self, reference: str) -> Sent:
        """See `Driver`."""
        del reference
        return Sent("complete")

    def before(self) -> dict[str, Any]:
        """See `Driver`."""
        return {}

    def progress(self, before: Mapping[str, Any]) -> Progress:
        """See `Driver`."""
        del before
        with self._world() as world:
            if world.booted_at is None or world.booted_at > self._clock():
                return "waiting"
            return "installed" if self._is_over("install", world.booted_at, world) else "installing"

    def answers(self) -> bool:
        """See `Driver`."""
        with self._world() as world:
            installed_at = (world.booted_at or 0.0) + self._course.delay("install", self._node, world.number)
            return self._is_over("answer", installed_at, world)

    def commands(self) -> list[str]:
        """What was done to the node, oldest first: "prepare", "off", "on", "put back" (tests)."""
        with self._world() as world:
            return list(world.commands)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open between two methods."""

    def _is_over(self, what: str, since: float, world: World) -> bool:
        if self._clock() < since + self._course.delay(what, self._node, world.number):
            return False
        if self._course.failure(self._node, world.number) == what:
            raise InstallationFailed(f"{self._node}: {FAILURES[what]}; it is told to fail now and then.")
        return True

    @contextmanager
    def _world(self) -> Iterator[World]:
        """The node's world, for this process alone; what was changed is kept."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = self._file.read_bytes() if self._file.exists() else b"{}"
            world = World(**orjson.loads(before))
            yield world
            world.commands = world.commands[-100:]
            after = orjson.dumps(asdict(world))
            if after != before:
                draft = self._file.with_suffix(".new")
                draft.write_bytes(after)
                draft.replace(self._file)
        finally:
            os.close(descriptor)
