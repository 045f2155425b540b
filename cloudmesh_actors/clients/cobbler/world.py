"""The world of a simulated Cobbler: its systems, their power and their installations, in a file that processes share.

What happens by itself (a node comes on, boots, is installed) is brought up to date whenever somebody looks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypedDict

import orjson

from cloudmesh_actors.clients.cobbler.model import CobblerSystem, Interface, PowerCommand, PowerState

#: The profiles that every simulated Cobbler has, each with the architecture, the breed and the version of its
#: distribution, which has its name.
PROFILES = {
    "debian12-x86_64": ("x86_64", "debian", "bookworm"),
    "rocky9-x86_64": ("x86_64", "redhat", "rhel9"),
    "ubuntu22-x86_64": ("x86_64", "ubuntu", "jammy"),
}

#: The one that systems have from the beginning.
FIRST_PROFILE = "ubuntu22-x86_64"

#: How long after a command the node is in the new state, and how long Cobbler waits between off and on of a reboot.
OFF_S, ON_S, REBOOT_S = 0.2, 0.3, 0.5

#: How long a node boots before its installer begins, and how long that takes, in seconds.
BOOT_S, INSTALL_S = 0.5, 2.5

#: Commands, changes of power and events that are remembered.
KEPT = 500


class EventRow(TypedDict):
    """A background task: when it ends, and what goes wrong."""

    ends: float
    errors: dict[str, str]


@dataclass(slots=True)
class State:
    """Everything that is kept. Only systems that differ from their first state have a row."""

    systems: dict[str, dict[str, object]] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    power: dict[str, list[tuple[float, PowerState]]] = field(default_factory=dict)
    boots: dict[str, float] = field(default_factory=dict)
    installing: dict[str, float] = field(default_factory=dict)
    started: dict[str, float] = field(default_factory=dict)
    stopped: dict[str, float] = field(default_factory=dict)
    events: dict[str, EventRow] = field(default_factory=dict)
    commands: list[tuple[str, PowerCommand]] = field(default_factory=list)
    counter: int = 0
    syncs: int = 0


class World:
    """What Cobbler knows and what its nodes do. Use it inside `opened`.

    Args:
        path: the file.
        names: the systems that are there from the beginning.
        starts, ends: whether installers begin, and come to an end.
    """

    def __init__(
        self, path: Path, names: tuple[str, ...], clock: Callable[[], float], *, starts: bool, ends: bool
    ) -> None:
        self._path, self._names, self._clock = path, names, clock
        self._starts, self._ends = starts, ends
        self.state = State()

    @contextmanager
    def opened(self) -> Iterator[State]:
        """The world as it is now, for this process alone; what was changed is kept."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = self._path.read_bytes() if self._path.exists() else b"{}"
            self.state = State(**orjson.loads(before))
            self._pass_time(self._clock())
            yield self.state
            self._keep(before)
        finally:
            os.close(descriptor)

    def names(self) -> list[str]:
        """All systems, sorted."""
        first = set(self._names) - set(self.state.removed)
        return sorted(first | self.state.systems.keys())

    def system(self, name: str) -> CobblerSystem | None:
        """A system; None when there is none."""
        row = self.state.systems.get(name)
        if row is not None:
            known = {**row, "interfaces": tuple(Interface(*each) for each in row["interfaces"])}  # type: ignore[attr-defined]
            return CobblerSystem(**known)  # type: ignore[arg-type]
        if name in self._names and name not in self.state.removed:
            return _first_state(name)
        return None

    def put(self, system: CobblerSystem) -> None:
        """Keep a system as it is now."""
        interfaces = [(each.name, each.mac, each.ip) for each in system.interfaces]
        self.state.systems[system.name] = {**asdict(system), "interfaces": interfaces}

    def remove(self, name: str) -> None:
        """Forget a system."""
        self.state.systems.pop(name, None)
        self.state.removed = sorted({*self.state.removed, name})

    def power_of(self, name: str, now: float) -> PowerState:
        """Whether a node is on; one that was never switched is."""
        states = [state for at, state in self.state.power.get(name, ()) if at <= now]
        return states[-1] if states else "on"

    def switch(self, name: str, command: PowerCommand, now: float) -> float:
        """Let a node follow a command, soon; returns when it will have."""
        if command == "on":
            return self._plan(name, "on", now, now + ON_S)
        off_at = self._plan(name, "off", now, now + OFF_S)
        return off_at if command == "off" else self._plan(name, "on", now, off_at + REBOOT_S, keep=True)

    def _plan(self, name: str, power: PowerState, now: float, at: float, keep: bool = False) -> float:
        changes = [each for each in self.state.power.get(name, ()) if keep or each[0] <= now]
        was: PowerState = changes[-1][1] if changes else "on"
        if power == was:
            return now
        self.state.power[name] = [*changes, (at, power)][-KEPT:]
        if power == "on":
            self.state.boots[name] = at + BOOT_S
        else:
            self.state.boots.pop(name, None)
        return at

    def _pass_time(self, now: float) -> None:
        for name, ends in list(self.state.installing.items()):
            if self.power_of(name, min(now, ends)) == "off":  # cut off: it never ends
                del self.state.installing[name]
            elif ends <= now:
                self._end_installation(name, ends)
        for name, boots in list(self.state.boots.items()):
            if boots <= now:
                del self.state.boots[name]
                self._boot(name, boots)

    def _boot(self, name: str, at: float) -> None:
        system = self.system(name)
        if system is None or not system.netboot or not self._starts:
            return
        self.state.started[name] = at
        if self._ends:
            self.state.installing[name] = at + INSTALL_S

    def _end_installation(self, name: str, at: float) -> None:
        del self.state.installing[name]
        self.state.stopped[name] = at
        system = self.system(name)
        if system is not None:
            self.put(replace(system, netboot=False))

    def _keep(self, before: bytes) -> None:
        state = self.state
        state.commands = state.commands[-KEPT:]
        state.events = dict(list(state.events.items())[-KEPT:])
        after = orjson.dumps(asdict(state))
        if after != before:
            draft = self._path.with_suffix(".new")
            draft.write_bytes(after)
            draft.replace(self._path)


def _first_state(name: str) -> CobblerSystem:
    """A system as it is before anybody changes it."""
    digest = hashlib.sha256(name.encode()).digest()
    mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])
    ip = ".".join(["10", *map(str, digest[3:6])])
    interface = Interface("eth0", mac, ip)
    return CobblerSystem(name, FIRST_PROFILE, False, hostname=name, power_type="simulator", interfaces=(interface,))
