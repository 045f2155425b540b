"""The means by which nodes are provisioned: each module has a driver, imported when it is used."""

from __future__ import annotations

from cloudmesh_actors import settings, site
from cloudmesh_actors.errors import NotFound, Unsupported
from cloudmesh_actors.provisioner.model import Driver, DriverName
from cloudmesh_actors.site import Image


def connect(name: DriverName, node: str, image: str) -> Driver:
    """A driver for a conversation about a node; use it in a `with` block. Nothing is sent before its first method."""
    match name:
        case "cobbler":
            from cloudmesh_actors.provisioner.drivers.cobbler import CobblerDriver

            return CobblerDriver(node, image)
        case "ipmi":
            from cloudmesh_actors.provisioner.drivers.ipmi import IpmiDriver

            return IpmiDriver(node, image)
        case "simulator":
            from cloudmesh_actors.provisioner.drivers.simulator import Course, SimulatedDriver

            return SimulatedDriver(node, image, Course.current(), settings.current().state_dir / "simulator")


def chosen_for(node: str) -> DriverName:
    """The driver that the site file has for a node. Raises Unsupported when it has none."""
    found = site.current().provision.get(node)
    if found is None:
        raise Unsupported(f"{node}: `provision` of the site file does not say how it is installed; name a driver.")
    return found


def known_image(node: str, name: str) -> Image:
    """An image of the site. Raises NotFound when the site has images, and not this one."""
    images = site.current().images
    if name in images or not images:
        return images.get(name, Image(name))
    from difflib import get_close_matches

    near = get_close_matches(name, images, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(images))}."
    raise NotFound(f"{node}: the site has no image {name!r}; {hint}")
