"""What the modules of the queues share: a broker that knows one family's actors and its queue."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import dramatiq

from cloudmesh_actors import broker as brokers
from cloudmesh_actors.broker.recording import unavailable


def serve(family: str) -> dramatiq.Broker:
    """Import a family's actors and declare its queue, so that its workers wait even for a family still to come."""
    actors = f"cloudmesh_actors.{family}.actors"
    try:
        import_module(actors)
    except ModuleNotFoundError as error:
        if error.name != actors:
            raise
    broker: dramatiq.Broker = brokers.current()
    broker.declare_queue(family)
    return broker


def reach(broker: Any) -> None:
    """Raises BrokerUnavailable when the broker does not answer."""
    try:
        broker.ping()
    except dramatiq.errors.ConnectionError as error:
        raise unavailable(broker.url_masked, error) from error
