"""From what an actor returned or raised to what is recorded of its step."""

from __future__ import annotations

import traceback
from typing import Any

import orjson
from dramatiq.errors import Retry
from dramatiq.middleware import TimeLimitExceeded

from cloudmesh_actors.errors import CloudmeshError, JobAborted
from cloudmesh_actors.logs import redact
from cloudmesh_actors.runs import RecordedRun
from cloudmesh_actors.steps import Ended, State, storable

#: Frames of a traceback that are kept, the innermost.
FRAMES = 30


def of(run: RecordedRun, result: Any, exception: BaseException | None, now: float) -> Ended:
    """The outcome of a run that is not tried again."""
    if isinstance(exception, JobAborted):
        error = "It was aborted while it ran, at a safe point."
        return Ended(run.step_id, run.job_id, State.ABORTED, now, error=error, error_type="JobAborted")
    if exception is not None:
        return failure(run, exception, now, State.FAILED)
    try:
        encoded = orjson.dumps(result, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError as error:
        return failure(run, TypeError(f"the result is not JSON: {error}"), now, State.FAILED)
    return Ended(run.step_id, run.job_id, State.DONE, now, result=encoded)


def failure(
    run: RecordedRun, exception: BaseException, now: float, state: State, *, due_at: float | None = None
) -> Ended:
    """The outcome of a run that failed: `state` is FAILED, or QUEUED when it is tried again."""
    return Ended(
        run.step_id, run.job_id, state, now, error=sentence(exception), error_type=type(exception).__name__,
        traceback=_traceback(exception), due_at=due_at,
    )  # fmt: skip


def sentence(exception: BaseException) -> str:
    """What went wrong, for an operator; secrets are redacted."""
    name = type(exception).__name__
    if isinstance(exception, TimeLimitExceeded):
        return "It took longer than its time limit (CLOUDMESH_TIME_LIMITS)."
    try:
        text = str(exception)
    except Exception as error:  # an exception that cannot even say what it is
        text = f"({type(error).__name__} in its own text)"
    if not isinstance(exception, CloudmeshError | Retry):
        text = f"{name}: {text}".rstrip(": ")
    return storable(redact.text(text)) or name


def _traceback(exception: BaseException) -> str | None:
    if isinstance(exception, CloudmeshError):  # its sentence says it all
        return None
    return storable(redact.text("".join(traceback.format_exception(exception, limit=-FRAMES))))
