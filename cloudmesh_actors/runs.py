"""A run: one attempt of one step, as seen from inside an actor.

An actor asks for it with `jobs.current()`. Outside a worker (an actor called as a plain function, a test) there is a
run too, which records nothing, so that an actor's code is the same in both places.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import NAMESPACE_OID, uuid5

import orjson
import sqlalchemy as sa

from cloudmesh_actors import logs
from cloudmesh_actors.errors import JobAborted, StoreUnavailable
from cloudmesh_actors.logs import redact
from cloudmesh_actors.steps import node_outcomes, steps, storable
from cloudmesh_actors.store import Store
from cloudmesh_actors.times import waits

#: Progress and node outcomes are written at most this often, in seconds.
WRITE_EVERY_S = 0.25

#: Waits between tries while the store does not answer, in seconds; the last one repeats.
RETRY_S = (0.2, 0.5, 1.0, 2.0)

#: An abort is noticed at the first safe point after this long, in seconds.
LOOK_FOR_ABORT_EVERY_S = 0.5

#: How long those sleep at a time whom a worker that stops waits for, in seconds.
HURRIED_S = 0.05

T = TypeVar("T")
log = logs.get_logger()


class HandedBack(Exception):
    """The worker stops: the step goes back to its queue and another worker goes on with it."""


@dataclass(frozen=True, slots=True)
class NodeOutcome:
    """What a step recorded of one node. `ok` is None while the node has not ended; `at` is seconds since the epoch."""

    node: str
    ok: bool | None
    stage: str | None
    error: str | None
    error_kind: str | None
    data: Any
    at: float


class Run:
    """A run that records nothing: the one outside a worker, and the interface of the other."""

    job_id: str = ""
    step_id: str = ""
    number: int = 1

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Tell how far the run has come: `done` of `total`, and in a few words with what."""

    def checkpoint(self) -> None:
        """A safe point to stop at.

        Raises:
            JobAborted: somebody asked.
            HandedBack: the worker stops and its grace time is over.
        """

    def outcome(
        self, node: str, ok: bool, error: str | None = None, error_kind: str | None = None, data: Any = None
    ) -> None:
        """Record how one node ended; `data` is small JSON."""

    def outcomes(self) -> dict[str, NodeOutcome]:
        """What earlier runs of this very step recorded of nodes that ended: after a crash, do not repeat them."""
        return {}

    def mark(self, node: str, stage: str) -> None:
        """Record, durably and at once, what is about to be sent to a node; call it before sending."""

    def marks(self) -> dict[str, str]:
        """The last mark of each node that has not ended, by earlier runs of this step."""
        return {}

    def patiently(self, ask: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
        """What `ask` gives, as soon as the store answers: for what has to be known before hardware is touched.

        Raises:
            HandedBack: the worker stops meanwhile and its grace time is over.
        """
        return ask()

    def then(self, message: Any, *, key: str = "", delay: float = 0.0) -> None:
        """Send a message as a further step of this job when the run has ended well, `delay` seconds later at least.

        It is published before the run's outcome is recorded and before its own message is acknowledged, so a crash
        loses no step; its id is made of this step's and of `key`, so a run that is repeated makes no second one.
        Outside a worker nothing is sent.
        """

    @property
    def following(self) -> list[tuple[Any, int | None]]:
        """What `then` was told: messages, each with its delay in milliseconds."""
        return []


class RecordedRun(Run):
    """A run inside a worker. Safe to use from the threads among which an actor spreads its nodes."""

    def __init__(
        self,
        store: Store,
        *,
        job_id: str,
        step_id: str,
        number: int,
        stopping: StopSignal,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.job_id, self.step_id, self.number = job_id, step_id, number
        self._store, self._stopping, self._clock = store, stopping, clock
        self._lock = threading.Lock()
        self._flushing = threading.Lock()  # what is newer must not be overtaken by what is older
        self._pending: dict[str, dict[str, Any]] = {}
        self._progress: dict[str, Any] | None = None
        self._written_at = self._looked_at = clock()
        self._aborted = self._waits_for_store = False
        self._following: dict[str, tuple[Any, int | None]] = {}

    def progress(self, done: int, total: int, note: str = "") -> None:
        with self._lock:
            note = storable(redact.text(note))
            self._progress = {"progress_done": done, "progress_total": total, "progress_note": note or None}
        self._flush_sometimes()

    def checkpoint(self) -> None:
        if self._stopping.grace_is_over():
            raise HandedBack
        now = self._clock()
        if now - self._looked_at >= LOOK_FOR_ABORT_EVERY_S:
            self._looked_at = now
            self.look_for_abort()
        if self._aborted:
            raise JobAborted(f"The job {self.job_id} was aborted.")

    def look_for_abort(self) -> bool:
        """Whether somebody asked to stop, as far as the store can tell now."""
        try:
            with self._store.read() as connection:
                asked = connection.scalar(sa.select(steps.c.abort_at).where(steps.c.id == self.step_id))
        except StoreUnavailable:  # the task goes on: its outcome can wait for the store
            asked = None
        self._aborted = self._aborted or asked is not None
        return self._aborted

    def outcome(
        self, node: str, ok: bool, error: str | None = None, error_kind: str | None = None, data: Any = None
    ) -> None:
        row = {"ok": ok, "error": None if error is None else storable(redact.text(error)), "error_kind": error_kind,
               "at": self._clock(), "data": None if data is None else orjson.dumps(data).decode()}  # fmt: skip
        with self._lock:
            self._pending[node] = row
        self._flush_sometimes()

    def outcomes(self) -> dict[str, NodeOutcome]:
        return {node: outcome for node, outcome in self._recorded().items() if outcome.ok is not None}

    def mark(self, node: str, stage: str) -> None:
        row = {"step_id": self.step_id, "node": node, "stage": stage, "ok": None, "error": None, "error_kind": None,
               "data": None, "at": self._clock()}  # fmt: skip
        self.patiently(lambda: self._write_mark(row))

    def marks(self) -> dict[str, str]:
        return {n: o.stage for n, o in self._recorded().items() if o.ok is None and o.stage is not None}

    def then(self, message: Any, *, key: str = "", delay: float = 0.0) -> None:
        step_id = str(uuid5(NAMESPACE_OID, f"{self.step_id}/{key}"))
        self._following[key] = message.copy(message_id=step_id), int(delay * 1000) or None

    @property
    def following(self) -> list[tuple[Any, int | None]]:
        return list(self._following.values())

    def patiently(self, ask: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
        for pause in waits(RETRY_S):
            try:
                answer = ask()
            except StoreUnavailable as error:
                if not self._waits_for_store:  # all threads of a run wait for the same
                    self._waits_for_store = True
                    log.warning("run.waits_for_store", error=str(error), advice="nothing is sent meanwhile")
                if self._stopping.grace_is_over():
                    raise HandedBack from None
                sleep(pause)
            else:
                self._waits_for_store = False
                return answer
        raise AssertionError("the waits never end")

    def flush(self, *, durable: bool = False) -> None:
        """Write what is held back. The engine calls it before it records the outcome of the run.

        Raises:
            StoreUnavailable: nothing is lost, it is still held back.
        """
        with self._flushing:
            with self._lock:
                pending, progress = dict(self._pending), self._progress
                self._written_at = self._clock()
            if pending or progress:
                with self._store.write(durable=durable) as connection:
                    self._write(connection, pending, progress)
                self._forget(pending, progress)

    def _write(
        self, connection: sa.Connection, pending: dict[str, dict[str, Any]], progress: dict[str, Any] | None
    ) -> None:
        if pending:
            rows = [{"step_id": self.step_id, "node": node, **row} for node, row in pending.items()]
            insert = self._store.insert(node_outcomes)
            same = {name: insert.excluded[name] for name in ("ok", "error", "error_kind", "data", "at")}
            connection.execute(insert.on_conflict_do_update(index_elements=["step_id", "node"], set_=same), rows)
        if progress:
            connection.execute(sa.update(steps).where(steps.c.id == self.step_id).values(progress))

    def _forget(self, pending: dict[str, dict[str, Any]], progress: dict[str, Any] | None) -> None:
        with self._lock:
            for node, row in pending.items():
                if self._pending.get(node) is row:
                    del self._pending[node]
            if self._progress is progress:
                self._progress = None

    def _flush_sometimes(self) -> None:
        if self._clock() - self._written_at < WRITE_EVERY_S or self._flushing.locked():
            return
        try:
            self.flush()
        except StoreUnavailable as error:
            log.warning("progress.held_back", error=str(error), advice="it is written when the store is back")

    def _recorded(self) -> dict[str, NodeOutcome]:
        return self.patiently(lambda: recorded_outcomes(self._store, self.step_id))

    def _write_mark(self, row: dict[str, Any]) -> None:
        with self._store.write(durable=True) as connection:
            insert = self._store.insert(node_outcomes).values(row)
            connection.execute(insert.on_conflict_do_update(index_elements=["step_id", "node"], set_=row))


class StopSignal:
    """Tells runs that their worker stops, and when its grace time is over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at: float | None = None

    def stop(self, grace_s: float) -> None:
        """Begin the grace time."""
        self._ends_at = self._clock() + grace_s

    def stopping(self) -> bool:
        """Whether the worker has begun to stop."""
        return self._ends_at is not None

    def patience(self, seconds: float) -> float:
        """How long one who looks again and again may sleep at a time: `seconds`, and briefly once the worker stops."""
        return min(seconds, HURRIED_S) if self.stopping() else seconds

    def grace_is_over(self) -> bool:
        """Whether runs have to end at their next safe point."""
        return self._ends_at is not None and self._clock() >= self._ends_at


#: This process's stop signal; the worker sets it off.
stop_signal = StopSignal()

_NO_RUN = Run()
_current: ContextVar[Run] = ContextVar("cloudmesh_run", default=_NO_RUN)


def current() -> Run:
    """The run that this thread is in."""
    return _current.get()


def enter(run: Run) -> None:
    """Make `run` the current one of this thread."""
    _current.set(run)


def leave() -> None:
    """Have no current run any more."""
    _current.set(_NO_RUN)


def recorded_outcomes(store: Store, step_id: str) -> dict[str, NodeOutcome]:
    """Everything a step recorded of its nodes, by node."""
    query = sa.select(node_outcomes).where(node_outcomes.c.step_id == step_id).order_by(node_outcomes.c.node)
    with store.read() as connection:
        return {row.node: node_outcome(row) for row in connection.execute(query)}


def node_outcome(row: Any) -> NodeOutcome:
    """A row of `node_outcomes` as a value."""
    data = None if row.data is None else orjson.loads(row.data)
    return NodeOutcome(row.node, row.ok, row.stage, row.error, row.error_kind, data, row.at)
