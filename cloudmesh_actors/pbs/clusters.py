"""Which cluster a batch queue or a batch node belongs to, as the site says; and arguments that name such things."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from cloudmesh_actors import site
from cloudmesh_actors.errors import ArgumentError, UnknownNode
from cloudmesh_actors.pbs.model import JobState
from cloudmesh_actors.site import BatchServer, Cluster, Site


class Clusters:
    """The site's clusters as batch servers know them."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def of_queue(self, server: str, queue: str) -> str | None:
        """The cluster that a queue of a server belongs to; None when the site gives it to none."""
        return self._queues.get((server, queue))

    def of_node(self, name: str) -> str | None:
        """The cluster of a node, also when the server calls it by its full name; None when it is in none."""
        return self._site.cluster_of.get(name) or self._site.cluster_of.get(name.partition(".")[0])

    @cached_property
    def _queues(self) -> dict[tuple[str, str], str]:
        known: dict[tuple[str, str], str] = {}
        for cluster in self._site.clusters.values():
            for queue in cluster.queues if cluster.server else ():
                known.setdefault((str(cluster.server), queue), cluster.name)
        return known


def find_cluster(name: str) -> Cluster:
    """A cluster of the site that has a batch server. Raises UnknownNode with a near miss, ArgumentError without one."""
    clusters = site.current().clusters
    if name not in clusters:
        raise UnknownNode(f"The site has no cluster {name!r}; {_hint(name, clusters)}")
    if clusters[name].server is None:
        raise ArgumentError(f"The cluster {name} has no batch queues in the site.")
    return clusters[name]


def find_server(name: str) -> BatchServer:
    """A batch server of the site. Raises ArgumentError with a near miss."""
    known = site.current().batch_servers
    if name not in known:
        raise ArgumentError(f"The site has no batch server {name!r}; {_hint(name, known)}")
    return known[name]


def find_state(word: str) -> JobState:
    """A state by its letter or its name (`R`, `running`). Raises ArgumentError with a near miss."""
    names = {state.name.lower(): state for state in JobState}
    state = names.get(word.lower()) or next((state for state in JobState if state.value == word.upper()), None)
    if state is None:
        raise ArgumentError(f"There is no state {word!r} of batch jobs; {_hint(word.lower(), names)}")
    return state


def servers_of(cluster: str | None) -> list[BatchServer]:
    """The batch server of a cluster, or all of the site."""
    known = site.current().batch_servers
    return list(known.values()) if cluster is None else [known[str(find_cluster(cluster).server)]]


def _hint(wrong: str, known: Iterable[str]) -> str:
    names = list(known)
    near = get_close_matches(wrong, names, 1, 0.5)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}."


def _known_cluster(name: str) -> str:
    return find_cluster(name).name


def _known_servers(names: list[str]) -> list[str]:
    return [find_server(name).name for name in dict.fromkeys(names)]


def _as_list(value: Any) -> Any:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


#: An argument that names a cluster which has batch queues.
ClusterName = Annotated[str, AfterValidator(_known_cluster)]

#: An argument that names batch servers: a list, or a text with commas.
ServerNames = Annotated[list[str], BeforeValidator(_as_list), AfterValidator(_known_servers)]
