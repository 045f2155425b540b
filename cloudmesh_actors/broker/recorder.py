"""The recorder: outcomes are committed in batches by one thread, and only then are their messages acknowledged.

Worker threads hand over what happened and go on; the recorder commits all that has come meanwhile in one transaction,
acknowledges its messages in one go, and begins the next as soon as that is done. Taking the commit and the
acknowledgement off the worker threads is what makes tracked jobs faster than untracked ones.

When the store stalls, the recorder keeps its batch and tries again; a worker takes no more messages than it may hold
unacknowledged, so it takes no more work than it can account for.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple

from dramatiq.broker import MessageProxy

from cloudmesh_actors import logs, steps
from cloudmesh_actors.broker.outages import Outage, patiently
from cloudmesh_actors.steps import Ended, Queued, Started, State
from cloudmesh_actors.store import Store

#: Entries that may wait for a commit before worker threads have to.
CAPACITY = 10_000

#: While there is much to record, a commit waits so many seconds for more, or until so many entries wait: most of what
#: it costs is the same for one as for a hundred. What somebody waits for is committed at once.
GATHER_S, ENOUGH = 0.03, 128

log = logs.get_logger()


class Entry(NamedTuple):
    """One thing to record. After the commit `acknowledge` is given `message`, with all others of its batch."""

    event: Queued | Started | Ended
    durable: bool = False
    message: MessageProxy | None = None
    acknowledge: Callable[[list[MessageProxy]], None] | None = None
    done: Future[None] | None = None


class Recorder:
    """Writes entries in the order in which they come. `ended` is told of each step whose outcome is dealt with."""

    def __init__(
        self,
        store: Store,
        *,
        capacity: int = CAPACITY,
        outage: Outage | None = None,
        ended: Callable[[str], None] = lambda step_id: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store, self._capacity, self._ended, self._sleep = store, capacity, ended, sleep
        self._outage = outage or Outage("store")
        self._waiting: list[Entry] = []
        self._changed = threading.Condition()
        self._unfinished = 0
        self._urgent = self._busy = self._closed = False
        self._enough = ENOUGH
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def serves(self, prefetch: int) -> None:
        """A consumer holds so many messages at most: half of them, two entries each, are enough for a commit."""
        self._enough = min(ENOUGH, prefetch)

    def submit(self, entry: Entry) -> None:
        """Hand over an entry; blocks while too many wait. Raises RuntimeError once the recorder is closed."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._capacity or self._closed)
            if self._closed:
                raise RuntimeError("the recorder is closed")
            self._waiting.append(entry)
            self._unfinished += 1
            self._urgent = self._urgent or entry.durable or entry.done is not None
            if len(self._waiting) == 1 or self._is_enough():
                self._changed.notify_all()

    def record(self, event: Queued | Started | Ended, *, durable: bool = False) -> None:
        """Commit one event before returning. Raises what the database says against it."""
        done: Future[None] = Future()
        self.submit(Entry(event, durable, done=done))
        done.result()

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was handed over is committed and acknowledged; False when it took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._unfinished == 0, timeout_s)

    def close(self, timeout_s: float | None = None) -> bool:
        """Drain, then end the thread; False when it took too long."""
        drained = self.drain(timeout_s)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if drained:
            self._thread.join()
        return drained

    def _work(self) -> None:
        while batch := self._take():
            self._settle(batch)
            with self._changed:
                self._unfinished -= len(batch)
                self._changed.notify_all()

    def _take(self) -> list[Entry]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._busy:
                self._changed.wait_for(self._is_enough, GATHER_S)
            batch, self._waiting, self._urgent = self._waiting, [], False
            self._busy = len(batch) > 2  # more than one run's start and end
            self._changed.notify_all()
            return batch

    def _is_enough(self) -> bool:
        return self._urgent or self._closed or len(self._waiting) >= self._enough

    def _settle(self, batch: Sequence[Entry]) -> None:
        try:
            patiently(lambda: self._commit(batch), self._outage, self._sleep)
        except Exception as error:  # the database refuses a row: that must not take the others with it
            if len(batch) > 1:
                for entry in batch:
                    self._settle([entry])
            else:
                self._refuse(batch[0], error)
        else:
            self._forget(batch)
            _finish(batch)

    def _forget(self, batch: Sequence[Entry]) -> None:
        for entry in batch:
            if isinstance(entry.event, Ended):
                self._ended(entry.event.step_id)

    def _commit(self, batch: Sequence[Entry]) -> None:
        events = [entry.event for entry in batch]
        with self._store.write(durable=any(entry.durable for entry in batch)) as connection:
            if queued := [event for event in events if isinstance(event, Queued)]:
                steps.insert(connection, self._store, queued)
            started = [event for event in events if isinstance(event, Started)]
            ended = [event for event in events if isinstance(event, Ended)]
            whole = _begun_and_ended_once(started, ended)
            if apart := [event for event in started if event.step_id not in whole]:
                steps.start(connection, apart)
            if ended:
                steps.end(connection, ended, whole)

    def _refuse(self, entry: Entry, error: Exception) -> None:
        log.error("event.not_recorded", kind=type(entry.event).__name__, exc_info=error)
        self._forget([entry])
        if entry.done is not None:
            entry.done.set_exception(error)
        elif isinstance(entry.event, Ended) and entry.event.error_type != _NOT_RECORDED:
            self._settle([entry._replace(event=_without_details(entry.event, error))])


def _begun_and_ended_once(started: Sequence[Started], ended: Sequence[Ended]) -> dict[str, Started]:
    """The starts of runs whose start and end are here; of steps that began or ended twice none, for order's sake."""
    starts, ends = (Counter(event.step_id for event in events) for events in (started, ended))
    return {each.step_id: each for each in started if starts[each.step_id] == ends[each.step_id] == 1}


_NOT_RECORDED = "OutcomeNotRecorded"


def _without_details(ended: Ended, error: Exception) -> Ended:
    text = f"Its outcome could not be recorded ({type(error).__name__}); the worker's log has the reason."
    return replace(ended, state=State.FAILED, result=None, error=text, error_type=_NOT_RECORDED, traceback=None)


def _finish(batch: Sequence[Entry]) -> None:
    groups: defaultdict[Callable[[list[MessageProxy]], None], list[Any]] = defaultdict(list)
    for entry in batch:
        if entry.done is not None:
            entry.done.set_result(None)
        if entry.acknowledge is not None:
            groups[entry.acknowledge].append(entry.message)
    for acknowledge, messages in groups.items():
        try:
            acknowledge(messages)
        except Exception:
            # the outcomes are safe: should the messages come again, they are acknowledged without a run
            log.exception("messages.not_acknowledged", count=len(messages))
