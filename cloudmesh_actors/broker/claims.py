"""May this message run? What the store knows of its step, and what is known of the worker that began it.

A message comes again when its worker died, when its connection was cut while it runs, and when two copies of it were
sent. In the first case it runs again, unless its runs have killed too many workers; in the others it waits until the
run that has begun is recorded.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from cloudmesh_actors import logs, roster, settings, steps, store
from cloudmesh_actors.broker import slots
from cloudmesh_actors.steps import Claim, Ended, Started, State, Verdict
from cloudmesh_actors.store import Store

#: A worker on another host that told of itself within so many seconds is alive.
ALIVE_S = 30.0

#: How long what was seen of a step counts, in seconds: an abort that comes later than that would come too late anyway.
FRESH_S = 0.1

#: Steps that a worker may have fetched and not begun.
MOST_EXPECTED = 4096

#: The option of a message that was published again because it seemed lost: its first copy may run at this moment.
COPY = "copy"

log = logs.get_logger()


class LookAhead:
    """Looks at the steps that this worker has fetched many at a time: they will begin in a moment.

    A look that is `FRESH_S` old is not used any more, nor one of a step that was recorded since.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._expected: dict[str, None] = {}
        self._seen: dict[str, Claim] = {}
        self._seen_at = 0.0

    def expect(self, step_id: str) -> None:
        """A message of this step was fetched."""
        with self._lock:
            self._expected[step_id] = None
            while len(self._expected) > MOST_EXPECTED:  # their messages were handed back
                del self._expected[next(iter(self._expected))]

    def forget(self, step_id: str) -> None:
        """What is recorded of this step has changed."""
        with self._lock:
            self._seen.pop(step_id, None)

    def look(self, store: Store, step_id: str) -> Claim:
        """What may be done with a step. Raises StoreUnavailable."""
        with self._lock:  # while it looks, too: what is recorded meanwhile is forgotten afterwards
            found = self._seen.pop(step_id, None)
            if found is not None and self._clock() - self._seen_at <= FRESH_S:
                return found
            self._expected.pop(step_id, None)
            soon = list(islice(self._expected, steps.LOOK_AHEAD - 1))
            self._seen, self._seen_at = {}, self._clock()
            self._seen = steps.look_ahead(store, [step_id, *soon])
            for other in soon:
                del self._expected[other]
            return self._seen.pop(step_id)


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims runs for the messages of this process."""

    store: Callable[[], Store]
    clock: Callable[[], float] = time.time
    ahead: LookAhead = field(default_factory=LookAhead)

    def first(self, started: Started, durable: bool) -> Claim:
        """The claim of a message that comes for the first time, as far as its broker knows.

        Of what changes hardware, the start is committed with the look. Raises StoreError.
        """
        if not durable:
            return self.ahead.look(self.store(), started.step_id)
        return self._commit(started, None)

    def again(self, started: Started, seen: Claim) -> Claim:
        """The claim of one that a worker has begun, or may have begun. Its start is committed, should it run.

        The verdict RUNNING tells to wait. Raises StoreError.
        """
        folder = slots_folder()
        bury_the_dead(self.store(), folder, self.clock)
        if started.step_id in slots.runs_of_the_living(folder) or self._runs_elsewhere(seen):
            return seen._replace(verdict=Verdict.RUNNING)
        return self._commit(started, seen.runs if seen.verdict is Verdict.RUNNING else None)

    def poisoned(self, step_id: str, root_id: str) -> Ended:
        """The outcome of a step whose runs killed their workers. Raises StoreError."""
        with self.store().read() as connection:
            dead = [death for death, _ in steps.deaths_of(connection, [step_id])]
        history = ", ".join(f"{death.worker} in run {death.run}" for death in dead)
        error = f"It was set aside: {len(dead)} of its runs ended with the death of their worker ({history})."
        return Ended(step_id, root_id, State.FAILED, self.clock(), error=error, error_type="Poison")

    def _commit(self, started: Started, after_run: int | None) -> Claim:
        with self.store().write(durable=True) as connection:
            return steps.claim(connection, started, after_run)

    def _runs_elsewhere(self, seen: Claim) -> bool:
        if seen.verdict is not Verdict.RUNNING or seen.started_at is None:
            return False
        here, now = socket.gethostname(), self.clock()
        return any(
            row.name == seen.worker
            and row.host != here
            and row.started_at <= seen.started_at
            and now - row.seen_at < ALIVE_S
            for row in roster.rows()
        )


def slots_folder() -> Path:
    """Where the workers of this fleet write down what they run."""
    return settings.current().state_dir / "slots"


def bury_the_dead(
    to: Store | None = None,
    folder: Path | None = None,
    clock: Callable[[], float] = time.time,
    broker: Any = None,
) -> int:
    """Record the runs of this host's workers that died; returns how many workers there were.

    Args:
        broker: where what they had fetched is given to others at once, if it would not find out by itself as fast.

    Raises:
        StoreError, BrokerConnectionError: they are found again the next time.
    """
    to = to or store.current()
    with slots.found_dead(folder or slots_folder()) as dead:
        for worker in dead:
            _bury(to, worker, clock())
        if dead and hasattr(broker, "hand_on"):
            broker.hand_on([worker.consumer for worker in dead])
    return len(dead)


def _bury(to: Store, dead: slots.Dead, now: float) -> None:
    if not (dead.runs or dead.over):
        return
    with to.write(durable=True) as connection:
        steps.bury(connection, to, dead.runs, now, blameless=dead.blameless)
        steps.bury(connection, to, dead.over, now, blameless=True)
    for run in dead.runs:
        log.warning("run.died", step_id=run.step_id, run=run.run, of_worker=dead.worker, counts=not dead.blameless)
