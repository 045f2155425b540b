"""What a Cobbler tells, as plain values; and the Protocol of its clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Protocol, Self

from cloudmesh_actors.secret import Secret

PowerState = Literal["on", "off"]

#: What Cobbler can be told of a system's power; a reboot is its own "off, wait 5 s, on".
PowerCommand = Literal["on", "off", "reboot"]

#: What has become of a background task of Cobbler's. One that Cobbler does not know (any more) is lost: it was
#: restarted meanwhile.
EventState = Literal["running", "complete", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface of a system; what is not known of it is empty."""

    name: str
    mac: str = ""
    ip: str = ""


@dataclass(frozen=True, slots=True)
class PowerAccess:
    """How Cobbler reaches a system's BMC: the name of a fence agent without "fence_", and what it needs.

    `options` are lines for the agent, `KEY=VALUE` each.
    """

    type: str
    address: str = ""
    user: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CobblerSystem:
    """A system as Cobbler has it, without its passwords. `netboot`: it is installed at its next boot."""

    name: str
    profile: str
    netboot: bool
    hostname: str = ""
    power_type: str = ""
    power_address: str = ""
    interfaces: tuple[Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class Distro:
    """A distribution that can be installed."""

    name: str
    arch: str
    breed: str
    os_version: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A way to install a distribution; a profile below another may leave it to that one."""

    name: str
    distro: str
    parent: str


@dataclass(frozen=True, slots=True)
class Installation:
    """When the latest installation of a system began and ended, by Cobbler's clock in seconds since the epoch.

    `stopped` may be of an earlier installation than `started`. None: there was none.
    """

    started: float | None = None
    stopped: float | None = None

    @property
    def running(self) -> bool:
        """Whether one has begun and not ended."""
        return self.started is not None and (self.stopped is None or self.stopped < self.started)

    def is_newer_than(self, other: Installation) -> bool:
        """Whether this one began after the other. Only Cobbler's clock is used, so ours may be wrong."""
        return self.started is not None and (other.started is None or self.started > other.started)


@dataclass(frozen=True, slots=True)
class Event:
    """A background task: its state, and what its log says went wrong, by system."""

    id: str
    state: EventState
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state != "running"


class Cobbler(Protocol):
    """One conversation with one Cobbler server. Used in a `with` block; never by two threads at once.

    Every method raises a NodeError: Unreachable, AuthenticationFailed, DeadlineExceeded, ProtocolError, Unsupported,
    NotFound (no such system or profile) or Refused (Cobbler would not or could not do it).
    """

    def version(self) -> str:
        """Its version: "3.3.10"."""

    def systems(self) -> list[str]:
        """The names of all systems, sorted."""

    def system(self, name: str) -> CobblerSystem:
        """One system."""

    def distros(self) -> list[Distro]:
        """All distributions, by name."""

    def profiles(self) -> list[Profile]:
        """All profiles, by name."""

    def add_system(
        self,
        name: str,
        profile: str,
        *,
        interfaces: Iterable[Interface] = (),
        power: PowerAccess | None = None,
        hostname: str = "",
    ) -> None:
        """Make a new system, which is not installed at its next boot. Raises Refused when there is one already."""

    def remove_system(self, name: str) -> None:
        """Forget a system."""

    def prepare(self, name: str, profile: str | None = None) -> None:
        """Have a system installed at its next boot: set its profile (None: as it is) and its netboot flag, and save."""

    def set_netboot(self, name: str, on: bool) -> None:
        """Set a system's netboot flag and save; one that is so already is left alone."""

    def netboot(self, name: str) -> bool:
        """Whether a system is installed at its next boot."""

    def power(self, name: str, command: PowerCommand) -> str:
        """Have Cobbler send one power command, exactly once, in the background. Returns the id of its event.

        That it was taken says nothing of the node: ask `event` and `power_status`.

        Raises:
            OutcomeUnknown: it was sent, and whether Cobbler took it is not known.
        """

    def event(self, event_id: str) -> Event:
        """What has become of a background task. "complete" does not say that the node followed."""

    def power_status(self, name: str) -> PowerState:
        """Whether a node is powered, asked of its BMC now."""

    def power_statuses(self, names: Iterable[str], width: int = 16) -> dict[str, PowerState | Exception]:
        """The power of many nodes, `width` asked at once; a NodeError in place of those that could not be asked."""

    def installation(self, name: str) -> Installation:
        """The latest installation of a system that Cobbler was told of."""

    def sync(self) -> None:
        """Write all boot and DHCP files anew.

        One at a time, since Cobbler's own fail when they overlap; who waits while another begins and ends takes that
        one for its own.
        """

    def close(self) -> None:
        """End the conversation. May be called twice."""

    def __enter__(self) -> Self:
        """The conversation itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the conversation."""
