"""The driver `cobbler`: a Cobbler server prepares the node's network boot and switches its power."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from cloudmesh_actors import site
from cloudmesh_actors.clients.cobbler.client import connect
from cloudmesh_actors.clients.cobbler.model import Cobbler, Installation
from cloudmesh_actors.clients.greeting import greeting
from cloudmesh_actors.errors import NotFound, Unsupported
from cloudmesh_actors.provisioner.model import Progress, Sent
from cloudmesh_actors.provisioner.tasks import PowerState, Preparation


class CobblerDriver:
    """A `Driver`. An image is one of the site file that names a profile, or a profile of the node's Cobbler itself."""

    def __init__(self, node: str, image: str) -> None:
        known = site.current().images.get(image)
        self._node, self._profile = node, (known and known.cobbler_profile) or image

    @cached_property
    def _cobbler(self) -> Cobbler:
        inventory = site.current()
        name = inventory.cobbler_of.get(self._node)
        if name is None:
            raise Unsupported(f"{self._node}: no Cobbler of the site installs it; add it to the `systems` of one.")
        return connect(inventory.cobblers[name])

    def check(self) -> None:
        """See `Driver`."""
        self._cobbler.system(self._node)
        profiles = [profile.name for profile in self._cobbler.profiles()]
        if self._profile not in profiles:
            has = ", ".join(profiles) or "none"
            raise NotFound(f"{self._node}: its Cobbler has no profile {self._profile!r}; it has {has}.")

    def preparation(self) -> Preparation:
        """See `Driver`."""
        system = self._cobbler.system(self._node)
        return "done" if system.netboot and system.profile == self._profile else "none"

    def prepare(self) -> None:
        """See `Driver`."""
        self._cobbler.prepare(self._node, self._profile)

    def put_back(self) -> None:
        """See `Driver`."""
        self._cobbler.set_netboot(self._node, False)

    def power(self) -> PowerState:
        """See `Driver`."""
        return self._cobbler.power_status(self._node)

    def switch(self, command: PowerState) -> str:
        """See `Driver`."""
        return self._cobbler.power(self._node, command)

    def sent(self, reference: str) -> Sent:
        """See `Driver`. That Cobbler's event is complete does not say that the node followed."""
        event = self._cobbler.event(reference)
        error = event.errors.get(self._node)
        return Sent("failed" if error else event.state, error)

    def before(self) -> dict[str, Any]:
        """See `Driver`: the latest installation, by Cobbler's clock."""
        return asdict(self._cobbler.installation(self._node))

    def progress(self, before: Mapping[str, Any]) -> Progress:
        """See `Driver`."""
        seen = self._cobbler.installation(self._node)
        if not seen.is_newer_than(Installation(**before)):
            return "waiting"
        return "installing" if seen.running else "installed"

    def answers(self) -> bool:
        """See `Driver`: on SSH, if the site file says how to reach the node itself."""
        host = site.current().hosts.get(self._node)
        return host is None or bool(greeting(host))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "_cobbler" in self.__dict__:
            self._cobbler.close()
