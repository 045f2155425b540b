"""What must hold between the sections of a site: everything spoken of exists, and is within the limits."""

from __future__ import annotations

from collections.abc import Container, Iterator

from cloudmesh_actors.errors import UnknownNode
from cloudmesh_actors.nodes import MAX_NODES, fold
from cloudmesh_actors.site.fields import Fields
from cloudmesh_actors.site.model import Site


def cross_check(site: Site, root: Fields) -> None:
    """Note what is wrong between the sections of a file whose sections are sound in themselves."""
    if len(site.cluster_of) > MAX_NODES:
        root.fail("", f"the site has {len(site.cluster_of):,} nodes; {MAX_NODES:,} are possible")
        return
    for fields, name, text in _references(root):
        try:
            site.nodes(text)
        except UnknownNode as error:
            fields.fail(name, str(error))
    _check_queues(site, root.table("clusters"))
    if root.is_sound:
        _check_provision(site, root.table("provision"))


def _references(root: Fields) -> Iterator[tuple[Fields, str, str]]:
    """The sets that do not make nodes but speak of them: where they are, and their text."""
    racks, cobblers, provision = root.table("racks"), root.table("cobblers"), root.table("provision")
    for rack in racks:
        place = racks.table(rack).table("place")
        yield from ((place, text, text) for text in place)
    for cobbler in cobblers:
        fields = cobblers.table(cobbler)
        if "systems" in fields:
            yield fields, "systems", fields.text("systems")
    yield from ((provision, text, text) for text in provision)


def _check_queues(site: Site, clusters: Fields) -> None:
    """A queue of a batch server belongs to one cluster: its jobs would count twice."""
    owner: dict[tuple[str, str], str] = {}
    for cluster in site.clusters.values():
        for queue in cluster.queues:
            first = owner.setdefault((str(cluster.server), queue), cluster.name)
            if first != cluster.name:
                fields = clusters.table(cluster.name).table("queues")
                fields.fail("names", f"{queue} of {cluster.server} belongs to {first} already")


def _check_provision(site: Site, provision: Fields) -> None:
    """A driver needs what it works with."""
    needs: dict[str, tuple[Container[str], str]] = {
        "cobbler": (site.cobbler_of, "a Cobbler that has {} as systems"),
        "ipmi": (site.bmcs, "a BMC for {}"),
    }
    for text in provision:
        driver = provision.text(text)
        having, what = needs.get(driver, (site.cluster_of, "{}"))
        lacking = [node for node in site.nodes(text) if node not in having]
        if lacking:
            provision.fail(text, f"{driver} needs {what.format(fold(lacking))}")
