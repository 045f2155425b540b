"""The values of the family rain that cross a boundary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from cloudmesh_actors.clients.cobbler.model import Installation
from cloudmesh_actors.rain.stages import ENDED, Stage

#: What can be done with the power of a system. True is "on", False is "off".
PowerAction = Literal["on", "off", "reboot", "status"]

#: One node of a result: `{node, ok, error, error_kind, …}`.
NodeResult = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """The deploy of one node, as the store has it. Times are seconds since the epoch.

    `version` counts its changes. `looks` are those at the node in this stage. `sent_at`, `sent_times` and `event_id`
    are of the power command of this stage. `before` is the latest installation when the node was seen off, by Cobbler's
    clock. `trouble` is why the last look came to nothing.
    """

    job_id: str
    node: str
    profile: str | None
    requested_at: float
    wait_lease: float = 0.0
    version: int = 0
    stage: Stage = Stage.REQUESTED
    stage_at: float = 0.0
    looks: int = 0
    sent_at: float | None = None
    sent_times: int = 0
    event_id: str | None = None
    before: Installation = field(default_factory=Installation)
    trouble: str | None = None
    error: str | None = None
    error_kind: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.stage in ENDED
