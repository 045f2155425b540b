"""How scripts are run on a server: here, over SSH or only in a simulation, as the site file says of its host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudmesh_actors import settings
from cloudmesh_actors.clients.shell.model import Look, Phase, Runner, Script

if TYPE_CHECKING:
    from cloudmesh_actors.site import Host

__all__ = ["Look", "Phase", "Runner", "Script", "connect"]


def connect(host: Host) -> Runner:
    """The runner for a host, by its driver; connected when it is first used."""
    config = settings.current()
    match host.driver:
        case "simulator":
            from cloudmesh_actors.clients.shell.simulator import SimulatedRunner

            folder = config.state_dir / "simulated-launches"
            return SimulatedRunner(folder, seconds=config.launch_delay, failures=config.launch_failures)
        case "local":
            from cloudmesh_actors.clients.shell.local import LocalRunner

            return LocalRunner(config.state_dir / "launches")
        case "ssh":
            from cloudmesh_actors.clients.shell.remote import RemoteRunner

            return RemoteRunner(host)
