"""The actors of the family pbs: they see to it that the store's snapshots of batch servers are fresh.

Their results are small, an entry per batch server: `{server, ok, error, error_kind, snapshot, age, jobs, queues,
nodes, damaged}`. `snapshot` is the id and `age` the seconds of what the store has now, which after a failure is the
last that was good (null when there never was one); the rest are counts. The rows are read with `pbs.jobs()` and its
like. A server that was asked within its `max_age` is not asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudmesh_actors import fanout, jobs, settings, store
from cloudmesh_actors.actor import actor
from cloudmesh_actors.pbs import listing, records
from cloudmesh_actors.pbs.clusters import ClusterName, ServerNames, find_server, servers_of
from cloudmesh_actors.pbs.freshness import Window
from cloudmesh_actors.pbs.listing import Listing
from cloudmesh_actors.pbs.records import Reading, ServerState
from cloudmesh_actors.site import BatchServer

#: One batch server of a result.
ServerResult = dict[str, Any]


@actor("pbs")
def refresh(servers: ServerNames | None = None) -> list[ServerResult]:
    """Take a snapshot of batch servers, of all by default: their jobs, queues and nodes."""
    wanted = servers_of(None) if servers is None else [find_server(name) for name in servers]
    troubles = _freshen(wanted)
    names = {server.name for server in wanted}
    with records.reading() as seen:
        return [_entry(state) | troubles.get(state.server, {}) for state in seen.servers if state.server in names]


@actor("pbs")
def qinfo(cluster: ClusterName | None = None) -> list[ServerResult]:
    """See to it that what is stored of a cluster's batch queues is fresh; of all clusters by default."""
    return _fresh(cluster)


@actor("pbs")
def qstat(cluster: ClusterName | None = None, user: str | None = None) -> list[ServerResult]:
    """See to it that what is stored of a cluster's batch jobs is fresh; `jobs` counts those of `user`."""
    return _fresh(cluster, user)


@actor("pbs")
def pbsnodes(cluster: ClusterName | None = None) -> list[ServerResult]:
    """See to it that what is stored of a cluster's batch nodes is fresh; of all clusters by default."""
    return _fresh(cluster)


def _fresh(cluster: str | None, user: str | None = None) -> list[ServerResult]:
    """Freshen the server of a cluster, or all; entries with the counts of that cluster and user."""
    troubles = _freshen(servers_of(cluster))
    with records.reading(cluster) as seen:
        return [
            _entry(state) | _counts(seen, state, cluster, user) | troubles.get(state.server, {})
            for state in seen.servers
        ]


def _freshen(servers: Sequence[BatchServer]) -> dict[str, dict[str, Any]]:
    """Ask those servers that were not asked within their window, several at a time.

    Returns what went wrong beside that, as with the store, by server; what the servers answered is in the store.
    """

    def work(name: str) -> dict[str, Any]:
        server = find_server(name)
        Window(name, server.max_age, lambda: _ask(server), store.current()).refresh()
        [state] = (state for state in records.servers() if state.server == name)
        return {"ok": state.ok, "error": state.error, "error_kind": state.error_kind, "settled": True}

    names = [server.name for server in servers]
    outcomes = fanout.each(names, work, width=settings.current().fanout, run=jobs.current())
    return {
        outcome["node"]: {name: outcome[name] for name in ("ok", "error", "error_kind")}
        for outcome in outcomes
        if "settled" not in outcome
    }


def _ask(server: BatchServer) -> Listing:
    from cloudmesh_actors.clients.batch.client import client_for

    return listing.read(server.name, client_for(server).snapshot())


def _counts(seen: Reading, state: ServerState, cluster: str | None, user: str | None) -> dict[str, int]:
    """What differs from the server's own counts."""
    counts: dict[str, int] = {}
    if state.snapshot is not None and (cluster or user):
        counts["jobs"] = seen.count_jobs(user)[state.server]
    if state.snapshot is not None and cluster:
        counts |= {"queues": len(seen.queues()), "nodes": len(seen.nodes())}
    return counts


def _entry(state: ServerState) -> ServerResult:
    return {
        "server": state.server,
        "ok": state.ok,
        "error": state.error,
        "error_kind": state.error_kind,
        "snapshot": state.snapshot,
        "age": state.age,
        "jobs": state.jobs,
        "queues": state.queues,
        "nodes": state.nodes,
        "damaged": state.damaged,
    }
