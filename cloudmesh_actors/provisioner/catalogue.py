"""What can be installed: the images of the site file, and the profiles of its Cobblers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloudmesh_actors import site
from cloudmesh_actors.clients.cobbler.client import connect
from cloudmesh_actors.errors import NodeError


def images() -> list[dict[str, Any]]:
    """Every image, those of the site file first. A Cobbler that does not answer is an entry with an error."""
    return [*_of_the_site(), *_of_cobblers()]


def _of_the_site() -> Iterator[dict[str, Any]]:
    for image in site.current().images.values():
        yield {"image": image.name, "source": "site", "cobbler_profile": image.cobbler_profile, "error": None}


def _of_cobblers() -> Iterator[dict[str, Any]]:
    for name, cobbler in site.current().cobblers.items():
        source = f"cobbler {name}"
        try:
            with connect(cobbler) as conversation:
                profiles = conversation.profiles()
        except NodeError as error:
            yield {"image": None, "source": source, "cobbler_profile": None, "error": str(error)}
        else:
            known = ((profile.name, source) for profile in profiles)
            yield from ({"image": it, "source": of, "cobbler_profile": it, "error": None} for it, of in known)
