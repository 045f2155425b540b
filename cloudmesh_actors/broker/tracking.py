"""The middleware that makes a job of a message: it claims the run, and decides what becomes of the message after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware, SkipMessage

from cloudmesh_actors import logs, runs, steps
from cloudmesh_actors.broker import outcomes
from cloudmesh_actors.broker.claims import COPY, Claims
from cloudmesh_actors.broker.outages import Outage, patiently
from cloudmesh_actors.broker.recorder import Entry, Recorder
from cloudmesh_actors.broker.settlement import Settlement, empty_outbox, settle_with, settlement_of
from cloudmesh_actors.broker.slots import Slots
from cloudmesh_actors.errors import ArgumentError
from cloudmesh_actors.runs import HandedBack, RecordedRun, StopSignal
from cloudmesh_actors.steps import Claim, Ended, Started, State, Verdict
from cloudmesh_actors.store import Store

#: Keys that a run binds to every line its task logs.
LOG_KEYS = ("job_id", "step_id", "actor", "run")

#: A message that has to wait is looked at again after this long, in milliseconds: its step still runs in this process
#: (its connection was cut) or another, or is suspected to have killed its workers.
TWIN_WAIT_MS = 3_000

log = logs.get_logger()


class Counters:
    """What this worker has done since it started; read by its heartbeat."""

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0
        self.last_job: str | None = None

    def count(self, job_id: str, state: State) -> None:
        """Count one ended step."""
        self.last_job = job_id
        if state is State.DONE:
            self.done += 1
        else:
            self.failed += 1


class Tracking(Middleware):
    """First in the list of middleware, so that its claim comes before all else and its verdict after all else."""

    def __init__(
        self,
        store: Callable[[], Store],
        recorder: Callable[[], Recorder],
        *,
        worker: Callable[[], str],
        counters: Counters,
        outage: Outage,
        slots: Callable[[], Slots | None] = lambda: None,
        stopping: StopSignal = runs.stop_signal,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._recorder, self._worker = store, recorder, worker
        self._counters, self._outage, self._stopping, self._clock = counters, outage, stopping, clock
        self._claims, self._slots = Claims(store, clock), slots
        self._running: set[str] = set()  # until their outcomes are committed

    @property
    def actor_options(self) -> set[str]:
        return {"changes_hardware"}

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Claim the run, or skip the message."""
        if message.message_id in self._running:
            settle_with(message, Settlement(None, run_again_in_ms=TWIN_WAIT_MS))
            raise SkipMessage("it came again while it runs")
        self._running.add(message.message_id)
        try:
            claim = self._claim(broker, message)
        except Exception as error:  # Dramatiq would swallow it and run the message unrecorded
            self._running.discard(message.message_id)
            log.exception("message.not_claimed", message_id=message.message_id)
            message.fail()
            raise SkipMessage(f"it could not be claimed ({type(error).__name__})") from error
        if claim.verdict is Verdict.RUN:
            self._begin(message, claim)
            return
        self._skip(message, claim)
        settlement = settlement_of(message)
        if settlement is None or settlement.ended is None:  # else a copy waits until the outcome is committed
            self._running.discard(message.message_id)
        log.info("message.skipped", message_id=message.message_id, step=claim.verdict.value)
        raise SkipMessage(f"its step is {claim.verdict.value}")

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Decide what becomes of the message, and leave the run."""
        sent = empty_outbox()
        run = runs.current()
        if not isinstance(run, RecordedRun):
            return
        try:
            settlement = self._decide(broker, message, run, result, exception)
        except Exception as error:
            log.exception("run.not_decided")
            settlement = Settlement(outcomes.failure(run, error, self._clock(), State.FAILED))
        settlement.sent = sent
        settle_with(message, settlement)
        logs.flush()  # what the task printed without a newline is still its own
        runs.leave()
        if (slots := self._slots()) is not None:
            slots.over(run.step_id)
        structlog.contextvars.unbind_contextvars(*LOG_KEYS)

    def _claim(self, broker: Broker, message: MessageProxy) -> Claim:
        started = Started(message.message_id, self._worker(), self._clock())
        durable = _changes_hardware(broker, message)
        claim = self._first(started, durable)
        if claim.verdict is Verdict.UNKNOWN:  # sent by another program: from now on a job like others, of its own
            row = broker.row_of(message)  # type: ignore[attr-defined]  # every broker of ours has it: `recording`
            self._recorder().record(row._replace(root_id=row.id, parent_id=None))
            claim = self._first(started, durable)
        if claim.verdict is Verdict.RUNNING or (claim.verdict is Verdict.RUN and _came_before(message) and not durable):
            return patiently(lambda: self._claims.again(started, claim), self._outage)
        if claim.verdict is Verdict.RUN and not durable:
            self._recorder().submit(Entry(started))
        return claim

    def _first(self, started: Started, durable: bool) -> Claim:
        return patiently(lambda: self._claims.first(started, durable), self._outage)

    def fetched(self, step_id: str) -> None:
        """A message of this step is about to come."""
        self._claims.ahead.expect(step_id)

    def recorded(self, step_id: str) -> None:
        """The outcome of a run of this step is committed: from now on the store knows."""
        self._claims.ahead.forget(step_id)
        self._running.discard(step_id)

    def _skip(self, message: MessageProxy, claim: Claim) -> None:
        """What becomes of a message that may not run now."""
        match claim.verdict:
            case Verdict.ABORTED:
                ended = steps.never_begun(message.message_id, claim.root_id, self._clock())
                settle_with(message, Settlement(ended))
            case Verdict.RUNNING | Verdict.SUSPECT:
                settle_with(message, Settlement(None, run_again_in_ms=TWIN_WAIT_MS))
            case Verdict.POISON:
                ended = patiently(lambda: self._claims.poisoned(message.message_id, claim.root_id), self._outage)
                log.error("message.set_aside", message_id=message.message_id, reason=ended.error)
                settle_with(message, Settlement(ended, durable=True, set_aside=True))

    def _begin(self, message: MessageProxy, claim: Claim) -> None:
        number = claim.runs + 1
        if (slots := self._slots()) is not None:
            slots.begin(message.message_id, number, self._clock())
        run = RecordedRun(
            self._store(), job_id=claim.root_id, step_id=message.message_id, number=number, stopping=self._stopping
        )
        runs.enter(run)
        structlog.contextvars.bind_contextvars(
            job_id=run.job_id, step_id=run.step_id, actor=message.actor_name, run=number
        )
        log.info("run.started")

    def _decide(
        self, broker: Broker, message: MessageProxy, run: RecordedRun, result: Any, exception: BaseException | None
    ) -> Settlement:
        durable = _changes_hardware(broker, message)
        now = self._clock()
        patiently(lambda: run.flush(durable=durable), self._outage)
        if isinstance(exception, HandedBack):
            message.failed = False
            log.info("run.handed_back", reason="the worker stops")
            return Settlement(Ended(run.step_id, run.job_id, State.QUEUED, now), durable, run_again_in_ms=0)
        retry_in_ms: int | None = message.__dict__.get("cloudmesh_retry_ms")
        if exception is not None and retry_in_ms is not None and not message.failed and not run.look_for_abort():
            log.warning("run.failed", error=outcomes.sentence(exception), retry_in_s=round(retry_in_ms / 1000, 1))
            ended = outcomes.failure(run, exception, now, State.QUEUED, due_at=now + retry_in_ms / 1000)
            return Settlement(ended, durable, run_again_in_ms=retry_in_ms)
        ended = outcomes.of(run, result, exception, now)
        self._counters.count(run.job_id, ended.state)
        level = log.info if ended.state is State.DONE else log.error
        level("run.ended", state=ended.state.value, **({"error": ended.error} if ended.error else {}))
        set_aside = isinstance(exception, ArgumentError)  # what is in the message cannot be mended by running it
        if set_aside:
            log.error("message.set_aside", message_id=message.message_id, reason="its arguments do not fit")
        return Settlement(ended, durable, set_aside=set_aside)


def _came_before(message: MessageProxy) -> bool:
    """Whether the broker gave the message to somebody before, or it is a copy of one that seemed lost."""
    return bool(getattr(message, "redelivered", False) or message.options.get(COPY))


def _changes_hardware(broker: Broker, message: MessageProxy) -> bool:
    actor = broker.actors.get(message.actor_name)
    return actor is not None and bool(actor.options.get("changes_hardware"))
