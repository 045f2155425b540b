"""The recorder: outcomes are committed in batches by one thread, and only then are their messages acknowledged.

Worker threads hand over what happened and go on; the recorder commits all that has come meanwhile in one transaction,
and begins the next as soon as the last has ended. Taking the commit and the acknowledgement off the worker threads is
what makes tracked jobs faster than untracked ones.

When the store stalls, the recorder keeps its batch and tries again; once `capacity` entries wait, `submit` blocks, so a
worker takes no more work than it can account for.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from cloudmesh_actors import logs, steps
from cloudmesh_actors.errors import StoreUnavailable
from cloudmesh_actors.steps import Ended, Queued, Started
from cloudmesh_actors.store import Store

#: Entries that may wait for a commit before worker threads have to.
CAPACITY = 10_000

#: Waits between tries while the store does not answer, in seconds; the last one repeats.
STORE_RETRY_S = (0.05, 0.2, 0.5, 1.0, 2.0)

log = logs.get_logger()


class Entry(NamedTuple):
    """One thing to record. `then` is called after the commit, on the recorder's thread; it acknowledges."""

    event: Queued | Started | Ended
    then: Callable[[], None] | None = None
    durable: bool = False


class Recorder:
    """Writes entries in the order in which they come."""

    def __init__(self, store: Store, *, capacity: int = CAPACITY, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store, self._capacity, self._sleep = store, capacity, sleep
        self._waiting: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._unfinished = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def submit(self, entry: Entry) -> None:
        """Hand over an entry; blocks while too many wait."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._capacity)
            self._waiting.append(entry)
            self._unfinished += 1
            self._changed.notify_all()

    def record(self, event: Queued | Started | Ended) -> None:
        """Commit one event durably before returning."""
        committed = threading.Event()
        self.submit(Entry(event, committed.set, durable=True))
        committed.wait()

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
        self._thread.join(timeout_s)
        return drained

    def _work(self) -> None:
        while batch := self._take():
            self._commit_patiently(batch)
            for entry in batch:
                _finish(entry)
            with self._changed:
                self._unfinished -= len(batch)
                self._changed.notify_all()

    def _take(self) -> list[Entry]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            batch = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
            return batch

    def _commit_patiently(self, batch: list[Entry]) -> None:
        for attempt in range(10**9):
            try:
                self._commit(batch)
            except StoreUnavailable as error:
                if attempt == 0:
                    log.warning("store.away", error=str(error), waiting=len(batch), advice="nothing is lost; trying on")
                self._sleep(STORE_RETRY_S[min(attempt, len(STORE_RETRY_S) - 1)])
            else:
                if attempt:
                    log.info("store.back", tries=attempt + 1)
                return

    def _commit(self, batch: list[Entry]) -> None:
        with self._store.write(durable=any(entry.durable for entry in batch)) as connection:
            if queued := [e.event for e in batch if isinstance(e.event, Queued)]:
                steps.insert(connection, self._store, queued)
            steps.start(connection, [e.event for e in batch if isinstance(e.event, Started)])
            if ended := [e.event for e in batch if isinstance(e.event, Ended)]:
                steps.end(connection, ended)


def _finish(entry: Entry) -> None:
    if entry.then is None:
        return
    try:
        entry.then()
    except Exception:
        # the outcome is safe: should the message come again, it is acknowledged without a run
        log.exception("message.not_acknowledged")
