"""Retries that cannot be lost.

Dramatiq publishes a retry while it processes the failure, and acknowledges the message whether that worked or not.
This middleware only decides; the consumer publishes the retry before it acknowledges (see `settlement`).
"""

from __future__ import annotations

from typing import Any

from dramatiq.actor import Actor
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Retries

from cloudmesh_actors.errors import ArgumentError, CloudmeshError, JobAborted, NodeSetError, SiteError, Unsupported
from cloudmesh_actors.runs import HandedBack

#: What a second try cannot mend.
HOPELESS: tuple[type[CloudmeshError], ...] = (ArgumentError, NodeSetError, SiteError, JobAborted, Unsupported)


class DeferredRetries(Retries):
    """Dramatiq's rules (back-off, `max_retries`, `retry_when`, `throws`), carried out by the consumer."""

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if exception is None or isinstance(exception, HandedBack):
            return
        if isinstance(exception, HOPELESS) or _changes_hardware(broker, message):
            message.fail()
            return
        super().after_process_message(_Capture(broker), message, result=result, exception=exception)
        message.options.pop("traceback", None)  # it is in the store, redacted; a message carries no text of errors


class _Capture:
    """A broker that, instead of publishing a retry, writes down on the message when it is due."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def get_actor(self, name: str) -> Actor[..., Any]:
        return self._broker.get_actor(name)

    def enqueue(self, message: MessageProxy, *, delay: int) -> None:
        message.__dict__["cloudmesh_retry_ms"] = delay


def _changes_hardware(broker: Broker, message: MessageProxy) -> bool:
    return bool(broker.get_actor(message.actor_name).options.get("changes_hardware"))
