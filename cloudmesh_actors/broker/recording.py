"""What every broker of ours does with a message on its way out and in: record it as queued, and record its outcome.

`recording(Base)` gives the class of a broker whose `enqueue` commits the job's row before it publishes, and whose
consumers record outcomes before they acknowledge.
"""

from __future__ import annotations

import contextlib
import getpass
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.common import q_name
from dramatiq.errors import BrokerConnectionError, ConnectionClosed
from dramatiq.message import Message

from cloudmesh_actors import logs, runs, steps
from cloudmesh_actors.broker.aside import Judge
from cloudmesh_actors.broker.claims import COPY
from cloudmesh_actors.broker.hooks import Hooks
from cloudmesh_actors.broker.outages import Outage
from cloudmesh_actors.broker.pauses import PausingConsumer, Watch
from cloudmesh_actors.broker.quiet import quieten
from cloudmesh_actors.broker.reconnecting import Reconnection
from cloudmesh_actors.broker.recorder import Recorder
from cloudmesh_actors.broker.settlement import Expecting, RecordingConsumer, open_outbox
from cloudmesh_actors.broker.sweeper import LostStep
from cloudmesh_actors.errors import BrokerUnavailable, StoreUnavailable
from cloudmesh_actors.steps import Ended, Queued, State
from cloudmesh_actors.store import Store

#: Messages that are recorded in one transaction and published together.
AT_ONCE = 500

#: The option by which a message shows that its row exists: a retry, or a delayed message that became due.
RECORDED = "recorded"

#: Options that are columns of the row, or belong to one passage through a broker.
_TOLD = frozenset({RECORDED, COPY, "root", "parent", "retry_of", "redis_message_id", "eta", "retries", "traceback"})

log = logs.get_logger()


class Unavailable(BrokerUnavailable, ConnectionClosed):
    """The broker does not answer: ours for senders, Dramatiq's for its worker."""


class Recording:
    """Mixed in before one of Dramatiq's brokers, which has what it asks of `super()`."""

    #: Set by `recording`'s caller after construction.
    url_masked: str
    store: Callable[[], Store]
    recorder: Callable[[], Recorder]
    outage: Outage
    tracking: Expecting
    pauses: Watch
    reconnections: defaultdict[str, Reconnection]

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Record the message as queued, then publish it.

        Raises:
            StoreUnavailable: nothing was recorded, nothing sent.
            BrokerUnavailable: it was not sent, or not certainly; its job is recorded as failed and will not run.
        """
        if RECORDED in message.options:
            return self._publish(message, delay)
        message = _placed(message)
        outbox = open_outbox()
        if outbox is not None:
            outbox.append((message, delay))
            return message
        queued = _queued(message, delay)
        self._record(queued)
        try:
            return self._publish(message, delay)
        except BaseException as error:  # an interrupt too: nobody waits for a job whose sender does not know of it
            self._give_up([queued], error)
            raise

    def enqueue_many(self, messages: Sequence[Message[Any]]) -> list[Message[Any]]:
        """Record messages as queued, then publish them, `AT_ONCE` at a time.

        Raises:
            StoreUnavailable, BrokerUnavailable: `AT_ONCE` messages were not sent, or not certainly, nor were those
                after them; no row of them is left queued, and none of them will run. Those before were sent.
        """
        placed = [_placed(message) for message in messages]
        outbox = open_outbox()
        if outbox is not None:
            outbox.extend((message, None) for message in placed)
            return placed
        for first in range(0, len(placed), AT_ONCE):
            self._enqueue_batch(placed[first : first + AT_ONCE])
        return placed

    def _enqueue_batch(self, messages: Sequence[Message[Any]]) -> None:
        queued = [_queued(message, None) for message in messages]
        self._record(*queued)
        try:
            with self._answering():
                super().enqueue_many(messages)  # type: ignore[misc]  # a mixin
        except BaseException as error:
            self._give_up(queued, error)
            raise

    def record_queued(self, message: Message[Any]) -> None:
        """Record a message as queued that goes out in another way. Raises StoreUnavailable."""
        self._record(_queued(message, None))

    def sift_aside(self, queue: str, judge: Judge) -> int:
        """Have each message that was set aside judged; how many were dropped or requeued. Raises BrokerUnavailable."""
        with self._answering():
            return super().sift_aside(queue, judge)  # type: ignore[misc, no-any-return]  # a mixin

    def publish_held(self, message: Message[Any], delay: int | None) -> None:
        """Record a message as queued unless it was, and publish it. Raises BrokerUnavailable."""
        self._record(_queued(message, delay))
        self._publish(message, delay)

    def publish_again(self, message: Message[Any], delay: int) -> None:
        """Publish the message of a step's next run, `delay` milliseconds from now. Raises BrokerUnavailable."""
        again = message.copy(queue_name=q_name(message.queue_name), options={RECORDED: True})
        again.options.pop("eta", None)
        self._publish(again, delay or None)

    def publish_lost(self, step: LostStep) -> None:
        """Publish a message again that was recorded and that nobody seems to have. Raises BrokerUnavailable."""
        options = {**step.options, "root": step.root_id, RECORDED: True, COPY: True}
        if step.parent_id:
            options["parent"] = step.parent_id
        message: Message[Any] = Message(
            queue_name=step.queue, actor_name=step.actor, args=tuple(step.args), kwargs=step.kwargs, options=options,
            message_id=step.id, message_timestamp=int(step.enqueued_at * 1000),
        )  # fmt: skip
        self._publish(message, None)

    def row_of(self, message: MessageProxy) -> Queued:
        """What is recorded of a message that nobody recorded as queued. Its place among steps is its own word."""
        row = _queued(message, None)._replace(sender="unknown", enqueued_at=message.message_timestamp / 1000)
        return row if RECORDED in message.options else row._replace(root_id=row.id, parent_id=None, retry_of=None)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A consumer that records; for delayed messages a plain one, since they only change their queue."""
        quieten(queue_name)
        reconnection = self.reconnections[queue_name]
        reconnection.wait()
        try:
            consumer: Any = super().consume(queue_name, prefetch, timeout)  # type: ignore[misc]  # a mixin
        except BrokerConnectionError as error:
            reconnection.failed()
            self.outage.began(error)
            raise
        reconnection.connected()
        self.outage.ended()
        if queue_name != q_name(queue_name):
            return consumer  # type: ignore[no-any-return]  # Dramatiq's or ours, neither typed
        recorder = self.recorder()
        recorder.serves(prefetch)
        return RecordingConsumer(PausingConsumer(consumer, queue_name, self.pauses), recorder, self)

    def ping(self) -> None:
        """Raises BrokerUnavailable when the broker does not answer."""
        with self._answering():
            super().ping()  # type: ignore[misc]  # a mixin

    def depth(self, queue: str) -> tuple[int, int, int | None, int]:
        """Messages that are ready, delayed, running (None: not known) and set aside. Raises BrokerUnavailable."""
        with self._answering():
            return super().depth(queue)  # type: ignore[misc, no-any-return]  # a mixin

    def _record(self, *queued: Queued) -> None:
        store = self.store()
        if all(step.id == step.root_id for step in queued):
            steps.insert_roots(store, queued)
            return
        with store.write() as connection:
            steps.insert(connection, store, queued)

    def _publish(self, message: Message[Any], delay: int | None) -> Message[Any]:
        with self._answering():
            return super().enqueue(message, delay=delay)  # type: ignore[misc, no-any-return]  # a mixin

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except BrokerConnectionError as error:
            raise unavailable(self.url_masked, error) from error

    def _give_up(self, queued: Sequence[Queued], error: BaseException) -> None:
        kind, now = type(error).__name__, time.time()
        text = f"It was not sent. {str(error) or f'Its sender was stopped ({kind}).'}"
        ended = [Ended(each.id, each.root_id, State.FAILED, now, error=text, error_type=kind) for each in queued]
        try:
            with self.store().write() as connection:
                steps.end(connection, ended)
        except StoreUnavailable as store_error:
            log.error("jobs.left_queued", jobs=[each.root_id for each in queued], error=str(store_error))  # noqa: TRY400 - its sentence tells


def recording(base: type[Broker]) -> type[Any]:
    """The class of a recording broker of this kind."""
    return type(f"Recording{base.__name__}", (Recording, Hooks, base), {})


def unavailable(url_masked: str, error: BaseException) -> Unavailable:
    """The sentence for a broker that does not answer."""
    reason = str(error.__cause__ or error).strip().rstrip(".") or type(error).__name__
    return Unavailable(
        f"The broker {url_masked} does not answer ({reason}). Start it (make workers-up starts the embedded one) or "
        "set CLOUDMESH_BROKER_URL."
    )


def _placed(message: Message[Any]) -> Message[Any]:
    """The message with its place among its job's steps."""
    run = runs.current()
    place = {"root": run.job_id, "parent": run.step_id} if run.job_id else {}
    return message.copy(options={**place, RECORDED: True})


def _queued(message: Message[Any] | MessageProxy, delay_ms: int | None) -> Queued:
    arguments = orjson.dumps({"args": message.args, "kwargs": message.kwargs}, option=orjson.OPT_NON_STR_KEYS)
    now = time.time()
    return Queued(
        id=message.message_id,
        root_id=message.options.get("root", message.message_id),
        parent_id=message.options.get("parent"),
        retry_of=message.options.get("retry_of"),
        actor=message.actor_name,
        queue=q_name(message.queue_name),
        arguments=arguments.decode(),
        sender=this_sender(),
        enqueued_at=now,
        due_at=None if delay_ms is None else now + delay_ms / 1000,
        options=_own_options(message.options),
    )


def _own_options(options: Mapping[str, Any]) -> str | None:
    """The options that the message's row does not tell anyway, as JSON."""
    own = {name: value for name, value in options.items() if name not in _TOLD}
    return orjson.dumps(own, option=orjson.OPT_NON_STR_KEYS).decode() if own else None


@lru_cache(maxsize=1)
def this_sender() -> str:
    """Who sends from this process: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        user = "?"
    return f"{user}@{socket.gethostname()}"[:128]
