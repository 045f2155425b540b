"""A simulated Cobbler, the client of the driver `simulator`: its nodes follow, boot and are installed by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cloudmesh_actors.clients.cobbler.faults import Subject
from cloudmesh_actors.clients.cobbler.model import (
    CobblerSystem,
    Distro,
    Event,
    Installation,
    Interface,
    PowerAccess,
    PowerCommand,
    PowerState,
    Profile,
)
from cloudmesh_actors.clients.cobbler.world import PROFILES, State, World
from cloudmesh_actors.errors import DeadlineExceeded, NodeError, Unreachable

if TYPE_CHECKING:
    from cloudmesh_actors import site

VERSION = "3.3.10"

#: How long a slow Cobbler takes over each answer, in seconds.
SLOWNESS_S = 2.0

#: What Cobbler says of a fence agent that fails.
_POWER_FAILS = "command failed (rc=1), please validate the physical setup and cobbler config"


class SimulatedCobbler:
    """A conversation with a simulated Cobbler.

    Args:
        seconds: how long it may take for one answer.
        folder: where its world is kept; processes that share it share the world.
    """

    def __init__(
        self,
        cobbler: site.Cobbler,
        seconds: float,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds, self._clock, self._sleep = seconds, clock, sleep
        self._fault = cobbler.fault
        self._subject = Subject(cobbler.name, cobbler.url or "(simulated)", cobbler.user)
        self._world = World(
            folder / "cobbler" / f"{cobbler.name}.json",
            cobbler.systems,
            clock,
            starts=cobbler.fault != "install-never-starts",
            ends=cobbler.fault != "install-never-ends",
        )

    def version(self) -> str:
        """See `Cobbler`."""
        with self._asked(login=False):
            return VERSION

    def systems(self) -> list[str]:
        """See `Cobbler`."""
        with self._asked(login=False):
            return self._world.names()

    def system(self, name: str) -> CobblerSystem:
        """See `Cobbler`."""
        with self._asked(login=False):
            return self._system(name)

    def distros(self) -> list[Distro]:
        """See `Cobbler`."""
        with self._asked(login=False):
            return [Distro(name, *PROFILES[name]) for name in PROFILES]

    def profiles(self) -> list[Profile]:
        """See `Cobbler`."""
        with self._asked(login=False):
            return [Profile(name, name, "") for name in PROFILES]

    def add_system(
        self,
        name: str,
        profile: str,
        *,
        interfaces: Iterable[Interface] = (),
        power: PowerAccess | None = None,
        hostname: str = "",
    ) -> None:
        """See `Cobbler`."""
        with self._asked():
            if self._world.system(name) is not None:
                raise self._subject.error("An object already exists with that name.", name)
            self._check_profile(name, profile)
            kind, address = (power.type, power.address) if power else ("", "")
            self._world.put(CobblerSystem(name, profile, False, hostname, kind, address, tuple(interfaces)))

    def remove_system(self, name: str) -> None:
        """See `Cobbler`."""
        with self._asked():
            self._system(name)
            self._world.remove(name)

    def prepare(self, name: str, profile: str | None = None) -> None:
        """See `Cobbler`."""
        with self._asked():
            system = self._system(name)
            if profile is not None:
                self._check_profile(name, profile)
            self._world.put(replace(system, netboot=True, profile=profile or system.profile))

    def set_netboot(self, name: str, on: bool) -> None:
        """See `Cobbler`."""
        with self._asked():
            self._world.put(replace(self._system(name), netboot=on))

    def netboot(self, name: str) -> bool:
        """See `Cobbler`."""
        return self.system(name).netboot

    def power(self, name: str, command: PowerCommand) -> str:
        """See `Cobbler`."""
        with self._asked() as state:
            self._system(name)
            now = self._clock()
            state.counter += 1
            event_id = f"{state.counter}_Power management ({command})"
            state.commands.append((name, command))
            ends, errors = now, {}
            if self._fault == "power-fails":
                errors = {name: _POWER_FAILS}
            elif self._fault != "power-stuck":
                ends = self._world.switch(name, command, now)
            state.events[event_id] = {"ends": ends, "errors": errors}
            return event_id

    def event(self, event_id: str) -> Event:
        """See `Cobbler`."""
        with self._asked(login=False) as state:
            row = state.events.get(event_id)
            if row is None:
                return Event(event_id, "lost")
            return Event(event_id, "running" if row["ends"] > self._clock() else "complete", row["errors"])

    def power_status(self, name: str) -> PowerState:
        """See `Cobbler`."""
        with self._asked():
            self._system(name)
            if self._fault == "power-fails":
                raise self._subject.error(_POWER_FAILS, name)
            return self._world.power_of(name, self._clock())

    def power_statuses(self, names: Iterable[str], width: int = 16) -> dict[str, PowerState | Exception]:
        """See `Cobbler`."""
        del width
        return {name: self._power_or_error(name) for name in names}

    def installation(self, name: str) -> Installation:
        """See `Cobbler`."""
        with self._asked() as state:
            return Installation(state.started.get(name), state.stopped.get(name))

    def sync(self) -> None:
        """See `Cobbler`."""
        with self._asked() as state:
            state.syncs += 1

    def commands(self) -> list[tuple[str, PowerCommand]]:
        """Every power command that was taken, oldest first: node and command (tests)."""
        with self._world.opened() as state:
            return [(name, command) for name, command in state.commands]

    def lose_events(self) -> None:
        """Forget all events, as Cobbler does when it is restarted (tests)."""
        with self._world.opened() as state:
            state.events.clear()

    def close(self) -> None:
        """Nothing is open between two methods."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _asked(self, *, login: bool = True) -> Iterator[State]:
        if self._fault == "away":
            raise Unreachable(f"{self._subject} cannot be reached: it is told to be away in the site file.")
        if self._fault == "slow":
            self._sleep(min(SLOWNESS_S, self._seconds))
            if self._seconds < SLOWNESS_S:
                raise DeadlineExceeded(f"{self._subject} does not answer within {self._seconds:g} s.")
        if login and self._fault == "denied":
            raise self._subject.error(f"login failed ({self._subject.user})")
        with self._world.opened() as state:
            yield state

    def _system(self, name: str) -> CobblerSystem:
        found = self._world.system(name)
        if found is None:
            raise self._subject.error(f"unknown system name {name}", name)
        return found

    def _check_profile(self, name: str, profile: str) -> None:
        if profile not in PROFILES:
            raise self._subject.error(f'Profile with the name "{profile}" is not existing', name)

    def _power_or_error(self, name: str) -> PowerState | Exception:
        try:
            return self.power_status(name)
        except NodeError as error:
            return error
