"""The driver `ipmi`: the node's BMC has it boot from the network once; what it boots there installs it.

It is installed when its SSH server greets. What an installer is called is not known here, so the name of the image is
only checked against the site's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from cloudmesh_actors import site
from cloudmesh_actors.clients.greeting import greeting
from cloudmesh_actors.clients.ipmi.client import connect
from cloudmesh_actors.clients.ipmi.model import BmcClient
from cloudmesh_actors.errors import DeadlineExceeded, ProtocolError, Unreachable, Unsupported
from cloudmesh_actors.provisioner import drivers
from cloudmesh_actors.provisioner.model import Progress, Sent
from cloudmesh_actors.provisioner.tasks import PowerState, Preparation

#: What a node says that boots, or is being installed.
_NOT_YET = (DeadlineExceeded, ProtocolError, Unreachable)


class IpmiDriver:
    """A `Driver`."""

    def __init__(self, node: str, image: str) -> None:
        self._node, self._image = node, image

    @cached_property
    def _bmc(self) -> BmcClient:
        return connect(site.current().bmcs[self._node])

    def check(self) -> None:
        """See `Driver`."""
        drivers.known_image(self._node, self._image)
        for section, what in (("bmcs", "its BMC"), ("hosts", "the node itself, to see that it has come up")):
            if self._node not in getattr(site.current(), section):
                raise Unsupported(f"{self._node}: the driver ipmi needs `{section}` to say how to reach {what}.")
        self._bmc.power_status()

    def preparation(self) -> Preparation:
        """See `Driver`."""
        return "done" if self._bmc.boot_device() == "network" else "none"

    def prepare(self) -> None:
        """See `Driver`."""
        self._bmc.set_boot_device("network")

    def put_back(self) -> None:
        """See `Driver`. What somebody else asked the BMC for is left alone."""
        if self._bmc.boot_device() != "other":
            self._bmc.set_boot_device("default")

    def power(self) -> PowerState:
        """See `Driver`."""
        return self._bmc.power_status()

    def switch(self, command: PowerState) -> str:
        """See `Driver`."""
        self._bmc.power(command)
        return command

    def sent(self, reference: str) -> Sent:
        """See `Driver`: a BMC that has taken a command is done with it."""
        del reference
        return Sent("complete")

    def before(self) -> dict[str, Any]:
        """See `Driver`: a node that is off does not answer, so whatever answers later was booted since."""
        return {}

    def progress(self, before: Mapping[str, Any]) -> Progress:
        """See `Driver`."""
        del before
        try:
            greeting(site.current().hosts[self._node])
        except _NOT_YET:
            return "waiting"
        return "installed"

    def answers(self) -> bool:
        """See `Driver`."""
        return bool(greeting(site.current().hosts[self._node]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "_bmc" in self.__dict__:
            self._bmc.close()
