"""Conversations with Cobbler servers: `connect` gives the real client or the simulated one, as the site file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudmesh_actors import settings
from cloudmesh_actors.clients.cobbler.model import Cobbler

if TYPE_CHECKING:
    from cloudmesh_actors import site


def connect(cobbler: site.Cobbler, deadline: float | None = None) -> Cobbler:
    """Begin a conversation with a Cobbler; use it in a `with` block. Nothing is sent before its first method.

    Args:
        deadline: seconds that Cobbler may take for one answer; by default the site file's for this Cobbler, else the
            settings' `cobbler_deadline`. Where it asks a BMC, it may take longer.
    """
    current = settings.current()
    seconds = deadline or cobbler.deadline or current.cobbler_deadline
    folder = current.state_dir
    if cobbler.driver == "simulator":
        from cloudmesh_actors.clients.cobbler.simulator import SimulatedCobbler

        return SimulatedCobbler(cobbler, seconds, folder / "simulator")
    from cloudmesh_actors.clients.cobbler.remote import RemoteCobbler

    return RemoteCobbler(cobbler, seconds, folder / "cobbler")
