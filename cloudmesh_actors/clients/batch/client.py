"""Batch servers by name: `client_for` gives the real client or the simulated one, as the site file says."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cloudmesh_actors import settings
from cloudmesh_actors.clients.batch.model import BatchClient, RawSnapshot

if TYPE_CHECKING:
    from cloudmesh_actors.site import BatchServer

__all__ = ["BatchClient", "RawSnapshot", "client_for", "forget"]

_clients: dict[str, tuple[BatchServer, BatchClient]] = {}
_guard = threading.Lock()


def client_for(server: BatchServer) -> BatchClient:
    """The client of a batch server: one in this process, kept until the site says something else of the server."""
    with _guard:
        known, client = _clients.get(server.name, (None, None))
        if client is not None and known == server:
            return client
        if client is not None:
            client.close()
        fresh = _make(server)
        _clients[server.name] = server, fresh
        return fresh


def forget() -> None:
    """Close and forget all clients (tests)."""
    with _guard:
        for _, client in _clients.values():
            client.close()
        _clients.clear()


def _make(server: BatchServer) -> BatchClient:
    seconds = settings.current().batch_deadline
    if server.driver == "simulator":
        from cloudmesh_actors.clients.batch.simulator import SimulatedBatchServer

        return SimulatedBatchServer(server, seconds)
    from cloudmesh_actors.clients.batch.remote import RemoteBatchServer

    return RemoteBatchServer(server, seconds)
