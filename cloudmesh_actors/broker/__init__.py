"""The broker: from a URL to a Dramatiq broker with our consumers, middleware and safe defaults.

`current()` is the one that the settings name; actors send through it and workers consume from it. Nothing connects
before the first message.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import uuid4

import dramatiq
from dramatiq.middleware import (
    Callbacks,
    CurrentMessage,
    Middleware,
    Pipelines,
    ShutdownNotifications,
)
from dramatiq.results import Results

from cloudmesh_actors import settings, steps, store
from cloudmesh_actors.broker import pauses, signing, timelimit
from cloudmesh_actors.broker.claims import slots_folder
from cloudmesh_actors.broker.encoder import StrictEncoder
from cloudmesh_actors.broker.outages import Outage
from cloudmesh_actors.broker.pauses import HoldingBack, Pause, Watch
from cloudmesh_actors.broker.reconnecting import Reconnection
from cloudmesh_actors.broker.recorder import Recorder
from cloudmesh_actors.broker.recording import Unavailable, recording, this_sender
from cloudmesh_actors.broker.results import StoreBackend
from cloudmesh_actors.broker.retries import DeferredRetries
from cloudmesh_actors.broker.settlement import Outbox
from cloudmesh_actors.broker.slots import Slots
from cloudmesh_actors.broker.tracking import Counters, Tracking
from cloudmesh_actors.errors import ArgumentError, SettingsError
from cloudmesh_actors.families import FAMILIES
from cloudmesh_actors.logs import redact
from cloudmesh_actors.secret import mask_url
from cloudmesh_actors.store import Store

__all__ = ["Depth", "Pause", "Unavailable", "counters", "current", "depths", "make", "pause", "paused", "reset",
           "resume"]  # fmt: skip

#: What this process's worker has done.
counters = Counters()


class Depth(NamedTuple):
    """How many messages a queue holds; None where the broker cannot tell."""

    ready: int
    delayed: int
    running: int | None
    set_aside: int


class _Process:
    """This process's broker and recorder, made when they are first asked for."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.broker: Any = None
        self.recorder: Recorder | None = None
        self.worker = ""
        self.consumer = str(uuid4())
        self.slots: Slots | None = None
        self.tracking: Tracking | None = None
        self.store_outage = Outage("store")

    def get_recorder(self) -> Recorder:
        with self.lock:
            if self.recorder is None:
                self.recorder = Recorder(store.current(), outage=self.store_outage, ended=self.forget)
            return self.recorder

    def forget(self, step_id: str) -> None:
        if self.slots is not None:
            self.slots.forget(step_id)
        if self.tracking is not None:
            self.tracking.recorded(step_id)


_process = _Process()
_inherited: list[_Process] = []


def _leave_to_parent() -> None:
    """A fork makes its own; closing its parent's connections would end them for the parent too."""
    global _process  # noqa: PLW0603 - one a process
    _inherited.append(_process)
    _process = _Process()


os.register_at_fork(after_in_child=_leave_to_parent)


def current() -> Any:
    """The broker that the settings name, with every actor that was imported declared on it.

    Raises:
        SettingsError: the URL is of no kind that we know.
    """
    with _process.lock:
        if _process.broker is None:
            config = settings.current()
            encoder = StrictEncoder(signing.keys(config), config.message_max_bytes)
            broker = make(config.resolved_broker_url, quorum=config.quorum_queues, encoder=encoder)
            from cloudmesh_actors.actor import declare_all

            if hasattr(broker, "broker_id"):  # under which it consumes; whoever finds this process dead knows it
                broker.broker_id = _process.consumer
            declare_all(broker)
            dramatiq.set_broker(broker)
            _process.broker = broker
        return _process.broker


def is_open() -> bool:
    """Whether this process has made its broker."""
    return _process.broker is not None


def reset() -> None:
    """Close and forget this process's broker and recorder (tests)."""
    with _process.lock:
        broker, recorder, slots = _process.broker, _process.recorder, _process.slots
        _process.broker = _process.recorder = _process.slots = None
        dramatiq.broker.global_broker = None
    if recorder is not None:
        recorder.close(10)
    if broker is not None:
        broker.close()
    if slots is not None:
        slots.close()
    timelimit.forget()


def be_worker(name: str) -> None:
    """Say under which name this process records its runs; where it keeps them while they run is made now."""
    _process.worker = name
    if _process.slots is None:
        _process.slots = Slots(slots_folder(), name, _process.consumer)


def stopping() -> None:
    """This worker was asked to stop: should it be killed because it takes too long, no run is to blame."""
    if _process.slots is not None:
        _process.slots.stopping()


def make(
    url: str,
    *,
    quorum: bool = False,
    get_store: Callable[[], Store] = store.current,
    encoder: StrictEncoder | None = None,
) -> Any:
    """A broker for `url`: redis, rediss, unix, amqp, amqps, or stub (in memory, for tests).

    Raises:
        SettingsError: the URL is of another kind.
    """
    dramatiq.set_encoder(encoder or StrictEncoder())
    broker = _connectable(url, quorum)
    broker.url_masked = mask_url(url)
    broker.store = get_store
    broker.recorder = _process.get_recorder
    broker.outage = Outage("broker")
    broker.pauses = Watch(get_store)
    broker.reconnections = defaultdict(Reconnection)
    broker.add_middleware(HoldingBack(broker.pauses))
    for middleware in _middleware(get_store):
        broker.add_middleware(middleware)
        if isinstance(middleware, Tracking):
            broker.tracking = _process.tracking = middleware
    return broker


def _connectable(url: str, quorum: bool) -> Any:
    scheme = url.partition("://")[0]
    if scheme in {"redis", "rediss", "unix"}:
        from cloudmesh_actors.broker.redis import WakingRedisBroker

        return recording(WakingRedisBroker)(url)
    if scheme in {"amqp", "amqps"}:
        from cloudmesh_actors.broker.rabbitmq import ConfirmingRabbitmqBroker

        return recording(ConfirmingRabbitmqBroker)(url, quorum=quorum)
    if scheme == "stub":
        from cloudmesh_actors.broker.stub import PatientStubBroker

        return recording(PatientStubBroker)(middleware=[])
    raise SettingsError(f"The broker {mask_url(url)} is of no known kind: redis, rediss, unix, amqp, amqps or stub.")


def _middleware(get_store: Callable[[], Store]) -> list[Middleware]:
    return [
        Tracking(
            get_store,
            _process.get_recorder,
            worker=lambda: _process.worker,
            counters=counters,
            outage=_process.store_outage,
            slots=lambda: _process.slots,
        ),
        ShutdownNotifications(),
        Callbacks(),
        Pipelines(),
        DeferredRetries(),
        Results(backend=StoreBackend(), store_results=True),
        CurrentMessage(),
        Outbox(),
        timelimit.PreciseTimeLimit(),
    ]


def depths() -> dict[str, Depth]:
    """How many messages each family's queue holds.

    Raises:
        BrokerUnavailable: the broker does not answer.
    """
    broker = current()
    return {family: Depth(*broker.depth(family)) for family in FAMILIES}


def pause(queue: str, reason: str = "") -> Pause:
    """Have the workers of a queue begin nothing new; what runs goes on. A queue that is paused gets the new reason.

    Raises:
        ArgumentError: there is no such queue.
        StoreUnavailable: the store does not answer.
    """
    if queue not in FAMILIES:
        raise ArgumentError(f"There is no queue {queue!r}; there are {', '.join(FAMILIES)}.")
    made = Pause(queue, steps.storable(redact.text(reason)), this_sender(), time.time())
    pauses.record(store.current(), made)
    return made


def resume(queue: str) -> bool:
    """Have the workers of a queue go on; False when it was not paused. Raises StoreUnavailable."""
    return pauses.forget(store.current(), queue)


def paused() -> dict[str, Pause]:
    """The paused queues by name. Raises StoreUnavailable."""
    return pauses.recorded(store.current())
