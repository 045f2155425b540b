"""The values of the family provisioner that cross a boundary, and the Protocol of its drivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from cloudmesh_actors.errors import NodeError
from cloudmesh_actors.provisioner.states import ENDED, Event, State
from cloudmesh_actors.provisioner.tasks import CommandState, PowerState, Preparation, Task

DriverName = Literal["cobbler", "ipmi", "simulator"]

#: One node of a result: `{node, ok, error, error_kind, …}`.
NodeResult = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioning:
    """The provisioning of one node by one job, as the store has it. Times are seconds since the epoch.

    `version` counts its changes. Of the `task` that it is at, since `task_at`: `looks` at the node; `sent_at`,
    `sent_times` and `reference` of its command, the reference being None until it is known that the command was taken.
    `armed`: the node may boot its installer, so that it has to be put back after a failure. `turn_at` is when the node
    may be powered on. `before` is what its driver saw when the node was off. `trouble` is why the last look came to
    nothing. `error` is why it failed, and `failed_in` the state in which it did; it is put back before it is in ERROR.
    """

    job_id: str
    node: str
    image: str
    driver: DriverName
    requested_at: float
    wait_lease: float = 0.0
    version: int = 0
    state: State = State.INITIATING
    state_at: float = 0.0
    task: Task | None = Task.ACCEPT
    task_at: float = 0.0
    looks: int = 0
    sent_at: float | None = None
    sent_times: int = 0
    reference: str | None = None
    armed: bool = False
    turn_at: float | None = None
    before: Mapping[str, Any] = field(default_factory=dict)
    trouble: str | None = None
    error: str | None = None
    error_kind: str | None = None
    failed_in: State | None = None
    abort_at: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state: which event led to it, when, and why if that has a reason."""

    job_id: str
    node: str
    at: float
    event: Event | None
    before: State | None
    after: State
    reason: str | None = None


#: How an installation goes on: it has not begun, it runs, it has ended.
Progress = Literal["waiting", "installing", "installed"]


@dataclass(frozen=True, slots=True)
class Sent:
    """What has become of a power command."""

    state: CommandState
    error: str | None = None


class InstallationFailed(NodeError):
    """It is known that the image does not come onto the node."""

    kind = "installation"


class Driver(Protocol):
    """One conversation about one node with whoever installs it. Used in a `with` block; never by two threads at once.

    Every method raises NodeErrors; InstallationFailed when it is of no use to look again. `prepare`, `put_back` and
    `switch` change something; nothing else does.
    """

    def check(self) -> None:
        """Raises NotFound or Unsupported when the node cannot be provisioned with the image at all."""

    def preparation(self) -> Preparation:
        """Whether the node is told to boot the installer of the image, as the hardware or the server shows it."""

    def prepare(self) -> None:
        """Have the image made ready, and the node boot its installer the next time. May be repeated."""

    def put_back(self) -> None:
        """Have the node boot its own disk. May be repeated."""

    def power(self) -> PowerState:
        """Whether the node is powered now."""

    def switch(self, command: PowerState) -> str:
        """Send one power command, exactly once; returns by what to ask for it when it was taken.

        Raises:
            OutcomeUnknown: it was sent, and whether it was taken is not known.
        """

    def sent(self, reference: str) -> Sent:
        """What has become of a command."""

    def before(self) -> dict[str, Any]:
        """What to compare with later; asked when the node is off. Small JSON."""

    def progress(self, before: Mapping[str, Any]) -> Progress:
        """How the installation goes on that began after `before`."""

    def answers(self) -> bool:
        """Whether the node that was installed can be used."""

    def __enter__(self) -> Self:
        """The conversation itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the conversation."""
