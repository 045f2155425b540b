"""The middleware that makes a job of a message: it claims the run, and decides what becomes of the message after it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
import structlog
from dramatiq.broker import Broker, MessageProxy
from dramatiq.errors import Retry
from dramatiq.middleware import Middleware, SkipMessage

from cloudmesh_actors import logs, runs, steps
from cloudmesh_actors.broker.recorder import STORE_RETRY_S, Entry, Recorder
from cloudmesh_actors.broker.settlement import Settlement, settle_with
from cloudmesh_actors.errors import CloudmeshError, JobAborted, StoreUnavailable
from cloudmesh_actors.logs import redact
from cloudmesh_actors.runs import HandedBack, RecordedRun, StopSignal
from cloudmesh_actors.steps import Claim, Ended, Queued, Started, State, Verdict
from cloudmesh_actors.store import Store

#: Keys that a run binds to every line its task logs.
LOG_KEYS = ("job_id", "step_id", "actor", "run")

_T = TypeVar("_T")

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
        stopping: StopSignal = runs.stop_signal,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store, self._recorder, self._worker = store, recorder, worker
        self._counters, self._stopping, self._clock, self._sleep = counters, stopping, clock, sleep

    @property
    def actor_options(self) -> set[str]:
        return {"changes_hardware"}

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Claim the run, or skip the message."""
        job_id = message.options.get("root", message.message_id)
        durable = _changes_hardware(broker, message)
        claim = self._claim_patiently(message)
        if claim.verdict is Verdict.RECORDED:
            log.info("message.already_recorded", message_id=message.message_id)
            raise SkipMessage("its outcome is recorded")
        if claim.verdict is Verdict.ABORTED:
            self._settle_aborted(message, job_id)
            raise SkipMessage("it was aborted before it began")
        self._begin(message, job_id, claim, durable)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Decide what becomes of the message, and leave the run."""
        run = runs.current()
        try:
            if isinstance(run, RecordedRun):
                settlement = self._decide(broker, message, run, result, exception)
                settle_with(message, settlement)
        finally:
            runs.leave()
            structlog.contextvars.unbind_contextvars(*LOG_KEYS)

    def _begin(self, message: MessageProxy, job_id: str, claim: Claim, durable: bool) -> None:
        now = self._clock()
        recorder = self._recorder()
        if claim.verdict is Verdict.UNKNOWN:
            recorder.submit(Entry(_row_of(message, job_id)))
        started = Started(message.message_id, self._worker(), now)
        if durable:
            recorder.record(started)
        else:
            recorder.submit(Entry(started))
        number = claim.runs + 1
        run = RecordedRun(
            self._store(), job_id=job_id, step_id=message.message_id, number=number, stopping=self._stopping
        )
        runs.enter(run)
        structlog.contextvars.bind_contextvars(
            job_id=job_id, step_id=message.message_id, actor=message.actor_name, run=number
        )
        log.info("run.started")

    def _decide(
        self, broker: Broker, message: MessageProxy, run: RecordedRun, result: Any, exception: BaseException | None
    ) -> Settlement:
        durable = _changes_hardware(broker, message)
        now = self._clock()
        self._flush_patiently(run, durable)
        if isinstance(exception, HandedBack):
            message.failed = False
            log.info("run.handed_back", reason="the worker stops")
            return Settlement(Ended(run.step_id, run.job_id, State.QUEUED, now), durable, run_again_in_ms=0)
        retry_in_ms: int | None = message.__dict__.get("cloudmesh_retry_ms")
        if exception is not None and retry_in_ms is not None and not message.failed:
            log.warning("run.failed", error=_sentence(exception), retry_in_s=round(retry_in_ms / 1000, 1))
            ended = _failure(run, exception, now, State.QUEUED, due_at=now + retry_in_ms / 1000)
            return Settlement(ended, durable, run_again_in_ms=retry_in_ms)
        ended = _outcome(run, result, exception, now)
        self._counters.count(run.job_id, ended.state)
        level = log.info if ended.state is State.DONE else log.error
        level("run.ended", state=ended.state.value, **({"error": ended.error} if ended.error else {}))
        return Settlement(ended, durable)

    def _settle_aborted(self, message: MessageProxy, job_id: str) -> None:
        error = "It was aborted before it began."
        ended = Ended(message.message_id, job_id, State.ABORTED, self._clock(), error=error, error_type="JobAborted")
        settle_with(message, Settlement(ended))

    def _claim_patiently(self, message: MessageProxy) -> Claim:
        def claim() -> Claim:
            store = self._store()
            with store.read() as connection:
                return steps.look(connection, message.message_id)

        return self._patiently(claim)

    def _flush_patiently(self, run: RecordedRun, durable: bool) -> None:
        self._patiently(lambda: run.flush(durable=durable))

    def _patiently(self, work: Callable[[], _T]) -> _T:
        """Wait for the store rather than run what may not be run, or forget what was done."""
        attempt = 0
        while True:
            try:
                return work()
            except StoreUnavailable as error:
                if attempt == 0:
                    log.warning("store.away", error=str(error), advice="waiting for it; nothing is lost")
                self._sleep(STORE_RETRY_S[min(attempt, len(STORE_RETRY_S) - 1)])
                attempt += 1


def _changes_hardware(broker: Broker, message: MessageProxy) -> bool:
    actor = broker.actors.get(message.actor_name)
    return actor is not None and bool(actor.options.get("changes_hardware"))


def _row_of(message: MessageProxy, job_id: str) -> Queued:
    arguments = orjson.dumps({"args": message.args, "kwargs": message.kwargs}).decode()
    return Queued(
        id=message.message_id, root_id=job_id, parent_id=message.options.get("parent"), retry_of=None,
        actor=message.actor_name, queue=message.queue_name, arguments=arguments, sender="unknown",
        enqueued_at=message.message_timestamp / 1000, due_at=None,
    )  # fmt: skip


def _outcome(run: RecordedRun, result: Any, exception: BaseException | None, now: float) -> Ended:
    if isinstance(exception, JobAborted):
        error = "It was aborted while it ran, at a safe point."
        return Ended(run.step_id, run.job_id, State.ABORTED, now, error=error, error_type="JobAborted")
    if exception is not None:
        return _failure(run, exception, now, State.FAILED)
    try:
        encoded = orjson.dumps(result, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError as error:
        return _failure(run, TypeError(f"The result is not JSON: {error}"), now, State.FAILED)
    return Ended(run.step_id, run.job_id, State.DONE, now, result=encoded)


def _failure(
    run: RecordedRun, exception: BaseException, now: float, state: State, due_at: float | None = None
) -> Ended:
    expected = isinstance(exception, CloudmeshError)
    trace = None if expected else redact.text("".join(traceback.format_exception(exception, limit=-30)))
    return Ended(
        run.step_id, run.job_id, state, now, error=_sentence(exception), error_type=type(exception).__name__,
        traceback=trace, due_at=due_at,
    )  # fmt: skip


def _sentence(exception: BaseException) -> str:
    if isinstance(exception, CloudmeshError | Retry):
        return redact.text(str(exception)) or type(exception).__name__
    return redact.text(f"{type(exception).__name__}: {exception}".rstrip(": "))
