"""Conversations with BMCs: `connect` gives the real client or the simulated one, as the site file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudmesh_actors import settings
from cloudmesh_actors.clients.ipmi.model import BmcClient

if TYPE_CHECKING:
    from cloudmesh_actors.site import Bmc


def connect(bmc: Bmc, deadline: float | None = None) -> BmcClient:
    """Begin a conversation with a BMC; use it in a `with` block.

    Waits for other conversations with the same BMC, in this process and in others on this host, to end.

    Args:
        deadline: seconds that the whole conversation may take, the waiting included; by default the site
            file's for this BMC, else the settings' `bmc_deadline`.

    Raises:
        Unreachable, AuthenticationFailed, SessionsExhausted, ProtocolError, DeadlineExceeded: it did not come about.
    """
    current = settings.current()
    seconds = deadline or bmc.deadline or current.bmc_deadline
    if bmc.driver == "simulator":
        from cloudmesh_actors.clients.ipmi.simulator import SimulatedBmc

        return SimulatedBmc(bmc, seconds, current.state_dir / "simulator")
    from cloudmesh_actors.clients.ipmi.lan import IpmiClient

    return IpmiClient(bmc, seconds, current.state_dir / "bmc")
